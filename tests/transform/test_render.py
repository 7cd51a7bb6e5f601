"""Pictures for people: upright, small enough, and the same whichever way they came."""

import io

import numpy as np
import pytest
from PIL import Image

from edge_agent.errors import FrameError
from edge_agent.transform.picture import WHOLE, EncodedPicture, Picture, View, YuvPicture, open_picture
from edge_agent.transform.placement import Box
from edge_agent.transform.render import render

SIZE = (64, 32)


def corners() -> Image.Image:
    """Dark, with a light top left corner."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[:16, :32] = 255
    return Image.fromarray(pixels)


def light_corner(image: Image.Image) -> str:
    pixels = np.asarray(image.convert("L")).astype(int)
    height, width = pixels.shape
    quarters = {
        f"{vertical} {horizontal}": pixels[rows, columns].mean()
        for vertical, rows in (("top", slice(height // 2)), ("bottom", slice(height // 2, None)))
        for horizontal, columns in (("left", slice(width // 2)), ("right", slice(width // 2, None)))
    }
    return max(quarters, key=lambda name: quarters[name])


def encoded(image: Image.Image, kind: str, orientation: int = 1) -> Picture:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(buffer, kind, exif=exif)
    return open_picture(buffer.getvalue(), f"picture.{kind.lower()}")


def yuv(image: Image.Image) -> YuvPicture:
    y, u, v = (np.asarray(plane) for plane in image.convert("YCbCr").split())
    return YuvPicture(y, u[::2, ::2], v[::2, ::2], full_range=True)


def as_kind(image: Image.Image, kind: str) -> Picture:
    if kind == "yuv":
        return yuv(image)
    return image if kind == "pixels" else encoded(image, kind)


@pytest.mark.parametrize(
    ("rotate_deg", "corner", "size_px"),
    [
        (0, "top left", (64, 32)),
        (90, "top right", (32, 64)),
        (180, "bottom right", (64, 32)),
        (270, "bottom left", (32, 64)),
    ],
)
@pytest.mark.parametrize("kind", ["pixels", "yuv", "PNG", "JPEG"])
def test_every_kind_of_picture_stands_upright(
    kind: str, rotate_deg: int, corner: str, size_px: tuple[int, int]
) -> None:
    rendered = render(as_kind(corners(), kind), View(rotate_deg), 640)  # type: ignore[arg-type]  # a number of the test's table
    assert (light_corner(rendered.image), rendered.image.size, rendered.image.mode) == (corner, size_px, "RGB")
    assert rendered.scale == (1.0, 1.0)


def test_exif_orientation_is_applied_before_the_cameras() -> None:
    assert light_corner(render(encoded(corners(), "JPEG", 6), WHOLE, 640).image) == "top right"
    assert light_corner(render(encoded(corners(), "JPEG", 6), View(270), 640).image) == "top left"


@pytest.mark.parametrize("kind", ["pixels", "yuv", "JPEG"])
def test_a_large_picture_is_shrunk_and_a_small_one_is_not_enlarged(kind: str) -> None:
    large = corners().resize((1280, 640))
    picture = as_kind(large, kind)
    rendered = render(picture, WHOLE, 320)
    assert (rendered.image.size, rendered.scale) == ((320, 160), (0.25, 0.25))
    assert light_corner(rendered.image) == "top left"
    middle = np.asarray(rendered.image.convert("L"))[40, 80]
    assert middle > 240
    assert render(picture, WHOLE, 2000).image.size == (1280, 640)


def test_the_scale_is_that_of_the_upright_picture() -> None:
    rendered = render(corners().resize((1280, 640)), View(90), 320)
    assert (rendered.image.size, rendered.scale) == ((320, 640), (0.5, 0.5))


def test_a_very_high_picture_stays_small() -> None:
    assert render(Image.new("RGB", (10, 50_000)), WHOLE, 640).image.size == (1, 1280)


def test_the_region_is_left_to_be_marked() -> None:
    assert render(corners(), View(0, Box(0, 0, 10, 10)), 640).image.size == SIZE


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_other_colors_become_rgb(mode: str) -> None:
    assert render(corners().convert(mode), WHOLE, 32).image.mode == "RGB"


def test_rendering_leaves_the_frame_as_it_was() -> None:
    picture = encoded(corners().resize((1280, 640)), "JPEG")
    assert isinstance(picture, EncodedPicture)
    render(picture, WHOLE, 64)
    assert picture._decoded == {}


def test_a_picture_that_is_cut_off_is_our_own_error() -> None:
    buffer = io.BytesIO()
    corners().resize((640, 320)).save(buffer, "PNG")
    picture = open_picture(buffer.getvalue()[:700], "half.png")
    with pytest.raises(FrameError, match=r"half\.png"):
        render(picture, WHOLE, 64)
