"""A video file as a source: its planes as they are, its colors, and what is damaged in it."""

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent.config.sources import VideoSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Unusable, Wanted
from edge_agent.inference.sources.libav import picture_of
from edge_agent.transform.picture import EncodedPicture, YuvPicture
from tests.inference.sources.pictures import names, open_source, picture, seen, shade, take_all

av = pytest.importorskip("av", reason="needs PyAV, the extra `video`")

BT709, BT601, SMPTE240M, BT2020, LIMITED, FULL = 1, 5, 7, 9, 1, 2  # as libav counts them


def write_video(path: Path, *, codec: str = "mpeg4", frames: int = 10, turned: int | None = None) -> Path:
    """Gray frames of 64 x 48, each darker than the one before."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = 5
        if turned is not None:
            stream.set_display_rotation(turned)
        for number in range(frames):
            level = 250 - 20 * (number % 12)
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (level, level, level)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(params=["mpeg4", "mjpeg"])
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_video(tmp_path / "ten.avi", codec=request.param)


def test_a_video_gives_its_frames_by_number(video: Path) -> None:
    with open_source(VideoSource("video", video)) as source:
        frames = take_all(source)
    assert names(frames) == [str(number) for number in range(10)]
    shades = [shade(frame) for frame in frames]
    assert shades == sorted(shades, reverse=True)
    assert (shades[0] > 240, shades[-1] < 80) == (True, True)


def test_motion_jpeg_is_not_decoded_and_other_codecs_give_their_planes(tmp_path: Path) -> None:
    for codec, kind in (("mjpeg", EncodedPicture), ("mpeg4", YuvPicture)):
        path = write_video(tmp_path / f"{codec}.avi", codec=codec)
        with open_source(VideoSource("video", path)) as source:
            assert isinstance(picture(source.take(Wanted())), kind)


def test_every_third_frame_is_every_third(video: Path) -> None:
    with open_source(VideoSource("video", video, every_n=3)) as source:
        frames = take_all(source)
    assert names(frames) == ["0", "3", "6", "9"]
    assert shade(frames[1]) == pytest.approx(190, abs=4)


def test_a_repeating_video_begins_anew(video: Path) -> None:
    with open_source(VideoSource("video", video, repeat=True, every_n=5)) as source:
        assert names(take_all(source, at_most=5)) == ["0", "5", "0", "5", "0"]


def test_a_frame_outlives_its_video(video: Path) -> None:
    with open_source(VideoSource("video", video)) as source:
        frame = source.take(Wanted())
    assert shade(frame) > 240


def test_a_video_that_says_how_it_was_held_is_seen_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", turned=-90)  # of a phone: counter-clockwise, as FFmpeg counts
    with open_source(VideoSource("video", path)) as source:
        frame = source.take(Wanted())
    assert isinstance(frame, Frame)
    assert frame.view.rotate_deg == 90


# --- planes and colors --------------------------------------------------------------------------------------


def colorful(width: int = 64, height: int = 48) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // width, y * 255 // height, 255 - x * 200 // width], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8))


def encoded(image: Image.Image, layout: str, space: int, reach: int) -> Any:
    """A frame of libav in the given format and colors, with the colors said."""
    frame = av.VideoFrame.from_image(image).reformat(
        format=layout, dst_colorspace=space, dst_color_range=reach, src_color_range=FULL
    )
    frame.colorspace, frame.color_range = space, reach
    return frame


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "nv12", "yuyv422", "yuv410p", "yuv420p10le"])
@pytest.mark.parametrize("space", [BT601, BT709])
@pytest.mark.parametrize("reach", [LIMITED, FULL])
def test_planes_come_to_the_same_small_picture_as_rgb_does(layout: str, space: int, reach: int) -> None:
    image = colorful()
    found = picture_of(encoded(image, layout, space, reach), "test")
    assert isinstance(found, YuvPicture)
    assert (found.matrix, found.full_range) == ("bt709" if space == BT709 else "bt601", reach == FULL)
    difference = np.abs(seen(found, (16, 12)).astype(float) - seen(image, (16, 12)))
    assert difference.mean() < (6.0 if layout == "yuv410p" else 2.0)  # a sixteenth of the colors


@pytest.mark.parametrize("space", [BT2020, SMPTE240M])
def test_other_colors_are_converted(space: int) -> None:
    image = colorful()
    found = picture_of(encoded(image, "yuv420p", space, LIMITED), "test")
    assert isinstance(found, YuvPicture)
    assert found.matrix == "bt709"
    assert np.abs(seen(found, (16, 12)).astype(float) - seen(image, (16, 12))).mean() < 3


@pytest.mark.parametrize(
    ("size_px", "matrix"), [((640, 480), "bt601"), ((720, 576), "bt601"), ((1280, 720), "bt709"), ((720, 578), "bt709")]
)
def test_colors_that_a_video_does_not_tell_are_taken_by_its_size(size_px: tuple[int, int], matrix: str) -> None:
    found = picture_of(av.VideoFrame(*size_px, "yuv420p"), "test")
    assert isinstance(found, YuvPicture)
    assert (found.matrix, found.full_range) == (matrix, False)


def test_frames_of_odd_size_and_padded_rows_are_copied_whole() -> None:
    frame = av.VideoFrame.from_image(colorful(67, 45)).reformat(format="yuv420p")
    found = picture_of(frame, "test")
    assert isinstance(found, YuvPicture)
    assert (found.size_px, found.u.shape) == ((67, 45), (23, 34))
    assert frame.planes[0].line_size > 67


def test_a_frame_of_rgb_stays_rgb() -> None:
    found = picture_of(av.VideoFrame.from_image(colorful()), "test")
    assert isinstance(found, Image.Image)
    assert found.getpixel((63, 47)) == colorful().getpixel((63, 47))


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, b"", b"<html>404</html>" * 100], ids=["missing", "empty", "html"])
def test_a_file_that_is_no_video_is_told_with_a_hint(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "video.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"video\.mp4") as caught, open_source(VideoSource("video", path)):
        pass
    assert caught.value.hint


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match="no video stream"), open_source(VideoSource("video", path)):
        pass


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "libx264"])
def test_a_video_with_a_corrupt_middle_is_read_past_it(tmp_path: Path, codec: str) -> None:
    path = write_video(tmp_path / "video.avi", codec=codec, frames=120)
    content = bytearray(path.read_bytes())
    begin = content.index(b"movi")
    third = (content.rindex(b"idx1") - begin) // 3
    content[begin + third : begin + 2 * third] = b"\xff" * third
    path.write_bytes(content)
    with open_source(VideoSource("video", path)) as source:
        items = take_all(source)
    whole = [int(item.name) for item in items if isinstance(item, Frame)]
    bad = [item for item in items if isinstance(item, Unusable)]
    assert whole[:20] == list(range(20))
    assert len(whole) > 45  # the first third, and most of the last
    assert len(whole) + len(bad) <= 121
    assert all("video.avi" in item.detail for item in bad)


@pytest.mark.shared_data
def test_a_real_video_that_is_damaged_on_the_way_is_read_to_its_end(shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "video/bottle-detection.mp4").read_bytes()
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(whole[:100_000] + b"\xff" * 60_000 + whole[160_000:])
    with open_source(VideoSource("video", damaged)) as source:
        items = take_all(source, at_most=5000)
    frames = [item for item in items if isinstance(item, Frame)]
    bad = [item for item in items if isinstance(item, Unusable)]
    assert names(frames[:300]) == [str(number) for number in range(300)]
    assert len(frames) > 1000
    assert len(frames) + len(bad) == 1189
    assert frames[-1].name == "1188"


@pytest.mark.shared_data
def test_a_video_that_is_cut_off_is_told_with_a_hint(shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "video/bottle-detection.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SourceError, match="cannot be opened") as caught, open_source(VideoSource("video", cut)):
        pass
    assert caught.value.hint


def test_a_video_of_nothing_but_damage_is_an_error_and_not_an_endless_loop(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.avi", codec="mjpeg", frames=3)
    path.write_bytes(path.read_bytes().replace(b"\xff\xd8\xff", b"\0\0\0"))
    with open_source(VideoSource("video", path, repeat=True)) as source:
        assert [type(source.take(Wanted())) for _ in range(3)] == [Unusable] * 3
        with pytest.raises(SourceError, match="no picture that can be decoded"):
            source.take(Wanted())


def test_without_pyav_the_hint_is_what_to_install(tmp_path: Path, without_module: Callable[[str], None]) -> None:
    without_module("av")
    with pytest.raises(SourceError, match="PyAV") as caught, open_source(VideoSource("video", tmp_path / "a.mp4")):
        pass
    assert caught.value.hint == "pip install 'edge-deploy[video]'"


@pytest.fixture
def without_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def hide(name: str) -> None:
        real_import = builtins.__import__

        def refuse(wanted: str, *args: Any, **more: Any) -> Any:
            if wanted == name:
                raise ImportError(f"No module named {name!r}")
            return real_import(wanted, *args, **more)

        monkeypatch.setattr(builtins, "__import__", refuse)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return hide
