"""Pictures become the tensor that the model was trained on, whatever they come as."""

import io
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edge_agent.errors import FrameError, ModelError, Reason
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.image import LETTERBOX_GRAY, ImageTransform, read_image
from edge_agent.transform.picture import Picture, open_picture
from edge_agent.transform.placement import Box
from edge_agent.transform.tensor import Array, Quantization, TensorSpec, quantize

UINT8 = TensorSpec("image", (1, 24, 32, 3), np.dtype(np.uint8), Quantization(1 / 255, 0))
INT8 = replace(UINT8, dtype=np.dtype(np.int8), quantization=Quantization(1 / 255, -128))
FLOAT = replace(UINT8, dtype=np.dtype(np.float32), quantization=None)
GRAY = replace(FLOAT, shape=(1, 24, 32, 1))
FULL = ImageInput(decode="full")


def picture(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Every pixel another color, smooth enough to survive a JPEG."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 // max(1, width - 1), y * 255 // max(1, height - 1)
    pixels = np.stack([red, green, (red + green) // 2], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def applied(spec: ImageInput, tensor: TensorSpec, image: Picture) -> Array:
    array, _ = ImageTransform(spec, tensor).apply(image)
    assert array.shape == tensor.shape
    assert array.dtype == tensor.dtype
    return array


def test_bytes_go_into_a_quantized_input_as_they_are() -> None:
    expected = np.asarray(picture().resize((32, 24), Image.Resampling.BILINEAR))
    assert np.array_equal(applied(FULL, UINT8, picture())[0], expected)


def test_an_int8_input_takes_the_byte_less_128() -> None:
    expected = applied(FULL, UINT8, picture()).astype(np.int16) - 128
    assert np.array_equal(applied(FULL, INT8, picture()), expected)


def test_a_float_input_without_normalization_takes_0_to_255() -> None:
    assert np.array_equal(applied(FULL, FLOAT, picture()), applied(FULL, UINT8, picture()).astype(np.float32))


@pytest.mark.parametrize("tensor", [UINT8, INT8, FLOAT, replace(INT8, quantization=Quantization(0.02, 3))])
@pytest.mark.parametrize(
    "mean_std", [((127.5,), (127.5,)), ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)), ((0.0,), (255.0,))]
)
def test_the_look_up_table_is_normalizing_and_quantizing(
    tensor: TensorSpec, mean_std: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    mean, std = mean_std
    pixels = applied(FULL, UINT8, picture()).astype(np.float64)
    expected = quantize((pixels - np.array(mean)) / np.array(std), tensor)
    assert np.array_equal(applied(replace(FULL, mean=mean, std=std), tensor, picture()), expected)


def test_bgr_is_rgb_the_other_way_round() -> None:
    rgb, bgr = applied(FULL, UINT8, picture()), applied(replace(FULL, color="bgr"), UINT8, picture())
    assert np.array_equal(bgr, rgb[..., ::-1])


def test_bgr_takes_mean_and_std_in_the_order_of_the_model() -> None:
    spec = replace(FULL, color="bgr", mean=(100.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert np.allclose(applied(spec, FLOAT, picture())[..., 0], applied(FULL, FLOAT, picture())[..., 2] - 100)


def test_gray_is_made_of_color() -> None:
    expected = np.asarray(picture(mode="L").resize((32, 24), Image.Resampling.BILINEAR), np.float32)
    assert np.array_equal(applied(replace(FULL, color="gray"), GRAY, picture())[0, ..., 0], expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "YCbCr", "HSV"])
def test_every_8_bit_mode_is_taken(mode: str) -> None:
    expected = np.asarray(picture(mode=mode).convert("RGB").resize((32, 24), Image.Resampling.BILINEAR))
    assert np.array_equal(applied(FULL, UINT8, picture(mode=mode))[0], expected)


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_more_than_8_bits_are_refused_and_not_silently_clipped(mode: str) -> None:
    with pytest.raises(FrameError, match="more than 8 bits") as caught:
        applied(FULL, UINT8, Image.new(mode, (64, 48)))
    assert caught.value.hint


def test_the_bars_of_a_letterbox_are_gray_and_the_picture_is_between_them() -> None:
    array, placement = ImageTransform(replace(FULL, fit="letterbox"), UINT8).apply(Image.new("RGB", (320, 120), "red"))
    assert (array[0, :6] == LETTERBOX_GRAY).all()
    assert (array[0, 18:] == LETTERBOX_GRAY).all()
    assert (array[0, 6:18] == (255, 0, 0)).all()
    assert placement.to_source(Box(0.0, 0.25, 1.0, 0.75)) == Box(0.0, 0.0, 320.0, 120.0)


def test_a_crop_leaves_out_the_sides() -> None:
    image = Image.new("RGB", (100, 24), "red")
    image.paste("blue", (34, 0, 66, 24))
    assert (applied(replace(FULL, fit="crop"), UINT8, image)[0] == (0, 0, 255)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("decode", ["full", "reduced"])
def test_exif_orientation_is_applied(orientation: int, fit: Any, decode: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(160, 96), "JPEG", quality=95, exif=exif, subsampling=0)
    with Image.open(io.BytesIO(content)) as stored:
        upright = ImageOps.exif_transpose(stored)
    spec = ImageInput(fit=fit, decode=decode)
    expected, expected_placement = ImageTransform(replace(spec, decode="full"), UINT8).apply(upright)
    found, placement = ImageTransform(spec, UINT8).apply(open_picture(content, "picture"))
    assert placement == expected_placement
    # reduced decoding is a box filter before the bilinear one; turning before or after rounds differently
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.mean() <= (3.0 if decode == "reduced" else 0.5)


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_a_jpeg_is_decoded_reduced_but_never_below_the_input(fit: Any) -> None:
    content = encoded(picture(1003, 517), "JPEG", quality=95)
    transform = ImageTransform(ImageInput(fit=fit), UINT8)
    source = open_picture(content, "picture")
    array, placement = transform.apply(source)
    ((_, decoded_px),) = source._decoded
    assert decoded_px[0] < 1003 / 2
    assert decoded_px[0] * min(1.0, placement.shown.size[0] / 1003) >= 32 - 1e-6 or fit == "letterbox"
    assert placement.bounds == Box(0, 0, 1003, 517)
    exact = applied(replace(FULL, fit=fit), UINT8, open_picture(content, "picture"))
    assert np.abs(array.astype(int) - exact.astype(int)).mean() < 2.0


def test_a_picture_may_be_given_to_two_models() -> None:
    content = encoded(picture(1000, 800), "JPEG", quality=95)
    image = open_picture(content, "picture")
    ImageTransform(ImageInput(), UINT8).apply(image)
    again, placement = ImageTransform(ImageInput(fit="crop"), UINT8).apply(image)
    fresh, expected = ImageTransform(ImageInput(fit="crop"), UINT8).apply(open_picture(content, "picture"))
    assert placement == expected
    assert np.abs(again.astype(int) - fresh.astype(int)).max() <= 3


def test_each_reduction_is_decoded_once_and_none_stands_in_for_another() -> None:
    source = open_picture(encoded(picture(1000, 800), "JPEG"), "picture")
    larger = replace(UINT8, shape=(1, 240, 320, 3))
    alone = applied(ImageInput(), larger, open_picture(source.content, "picture"))
    for tensor in (UINT8, larger, UINT8, larger):
        found = applied(ImageInput(), tensor, source)
    assert np.array_equal(found, alone)
    assert sorted(size for _, size in source._decoded) == [(125, 100), (500, 400)]


@pytest.mark.parametrize(
    ("spec", "tensor", "message"),
    [
        (ImageInput(), replace(UINT8, shape=(1, 3, 24, 32)), "channels last"),
        (ImageInput(), replace(UINT8, shape=(1, 100)), "height, width"),
        (ImageInput(), replace(UINT8, shape=(4, 24, 32, 3)), "batch of 1"),
        (ImageInput(), GRAY, "3 channels for color 'rgb'"),
        (ImageInput(color="gray"), UINT8, "1 channels for color 'gray'"),
        (ImageInput(mean=(1.0, 2.0), std=(1.0,)), UINT8, "2"),
        (ImageInput(), replace(UINT8, dtype=np.dtype(object)), "numbers"),
        (ImageInput(), replace(UINT8, dtype=np.dtype(np.int16)), "mean and std"),
    ],
)
def test_a_model_that_cannot_take_such_pictures_is_incompatible(
    spec: ImageInput, tensor: TensorSpec, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        ImageTransform(spec, tensor)
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert tensor.label in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"BM", b"\x89PNG\r\n\x1a\n"])
def test_what_is_not_a_picture_is_a_frame_error(content: bytes) -> None:
    with pytest.raises(FrameError, match=r"cam\.jpg") as caught:
        ImageTransform(ImageInput(), UINT8).apply(open_picture(content, "cam.jpg"))
    assert caught.value.hint


def test_a_cut_off_picture_is_a_frame_error() -> None:
    content = encoded(picture(640, 480), "JPEG")
    with pytest.raises(FrameError, match="cannot be decoded"):
        applied(ImageInput(), UINT8, open_picture(content[: len(content) // 2], "cam.jpg"))


def test_a_missing_picture_is_a_frame_error(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=r"gone\.jpg"):
        read_image(tmp_path / "gone.jpg")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("1", (2000, 2000)), "PNG")
    monkeypatch.setattr("edge_agent.transform.picture.MAX_PIXELS", 3_000_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3_000_000)  # between a warning and an error of pillow's
    with pytest.raises(FrameError, match="at most 3000000 px are decoded"):
        open_picture(content, "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    with pytest.raises(FrameError, match="at most 3000000 px are decoded"):
        open_picture(content, "bomb.png")
    with pytest.raises(FrameError, match="at most"):
        applied(FULL, UINT8, Image.new("L", (2000, 2000)))


def tiff_header(width: int, height: int) -> bytes:
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def jpeg_header(width: int, height: int) -> bytes:
    content = bytearray(encoded(picture(), "JPEG"))
    begin = content.index(b"\xff\xc0") + 5  # SOF0: length, precision, then the two (ITU-T T.81, B.2.2)
    content[begin : begin + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        jpeg_header(40_000, 30_000),
        bmp_header(40_000, 30_000),
        tiff_header(40_000, 30_000),
        b"GIF89a" + struct.pack("<HHBBB", 40_000, 30_000, 0, 0, 0) + b"," + struct.pack("<HHHHBB", 0, 0, 1, 1, 0, 8),
        b"P6 40000 30000 255\n",
    ],
    ids=["JPEG", "BMP", "TIFF", "GIF", "PPM"],
)
def test_a_picture_far_too_large_is_refused_with_its_width_and_height(content: bytes) -> None:
    with pytest.raises(FrameError, match=r"^bomb has 40000 x 30000 px; at most 89478485 px are decoded$"):
        open_picture(content, "bomb")


@pytest.mark.parametrize("side_px", [10_000, 20_000])
def test_of_a_decompression_bomb_nothing_of_pillows_is_said(side_px: int, tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "bomb.png").write_bytes(content + empty)
    script = (
        "import sys; from pathlib import Path; from edge_agent.transform.image import read_image; "
        "read_image(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "bomb.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "Warning" not in done.stderr
    assert last.endswith(f"bomb.png has {side_px} x {side_px} px; at most 89478485 px are decoded")


@pytest.mark.parametrize("kind", ["EPS", "TGA", "PDF"])
def test_formats_that_no_camera_writes_are_not_opened(kind: str) -> None:
    with pytest.raises(FrameError, match="is not a picture"):
        open_picture(encoded(picture(), kind), "drawing")


SEEDS = [encoded(picture(), kind) for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")]


@pytest.mark.filterwarnings("ignore::UserWarning")  # pillow warns of some damage that it gets over
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_damaged_picture_gives_a_tensor_or_a_frame_error(data: st.DataObject) -> None:
    content = bytearray(SEEDS[data.draw(st.integers(0, len(SEEDS) - 1))])
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with suppress(FrameError):
        applied(ImageInput(fit="letterbox"), UINT8, open_picture(bytes(content[: cut or None]), "fuzzed"))
