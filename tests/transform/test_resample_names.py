"""The table of `resample` names in docs/artifact-format.md: what it says of Pillow is measured.

Of TensorFlow: tests/frontends/test_resample_names.py.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_agent.release.inputs import ImageInput, Resample
from edge_agent.transform.image import ImageTransform
from edge_agent.transform.tensor import TensorSpec

DOCUMENT = (Path(__file__).parents[2] / "docs" / "artifact-format.md").read_text(encoding="utf-8")
Pixels = NDArray[np.float64]
WIDTH, HEIGHT, SMALL_WIDTH, SMALL_HEIGHT = 29, 23, 9, 7  # no whole factors


def cells() -> dict[str, list[str]]:
    """Name → what it is called in Pillow, OpenCV, swscale and TensorFlow."""
    table = DOCUMENT.partition("| `resample` | Pillow")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", table, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}


def sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def cubic(x: float, a: float) -> float:
    """R. Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981."""
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4)


# How far each reaches, in px of the smaller picture, and its weight at a distance within
KERNELS: dict[str, tuple[float, Callable[[float], float]]] = {
    "box": (0.5, lambda _: 1.0),
    "bilinear": (1.0, lambda x: 1 - x),
    "hamming": (1.0, lambda x: sinc(x) * (0.54 + 0.46 * math.cos(math.pi * x))),
    "bicubic": (2.0, lambda x: cubic(x, -0.5)),
    "lanczos": (3.0, lambda x: sinc(x) * sinc(x / 3)),
}


def weights(name: str, size: int, small: int) -> Pixels:
    """[small, size]: the kernel, widened by the scale, around the center of each px; each row sums to 1."""
    reach, kernel = KERNELS[name]
    scale = size / small
    found = np.zeros((small, size))
    for row in range(small):
        center = (row + 0.5) * scale
        for column in range(size):
            away = abs(column + 0.5 - center) / scale
            found[row, column] = kernel(away) if away < reach else 0.0
    normalized: Pixels = found / found.sum(axis=1, keepdims=True)
    return normalized


def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(60, 196, (HEIGHT, WIDTH), np.uint8)  # room for what overshoots


def resized(name: str) -> Pixels:
    """By the transform that a model of this manifest has."""
    spec = ImageInput(color="gray", resample=name, decode="full")  # type: ignore[arg-type]  # one of the names
    tensor = TensorSpec("x", (1, SMALL_HEIGHT, SMALL_WIDTH, 1), np.dtype(np.float32))
    array, _ = ImageTransform(spec, tensor).apply(Image.fromarray(picture()))
    pixels: Pixels = array[0, :, :, 0].astype(np.float64)
    return pixels


def test_the_table_has_every_name_and_pillows_for_it() -> None:
    assert tuple(cells()) == get_args(Resample)
    for name, (pillow, *_) in cells().items():
        assert pillow.split()[0] == Image.Resampling[name.upper()].name


def test_nearest_takes_the_px_at_the_center() -> None:
    rows, columns = (
        [math.floor((place + 0.5) * size / small) for place in range(small)]
        for size, small in ((HEIGHT, SMALL_HEIGHT), (WIDTH, SMALL_WIDTH))
    )
    assert np.array_equal(resized("nearest"), picture()[np.ix_(rows, columns)])


@pytest.mark.parametrize("name", KERNELS)
def test_each_other_filter_is_the_kernel_that_the_table_states(name: str) -> None:
    down, across = weights(name, HEIGHT, SMALL_HEIGHT), weights(name, WIDTH, SMALL_WIDTH)
    assert np.abs(resized(name) - down @ picture() @ across.T).max() <= 1.01  # rounded to bytes twice
    if name == "bicubic":
        assert "(a = −0.5)" in cells()[name][0]  # noqa: RUF001 - as it is typeset there
    if name == "lanczos":
        assert "(3 lobes)" in cells()[name][0]
