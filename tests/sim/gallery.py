"""A worker without models: pictures, and what was found in them, put into a gallery."""

from typing import Any

import numpy as np
from PIL import Image

from edge_agent.inference.frame import Frame
from edge_agent.inference.gallery import Gallery
from edge_agent.inference.ipc import Result
from edge_agent.transform.picture import WHOLE, Picture, View
from tests.sim.results import answer, staged


def plain(size_px: tuple[int, int] = (320, 240), gray: int = 90) -> Image.Image:
    return Image.fromarray(np.full((size_px[1], size_px[0], 3), gray, np.uint8))


def put(gallery: Gallery, seq: int, picture: Picture | None = None, view: View = WHOLE, *objects: Any) -> Result:
    """One more frame: a gray picture, and the objects in it."""
    seen = staged({"main": answer(*objects, task="detection")}, seq=seq, name=f"{seq}.jpg")
    gallery.keep(Frame(f"{seq}.jpg", seen.captured_s, plain() if picture is None else picture, view), seen)
    return seen
