"""A USB camera: what becomes of its bytes, with a simulated device; opening real ones, where there is none.

The real interface is tested with the kernel's virtual camera in a virtual machine: tests/vm.
"""

import ctypes
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent.config.sources import CameraSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources import v4l2
from edge_agent.inference.sources import v4l2_abi as abi
from edge_agent.inference.sources.camera import Camera, raw_picture
from edge_agent.inference.sources.v4l2 import Asked, Grabbed, PixelFormat, open_device
from edge_agent.transform.picture import EncodedPicture, YuvPicture
from tests.inference.sources.pictures import jpeg, names, picture, seen, shade, take_all
from tests.sim.camera import SimCamera
from tests.sim.clock import FakeClock

MJPG = PixelFormat("MJPG", 64, 48, 0)


def camera(script: list[Any], pixels: PixelFormat = MJPG, **more: Any) -> tuple[Camera, SimCamera, FakeClock]:
    clock = FakeClock()
    device = SimCamera(pixels, script, clock)
    return Camera(CameraSource("camera", **more), clock, device), device, clock


def test_motion_jpeg_is_given_undecoded() -> None:
    source, device, _ = camera([jpeg(10), jpeg(250)], width_px=640, height_px=360, camera_fps=15.0)
    with source:
        frames = take_all(source, at_most=2)
    assert all(isinstance(picture(frame), EncodedPicture) for frame in frames)
    assert [shade(frame) for frame in frames] == [10, 250]
    fourccs = ("MJPG", "JPEG", "YUYV", "NV12", "YU12", "H264")
    assert device.asked == [("/dev/video0", Asked(640, 360, 15.0, fourccs))]
    assert not device.open


@pytest.mark.parametrize(("name", "fourccs"), [("mjpeg", ("MJPG", "JPEG")), ("yuyv", ("YUYV",)), ("h264", ("H264",))])
def test_a_format_that_is_named_is_the_only_one_asked_for(name: Any, fourccs: tuple[str, ...]) -> None:
    source, device, _ = camera([], format=name)
    if name == "h264":
        pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    with source:
        assert tuple(device.asked[0][1].fourccs) == fourccs


def test_a_picture_is_stamped_with_the_time_the_driver_got_it() -> None:
    clock_of_another = Grabbed(jpeg(), 1e9)
    source, _, clock = camera([Grabbed(jpeg(), 99.75), Grabbed(jpeg(), None), clock_of_another])
    clock.advance(100)
    with source:
        frames = [item for item in take_all(source, at_most=3) if isinstance(item, Frame)]
    assert [frame.captured_s - clock.now_s() for frame in frames] == pytest.approx([-0.25, 0, 0], abs=1e-5)


def test_a_camera_that_has_nothing_yet_says_so_and_one_that_stays_silent_is_opened_anew() -> None:
    source, _, clock = camera([jpeg(), None, jpeg(), *[None] * 50])
    with source:
        assert isinstance(source.take(Wanted()), Frame)
        assert source.take(Wanted()) == Nothing()
        assert isinstance(source.take(Wanted()), Frame)
        last_s = clock.monotonic_s()
        with pytest.raises(SourceError, match="sent nothing for 10 s"):
            take_all(source)
    assert clock.monotonic_s() - last_s == 10


def test_a_camera_that_is_unplugged_and_plugged_in_again_goes_on() -> None:
    clock = FakeClock()
    lives = [SimCamera(MJPG, [jpeg()], clock), SimCamera(MJPG, [jpeg()], clock)]
    waiting = iter(lives)
    source = Camera(CameraSource("camera"), clock, lambda path, asked: next(waiting)(path, asked))  # noqa: PLW0108  # each time the next one
    for device in lives:
        with source:
            assert names(take_all(source, at_most=1)) == ["0"]
            with pytest.raises(SourceError, match="unplugged"):
                source.take(Wanted())
        assert not device.open


def test_damaged_pictures_cost_only_themselves() -> None:
    source, _, _ = camera([b"", jpeg()[:100], Grabbed(jpeg(), None, damaged=True), b"\0" * 10, jpeg()])
    with source:
        items = take_all(source, at_most=5)
    assert [type(item) for item in items] == [Unusable] * 4 + [Frame]


def test_at_most_so_many_a_second_are_taken_and_the_others_only_read() -> None:
    source, _, clock = camera([jpeg()] * 9, max_fps=10.0)
    found = []
    with source:
        for _ in range(9):
            found.append(isinstance(source.take(Wanted()), Frame))
            clock.advance(0.034)
    assert found == [True, False, False, True, False, False, True, False, False]


# --- raw formats --------------------------------------------------------------------------------------------


def scene(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, 255 - x * 200 // width], -1).astype(np.uint8))


@pytest.mark.parametrize("fourcc", ["YUYV", "NV12", "YU12"])
@pytest.mark.parametrize("padding", [0, 32])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (66, 45)])
def test_raw_formats_are_taken_apart_whatever_their_rows_are_padded_with(
    fourcc: str, padding: int, width: int, height: int
) -> None:
    image = scene(width, height)
    ycbcr = np.asarray(image.convert("YCbCr"))
    y = ycbcr[..., 0]
    u, v = (_halved(ycbcr[..., channel], rows=fourcc != "YUYV") for channel in (1, 2))
    if fourcc == "YUYV":
        rows = np.empty((height, width * 2), np.uint8)
        rows[:, 0::2], rows[:, 1::4], rows[:, 3::4] = y, u, v
        content = _padded(rows, padding)
    elif fourcc == "NV12":
        chroma = np.stack([u, v], -1).reshape(u.shape[0], -1)
        content = _padded(y, padding) + _padded(chroma, padding)
    else:
        content = _padded(y, padding) + _padded(u, padding // 2) + _padded(v, padding // 2)
    stride = (width * 2 if fourcc == "YUYV" else width) + padding
    found = raw_picture(content, PixelFormat(fourcc, width, height, stride, full_range=True), "test")
    assert np.abs(seen(found, (16, 12)).astype(float) - seen(image, (16, 12))).mean() < 2
    with pytest.raises(Exception, match=f"are {len(content)}"):
        raw_picture(content[:-1], PixelFormat(fourcc, width, height, stride), "test")


def test_a_raw_picture_is_read_with_the_colors_of_the_driver() -> None:
    pixels = PixelFormat("YUYV", 4, 2, 8, "bt709", full_range=False)
    source, _, _ = camera([bytes(range(16))], pixels)
    with source:
        found = picture(source.take(Wanted()))
    assert isinstance(found, YuvPicture)
    assert (found.matrix, found.full_range, found.y[1, 3], found.u[1, 1], found.v[1, 1]) == ("bt709", False, 14, 13, 15)


def _halved(plane: np.ndarray[Any, Any], *, rows: bool) -> np.ndarray[Any, Any]:
    size = ((plane.shape[1] + 1) // 2, (plane.shape[0] + 1) // 2 if rows else plane.shape[0])
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX))


def _padded(rows: np.ndarray[Any, Any], padding: int) -> bytes:
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=77).tobytes()


def test_h264_of_a_camera_is_decoded() -> None:
    av = pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", Fraction(1, 30)
    encoder.options = {"tune": "zerolatency", "preset": "ultrafast"}
    packets: list[bytes] = []
    for level in (40, 120, 200):
        frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (level, level, level)))
        frame.pts = len(packets)
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    source, _, _ = camera([*packets, b"\0\0\0\1\x65garbage"], PixelFormat("H264", 64, 48, 0))
    with source:
        items = take_all(source, at_most=4, asks=4)
    assert [type(item) for item in items[:3]] == [Frame] * 3
    assert [shade(item) for item in items[:3]] == pytest.approx([40, 120, 200], abs=3)
    assert all(isinstance(item, Unusable) for item in items[3:])


# --- opening ------------------------------------------------------------------------------------------------

ASKED = Asked(640, 480, None, ("MJPG",))


def test_a_camera_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(SourceError, match="No such file") as caught:
        open_device("/dev/video-that-is-not-there", ASKED)
    assert "/dev" in str(caught.value.hint)


def test_what_is_no_camera_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no camera")
    with pytest.raises(SourceError) as caught:
        open_device(str(tmp_path / "file"), ASKED)
    assert "no camera" in str(caught.value.hint)


def test_the_structures_have_the_sizes_of_the_kernel() -> None:
    """linux/videodev2.h; the request numbers are those that strace shows of v4l2-ctl on a 64-bit machine."""
    sizes = {"Capability": 104, "FormatDescription": 64, "Parameters": 204, "Request": 20}
    if ctypes.sizeof(ctypes.c_void_p) == 8:
        sizes |= {"Format": 208, "Buffer": 88}
        assert (abi.DQBUF, abi.S_FMT, abi.STREAMON) == (0xC0585611, 0xC0D05605, 0x40045612)
    assert {name: ctypes.sizeof(getattr(abi, name)) for name in sizes} == sizes
    assert abi.QUERYCAP == 0x80685600


@pytest.mark.parametrize(
    ("encoding", "quantization", "colorspace", "expected"),
    [
        (0, 0, 8, ("bt601", False)),  # sRGB, a webcam's YUYV
        (0, 0, 3, ("bt709", False)),
        (0, 0, 7, ("bt601", True)),  # JPEG
        (1, 1, 3, ("bt601", True)),
        (2, 2, 7, ("bt709", False)),
    ],
)
def test_colors_that_a_driver_leaves_out_are_those_of_the_kernel(
    encoding: int, quantization: int, colorspace: int, expected: tuple[str, bool]
) -> None:
    assert (v4l2._matrix(encoding, colorspace), v4l2._is_full_range(quantization, colorspace)) == expected
