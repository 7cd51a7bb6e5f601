"""Small pictures for reports are made in one way, whether of what was given or of what a model was shown."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converter.data.examples import PictureFile, Pixels, Tensors
from converter.thumbnail import LONGEST_PX, thumbnail_of, thumbnail_of_inputs
from edge_agent.errors import FrameError
from edge_agent.transform.image import read_image
from tests.converter.conftest import Digits, unpack

WIDE = np.full((40, 200, 3), (200, 10, 60), np.uint8)


def seen(thumbnail: str | None) -> Image.Image:
    assert thumbnail is not None
    picture = Image.open(io.BytesIO(base64.b64decode(thumbnail)))
    picture.load()
    return picture


def test_what_was_given_is_shown_small_and_in_its_colors(tmp_path: Path) -> None:
    Image.fromarray(WIDE).save(tmp_path / "wide.png")
    for content in (PictureFile(tmp_path / "wide.png"), Pixels(WIDE)):
        small = seen(thumbnail_of(content))
        assert small.size == (LONGEST_PX, LONGEST_PX // 5)
        assert small.getpixel((50, 10)) == (200, 10, 60)


def test_numbers_are_no_picture_and_a_broken_one_is_our_error(tmp_path: Path) -> None:
    assert thumbnail_of(Tensors((np.ones(3),))) is None
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(FrameError):
        thumbnail_of(PictureFile(tmp_path / "broken.png"))


def test_what_a_model_was_shown_is_made_pixels_again(int8: Path, digits: Digits, tmp_path: Path) -> None:
    path, _ = digits.held_out[0]
    with unpack(int8, tmp_path / "release") as model:
        shown = seen(thumbnail_of_inputs(model, model.prepare_image(read_image(path)).inputs))
        height, width = model.inputs[0].shape[1:3]
    with Image.open(path) as given:
        expected = np.asarray(given.convert("L").resize((width, height), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(np.asarray(shown, np.float32) - expected).mean() < 3
