"""What the tests of picture sources share: pictures as bytes, and taking from a source."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.clock import Clock
from edge_agent.config.sources import SourceConfig
from edge_agent.inference.frame import Frame, Nothing, Taken, Unusable, Wanted
from edge_agent.inference.sources.source import Source, new_source
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.image import ImageTransform
from edge_agent.transform.picture import WHOLE, Picture, View
from edge_agent.transform.tensor import TensorSpec
from tests.sim.clock import FakeClock


def open_source(config: SourceConfig, clock: Clock | None = None) -> Source:
    return new_source(config, clock or FakeClock())


def take_all(source: Source, *, at_most: int = 1000, asks: int = 10_000) -> list[Taken | Unusable]:
    """Until the end, `at_most` items, or after so many questions."""
    items: list[Taken | Unusable] = []
    for _ in range(asks):
        item = source.take(Wanted())
        if item is None:
            break
        if not isinstance(item, Nothing):
            items.append(item)
        if len(items) == at_most:
            break
    return items


def names(items: Iterable[Taken | Unusable]) -> list[str]:
    return [item.name for item in items]


def picture(item: object) -> Picture:
    assert isinstance(item, Frame), item
    return item.picture


def seen(found: Picture, size_px: tuple[int, int], view: View = WHOLE) -> NDArray[np.uint8]:
    """As a model of this size (width, height) sees it: RGB."""
    tensor = TensorSpec("image", (1, size_px[1], size_px[0], 3), np.dtype(np.uint8))
    values, _ = ImageTransform(ImageInput(decode="full"), tensor).apply(found, view)
    pixels: NDArray[np.uint8] = values[0]
    return pixels


def shade(item: object) -> int:
    """How light a frame is, 0 to 255."""
    return int(seen(picture(item), (1, 1)).mean())


def jpeg(level: int = 200, size_px: tuple[int, int] = (64, 48), **more: Any) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", size_px, (level, level, level)).save(encoded, format="JPEG", **more)
    return encoded.getvalue()


def png(size_px: tuple[int, int]) -> bytes:
    encoded = io.BytesIO()
    Image.new("1", size_px).save(encoded, format="PNG")
    return encoded.getvalue()
