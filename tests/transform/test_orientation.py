"""A picture that lies in any of eight ways, turned and cut, is what PIL makes of it step by step."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from edge_agent.errors import FrameError
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.image import ImageTransform
from edge_agent.transform.orientation import lies_down, stored_box, turned
from edge_agent.transform.picture import View, open_picture
from edge_agent.transform.placement import Box
from edge_agent.transform.tensor import TensorSpec

INPUT = TensorSpec("image", (1, 24, 32, 3), np.dtype(np.uint8))


def stored(orientation: int) -> bytes:
    """Every pixel another color, PNG with EXIF."""
    y, x = np.mgrid[0:60, 0:80]
    image = Image.fromarray(np.stack([x * 3, y * 4, (x + y) % 256], axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("cropped", [False, True])
def test_orientation_then_rotation_then_region(orientation: int, rotate_deg: int, cropped: bool) -> None:  # noqa: FBT001
    content = stored(orientation)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).rotate(-rotate_deg, expand=True)
    roi = Box(7, 11, 47, 41) if cropped else None
    expected = upright.crop((7, 11, 47, 41)) if cropped else upright
    wanted = np.asarray(expected.resize((32, 24), Image.Resampling.BILINEAR))
    transform = ImageTransform(ImageInput(decode="full"), INPUT)
    found, placement = transform.apply(open_picture(content, "p"), View(rotate_deg, roi))  # type: ignore[arg-type]  # one of four
    assert placement.bounds == (roi or Box(0, 0, *upright.size))
    assert np.abs(found[0].astype(int) - wanted.astype(int)).max() <= 1  # turning before or after rounds differently


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_find_their_way_to_the_stored_picture(orientation: int) -> None:
    image = Image.new("L", (80, 60))
    image.paste(255, (10, 20, 30, 50))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(buffer))
    left, top, right, bottom = upright.getbbox() or (0, 0, 0, 0)
    assert stored_box(Box(left, top, right, bottom), orientation, (80, 60)) == Box(10, 20, 30, 50)
    assert lies_down(orientation) == (upright.size == (60, 80))


def test_four_quarter_turns_are_none_and_an_unknown_orientation_is_upright() -> None:
    for orientation in range(1, 9):
        once = orientation
        for _ in range(4):
            once = turned(once, 90)
        assert once == orientation
        assert turned(turned(orientation, 90), 90) == turned(orientation, 180)
    assert (turned(0, 0), turned(99, 90)) == (1, 6)


def test_a_region_is_whole_pixels_and_has_to_lie_in_the_picture() -> None:
    transform = ImageTransform(ImageInput(), INPUT)
    image = Image.new("RGB", (100, 50))
    _, placement = transform.apply(image, View(roi=Box(10.4, -5, 20.2, 60)))
    assert placement.bounds == Box(10, 0, 21, 50)
    with pytest.raises(FrameError, match="100 x 50 px"):
        transform.apply(image, View(roi=Box(200, 0, 300, 50)))
