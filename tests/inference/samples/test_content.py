"""What is kept is what the model was given: the same transform makes the same input of it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converter.data.contents import contents_of
from converter.data.examples import Request
from converter.data.examples import Rows as Window
from converter.data.examples import Sound as SoundWindow
from converter.data.files import PICTURES
from converter.data.opening import open_examples
from edge_agent.errors import FrameError
from edge_agent.inference.frame import Frame, Rows, Sound
from edge_agent.inference.samples.content import content_of, said_of
from edge_agent.inference.samples.folder import SUFFIXES
from edge_agent.release.inputs import AudioInput, ImageInput, SignalInput
from edge_agent.transform.image import ImageTransform, read_image
from edge_agent.transform.picture import WHOLE, EncodedPicture, Picture, View, YuvPicture, open_picture
from edge_agent.transform.placement import Box
from edge_agent.transform.tensor import TensorSpec

TENSOR = TensorSpec("image", (1, 24, 32, 3), np.dtype(np.uint8))


def noise(mode: str = "RGB", size_px: tuple[int, int] = (64, 48)) -> Image.Image:
    shape = (size_px[1], size_px[0], 3) if mode == "RGB" else size_px[::-1]
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, shape, np.uint8))


def encoded(image: Image.Image, form: str, **more: object) -> EncodedPicture:
    buffer = io.BytesIO()
    image.save(buffer, form, **more)
    return open_picture(buffer.getvalue(), "x")


def kept(picture: Picture, view: View = WHOLE) -> tuple[str, bytes]:
    return content_of(Frame("x", 0.0, picture, view))


def seen(picture: Picture, view: View = WHOLE) -> np.ndarray:
    values, _ = ImageTransform(ImageInput(decode="full"), TENSOR).apply(picture, view)
    return values


@pytest.mark.parametrize(
    ("form", "suffix"),
    [("JPEG", ".jpg"), ("PNG", ".png"), ("BMP", ".bmp"), ("GIF", ".gif"), ("WEBP", ".webp"), ("TIFF", ".tif")],
)
def test_a_file_is_kept_byte_for_byte_and_data_of_that_suffix_is_read(form: str, suffix: str) -> None:
    picture = encoded(noise(), form)
    assert kept(picture) == (suffix, picture.content)
    assert suffix in PICTURES
    assert suffix in SUFFIXES


def test_a_file_of_another_kind_is_kept_as_png(tmp_path: Path) -> None:
    picture = encoded(noise(), "PPM")
    suffix, content = kept(picture)
    assert suffix == ".png"
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(seen(read_image(tmp_path / "a.png")), seen(picture))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_kept_without_loss(mode: str) -> None:
    suffix, content = kept(noise(mode))
    assert suffix == ".png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(noise(mode)))


def test_planes_are_kept_as_the_model_sees_them() -> None:
    ramp = np.tile(np.arange(16, 208, 3, dtype=np.uint8), (48, 1))
    planes = YuvPicture(ramp, np.full((24, 32), 90, np.uint8), np.full((24, 32), 170, np.uint8))
    _, content = kept(planes)
    assert np.abs(seen(open_picture(content, "x")).astype(int) - seen(planes)).max() <= 2


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_of_a_part_only_that_part_is_kept_as_the_model_sees_it(rotate: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = encoded(noise(), "PNG", exif=exif)
    view = View(rotate, Box(5, 7, 37.5, 31.5))  # type: ignore[arg-type]  # one of the four
    suffix, content = kept(picture, view)
    again = open_picture(content, "x")
    assert (suffix, again.size_px) == (".png", (33, 25))
    assert np.abs(seen(again).astype(int) - seen(picture, view)).max() <= 1  # turned before it is shrunk, or after


def test_boxes_are_told_in_px_of_the_part() -> None:
    inner = {"label": "tit", "box": [12.0, 13.0, 14.0, 15.0]}
    said = {
        "label": "bird",
        "box": [10.0, 20.0, 30.0, 40.0],
        "keypoints": [{"x": 11.0, "y": 21.0, "score": 1.0}],
        "stages": {"name": [inner]},
    }
    frame = Frame("x", 0.0, noise(), View(0, Box(5.5, 7, 37, 31)))
    assert said_of(frame, [said]) == [
        {"label": "bird", "box": [5.0, 13.0, 25.0, 33.0], "keypoints": [{"x": 6.0, "y": 14.0, "score": 1.0}],
         "stages": {"name": [{"label": "tit", "box": [7.0, 6.0, 9.0, 8.0]}]}}
    ]  # fmt: skip
    assert said_of(Frame("x", 0.0, noise()), [said]) == [said]
    assert said["box"] == [10.0, 20.0, 30.0, 40.0]


def test_a_picture_that_cannot_be_decoded_is_an_error_that_names_it() -> None:
    whole = encoded(noise(), "PNG").content
    with pytest.raises(FrameError, match="x cannot be decoded"):
        kept(EncodedPicture(whole[:200], "x", (64, 48)), View(90))


@pytest.mark.parametrize(
    "channels", [("x", "y"), (), ("y", "label"), ("a;b", "c"), ("#a", "b"), ("1", "2"), (" x", "y")]
)
def test_windows_are_read_back_to_the_last_bit(tmp_path: Path, channels: tuple[str, ...]) -> None:
    values = np.array([[0.1, -1e-300], [1 / 3, 2.5e17], [-0.0, 7.0]])
    suffix, content = content_of(Rows(channels, values))
    (tmp_path / f"a{suffix}").write_bytes(content)
    spec = SignalInput(channels=channels, window=3, stride=3)
    (example,) = open_examples(Request(tmp_path, "signal_classification", spec), [TENSOR]).items
    assert isinstance(example.content, Window)
    assert np.array_equal(example.content.values, values)
    assert example.truth is None


def test_sound_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).uniform(-1.5, 1.5, 1_000).astype(np.float32)
    suffix, content = content_of(Sound("x", 0.0, samples, 16_000))
    (tmp_path / f"a{suffix}").write_bytes(content)
    spec = AudioInput(window=1_000, stride=1_000, context=40)
    (window,), problem = contents_of(tmp_path / f"a{suffix}", spec)
    assert problem is None
    assert isinstance(window, SoundWindow)
    assert np.array_equal(window.samples[40:], samples)
