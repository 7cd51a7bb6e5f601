"""YUV planes become the same small picture as by way of RGB."""

import hashlib
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_agent.errors import FrameError
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.image import ImageTransform
from edge_agent.transform.picture import View, YuvPicture
from edge_agent.transform.placement import Box
from edge_agent.transform.tensor import Quantization, TensorSpec

INPUT = TensorSpec("image", (1, 48, 64, 3), np.dtype(np.uint8), Quantization(1 / 255, 0))
Matrix = Literal["bt601", "bt709"]
# Red, green, blue → Y, Cb, Cr. ITU-R BT.601-7 §2.5.1 and BT.709-6 §3.2.
LUMA = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}


def scene(width: int = 256, height: int = 192) -> NDArray[np.uint8]:
    """Smooth colors that a camera could see."""
    y, x = np.mgrid[0:height, 0:width]
    red = 128 + 100 * np.sin(x / 40)
    green = 128 + 100 * np.cos(y / 30)
    blue = 128 + 60 * np.sin((x + y) / 50)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def as_yuv(rgb: NDArray[np.uint8], matrix: Matrix, *, full_range: bool, subsampled: bool = True) -> YuvPicture:
    red, green, blue = (rgb[..., channel].astype(np.float64) for channel in range(3))
    of_red, of_green, of_blue = LUMA[matrix]
    luma = of_red * red + of_green * green + of_blue * blue
    u, v = (blue - luma) / (2 * (1 - of_blue)), (red - luma) / (2 * (1 - of_red))
    scale_y, scale_c, zero = (1.0, 1.0, 0.0) if full_range else (219 / 255, 224 / 255, 16.0)
    planes = [luma * scale_y + zero, u * scale_c + 128, v * scale_c + 128]
    if subsampled:
        planes[1:] = [(p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4 for p in planes[1:]]
    stored = [np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in planes]
    return YuvPicture(stored[0], stored[1], stored[2], matrix, full_range)


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_the_planes_give_what_the_rgb_picture_gives(
    matrix: Matrix,
    full_range: bool,  # noqa: FBT001
    fit: Literal["stretch", "letterbox", "crop"],
) -> None:
    rgb = scene()
    transform = ImageTransform(ImageInput(fit=fit), INPUT)
    expected, expected_placement = transform.apply(Image.fromarray(rgb))
    found, placement = transform.apply(as_yuv(rgb, matrix, full_range=full_range))
    assert placement == expected_placement
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.mean() < 1.0
    assert difference.max() <= 4


def test_another_matrix_would_be_seen() -> None:
    rgb = scene()
    transform = ImageTransform(ImageInput(), INPUT)
    right, _ = transform.apply(as_yuv(rgb, "bt709", full_range=False))
    wrong, _ = transform.apply(replace(as_yuv(rgb, "bt709", full_range=False), matrix="bt601"))
    assert np.abs(right.astype(int) - wrong.astype(int)).mean() > 3


def test_gray_is_the_luma_alone() -> None:
    rgb = scene()
    tensor = replace(INPUT, shape=(1, 48, 64, 1))
    transform = ImageTransform(ImageInput(color="gray"), tensor)
    expected, _ = transform.apply(Image.fromarray(rgb))
    found, _ = transform.apply(as_yuv(rgb, "bt601", full_range=False))
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


def test_chroma_of_full_size_and_odd_sizes_are_taken() -> None:
    rgb = scene(63, 47)
    transform = ImageTransform(ImageInput(), INPUT)
    expected, _ = transform.apply(Image.fromarray(rgb))
    found, _ = transform.apply(as_yuv(rgb, "bt601", full_range=True, subsampled=False))
    assert np.abs(found.astype(int) - expected.astype(int)).mean() < 1.5
    chroma = np.full((3, 4), 128, np.uint8)
    odd = YuvPicture(np.full((5, 7), 100, np.uint8), chroma, chroma, full_range=True)
    assert (transform.apply(odd)[0] == 100).all()


def test_a_view_of_planes_is_a_view_of_the_picture() -> None:
    rgb = scene()
    view = View(rotate_deg=90, roi=Box(20, 30, 120, 180))
    transform = ImageTransform(ImageInput(), INPUT)
    expected, expected_placement = transform.apply(Image.fromarray(rgb), view)
    found, placement = transform.apply(as_yuv(rgb, "bt601", full_range=False), view)
    assert placement == expected_placement
    assert np.abs(found.astype(int) - expected.astype(int)).mean() < 1.0


def test_planes_that_do_not_belong_together_are_refused() -> None:
    plane = np.zeros((4, 4), np.uint8)
    with pytest.raises(FrameError, match="make no picture"):
        YuvPicture(plane, plane[:2, :2], plane[:1, :2])
    with pytest.raises(FrameError, match="make no picture"):
        YuvPicture(plane, plane[:3, :3], plane[:3, :3])


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        ("rgb", "e76ef8637825478a"),
        ("yuv", "40f8ff2526c4f31e"),
    ],
)
def test_every_machine_computes_the_same_bytes(kind: str, digest: str) -> None:
    """The laptop calibrates with what the device will see. Run on x86-64 and, emulated, on arm64."""
    rng = np.random.default_rng(0)
    if kind == "rgb":
        picture: Image.Image | YuvPicture = Image.fromarray(rng.integers(0, 256, (360, 640, 3), np.uint8))
    else:
        y, u, v = (rng.integers(0, 256, shape, np.uint8) for shape in ((360, 640), (180, 320), (180, 320)))
        picture = YuvPicture(y, u, v, "bt709")
    found = hashlib.sha256()
    for resample in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
        for decode in ("full", "reduced"):
            for fit in ("stretch", "letterbox", "crop"):
                spec = ImageInput(resample=resample, decode=decode, fit=fit)
                found.update(ImageTransform(spec, INPUT).apply(picture)[0].tobytes())
    assert found.hexdigest()[:16] == digest
