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


def answered(seq: int, picture: Picture | None = None, view: View = WHOLE, *objects: Any) -> tuple[Frame, Result]:
    """A frame, a gray picture unless another is given, and the objects in it."""
    seen = staged({"main": answer(*objects, task="detection")}, seq=seq, name=f"{seq}.jpg")
    return Frame(f"{seq}.jpg", seen.captured_s, plain() if picture is None else picture, view), seen


def put(gallery: Gallery, seq: int, picture: Picture | None = None, view: View = WHOLE, *objects: Any) -> Result:
    """Keep one more of them."""
    frame, seen = answered(seq, picture, view, *objects)
    gallery.keep(frame, seen)
    return seen
