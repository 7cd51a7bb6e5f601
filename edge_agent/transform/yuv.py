"""YUV planes to small pictures: every plane is resized by itself and only the small result becomes RGB.

Resizing and the matrix are both linear, so it comes to the same as RGB first, but for rounding, and for colors outside
of RGB, which clip later. Chroma is taken to lie in the middle of its pixels. Source of the numbers: ITU-R BT.601-7 §2.5
and BT.709-6 §3, in whole numbers of 1/65536.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.transform.picture import Plane, YuvPicture
from edge_agent.transform.placement import Box

_BITS = 16
_LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # weights of red and blue in Y
Table = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Resize:
    """What is to become of a picture: `box` of it (px) at `size_px`."""

    size_px: tuple[int, int]
    box: Box
    resample: Image.Resampling
    reducing_gap: float | None  # see PIL.Image.Image.resize


def resize_yuv(picture: YuvPicture, mode: str, how: Resize) -> Image.Image:
    """The part and size that is wanted, as mode RGB or L."""
    luma = _resized(picture.y, picture, how)
    tables = _tables(picture.matrix, picture.full_range)
    if mode == "L":
        return Image.fromarray(_to_bytes(np.take(tables[0], luma)))
    u, v = (_resized(plane, picture, how) for plane in (picture.u, picture.v))
    light = np.take(tables[0], luma)
    rgb = np.empty((*luma.shape, 3), np.uint8)
    rgb[..., 0] = _to_bytes(light + np.take(tables[1], v))
    rgb[..., 1] = _to_bytes(light + np.take(tables[2], u) + np.take(tables[3], v))
    rgb[..., 2] = _to_bytes(light + np.take(tables[4], u))
    return Image.fromarray(rgb)


def _resized(plane: Plane, picture: YuvPicture, how: Resize) -> Plane:
    height, width = plane.shape
    per_x = 1.0 if width == picture.y.shape[1] else 0.5
    per_y = 1.0 if height == picture.y.shape[0] else 0.5
    box = how.box
    inside = Box(box.left * per_x, box.top * per_y, box.right * per_x, box.bottom * per_y).clipped(
        Box(0, 0, width, height)
    )
    part, corners = cut(Image.fromarray(np.ascontiguousarray(plane)), inside)
    resized: Plane = np.asarray(part.resize(how.size_px, how.resample, corners, how.reducing_gap))
    return resized


def cut(image: Image.Image, box: Box) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """The pixels that `box` touches, and the box in them: nothing around it is to be averaged in."""
    whole = (math.floor(box.left), math.floor(box.top), math.ceil(box.right), math.ceil(box.bottom))
    left, top = max(0, whole[0]), max(0, whole[1])
    right, bottom = min(image.width, whole[2]), min(image.height, whole[3])
    part = image if (left, top, right, bottom) == (0, 0, *image.size) else image.crop((left, top, right, bottom))
    return part, (box.left - left, box.top - top, min(box.right, right) - left, min(box.bottom, bottom) - top)


@cache
def _tables(matrix: Literal["bt601", "bt709"], full_range: bool) -> tuple[Table, ...]:  # noqa: FBT001
    """For each byte what it adds, in 1/65536: Y to all; V to red; U to green; V to green; U to blue."""
    red, blue = _LUMA[matrix]
    green = 1 - red - blue
    byte = np.arange(256)
    luma = byte / 255 if full_range else (byte - 16) / 219
    chroma = (byte - 128) / 255 if full_range else (byte - 128) / 224
    to_red, to_blue = 2 * (1 - red), 2 * (1 - blue)
    parts = (
        luma,
        to_red * chroma,
        -blue * to_blue / green * chroma,
        -red * to_red / green * chroma,
        to_blue * chroma,
    )
    half = np.zeros(5)
    half[0] = 1 << (_BITS - 1)  # rounds to the nearest
    return tuple(
        np.rint(part * 255 * (1 << _BITS) + offset).astype(np.int32) for part, offset in zip(parts, half, strict=True)
    )


def _to_bytes(values: NDArray[np.int32]) -> Plane:
    clipped: Plane = np.clip(values >> _BITS, 0, 255).astype(np.uint8)
    return clipped
