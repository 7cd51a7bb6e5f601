"""Folder, video and CSV as sources: what they give, in which order, and what they say of bad input."""

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.sources import CsvSource, FolderSource, SourceConfig, VideoSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Sample, Unusable
from edge_agent.inference.sources.source import Source, new_source, rate_hz
from tests.inference.releases import write_picture, write_pictures
from tests.sim.clock import FakeClock
from tests.sim.source import SimSource


def open_source(config: SourceConfig) -> Source:
    return new_source(config, FakeClock())


def take_all(source: Source, channels: tuple[str, ...] = (), *, at_most: int = 1000) -> list[Frame | Sample | Unusable]:
    items: list[Frame | Sample | Unusable] = []
    while len(items) < at_most and (item := source.take(channels)) is not None:
        items.append(item)
    return items


def names(items: list[Frame | Sample | Unusable]) -> list[str]:
    return [item.name for item in items]


# --- folder -------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "c.jpg"):
        write_picture(tmp_path / name)
    with open_source(FolderSource("folder", tmp_path)) as source:
        frames = take_all(source)
    assert names(frames) == ["a.jpg", "b.jpg", "c.jpg"]
    assert all(isinstance(frame, Frame) and frame.image.size == (64, 48) for frame in frames)


def test_a_picture_is_told_by_its_content_and_not_decoded_yet(tmp_path: Path) -> None:
    write_picture(tmp_path / "picture.txt")
    with open_source(FolderSource("folder", tmp_path)) as source:
        frame = source.take(())
    assert isinstance(frame, Frame)
    assert frame.image.format == "JPEG"
    assert frame.image.draft("L", (8, 8)) is not None  # only possible before decoding


def test_a_file_that_is_no_picture_costs_only_itself(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("<html>not found</html>")
    (tmp_path / "c.jpg").write_bytes(b"")
    write_picture(tmp_path / "d.jpg")
    with open_source(FolderSource("folder", tmp_path)) as source:
        items = take_all(source)
    assert names(items) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [type(item) for item in items] == [Frame, Unusable, Unusable, Frame]
    assert isinstance(items[1], Unusable)
    assert "not a picture" in items[1].detail


def test_subfolders_and_dot_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    write_picture(tmp_path / "a.jpg")
    with open_source(FolderSource("folder", tmp_path)) as source:
        assert names(take_all(source)) == ["a.jpg"]


def test_a_repeating_folder_sees_pictures_that_come_and_go(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    with open_source(FolderSource("folder", tmp_path, repeat=True)) as source:
        assert names(take_all(source, at_most=2)) == ["000.jpg", "001.jpg"]
        (tmp_path / "000.jpg").unlink()
        write_picture(tmp_path / "new.jpg")
        assert names(take_all(source, at_most=3)) == ["001.jpg", "new.jpg", "001.jpg"]


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_a_folder_without_pictures_is_told_with_a_hint(tmp_path: Path, exists: bool) -> None:  # noqa: FBT001
    folder = tmp_path / "pictures"
    if exists:
        folder.mkdir()
    with pytest.raises(SourceError, match="pictures") as caught, open_source(FolderSource("folder", folder)):
        pass
    assert caught.value.hint is not None
    assert "looks again" in caught.value.hint


def test_a_repeating_folder_of_other_files_is_an_error_and_not_an_endless_loop(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("pictures come here")
    with open_source(FolderSource("folder", tmp_path, repeat=True)) as source:
        assert isinstance(source.take(()), Unusable)
        with pytest.raises(SourceError, match="none of its 1 files is a picture"):
            source.take(())


# --- CSV ----------------------------------------------------------------------------------------------------

LOG = "# wrist\n\ntime,acc_x[mg],acc_y[mg]\nnoon,1,2\n1pm,3,4\n2pm,5,6\n"


def write(path: Path, text: str) -> CsvSource:
    path.write_text(text, encoding="utf-8")
    return CsvSource("csv", path)


def values(items: list[Frame | Sample | Unusable]) -> list[tuple[float, ...]]:
    return [item.values for item in items if isinstance(item, Sample)]


def test_rows_give_the_columns_the_model_names_whatever_their_unit(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", LOG)) as source:
        rows = take_all(source, ("acc_y", "acc_x"))
    assert values(rows) == [(2.0, 1.0), (4.0, 3.0), (6.0, 5.0)]
    assert names(rows) == ["log.csv:4", "log.csv:5", "log.csv:6"]


def test_columns_of_the_configuration_come_before_the_model_s(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", LOG)
    config = CsvSource("csv", tmp_path / "log.csv", columns=("acc_y",))
    with open_source(config) as source:
        assert values(take_all(source, ("x",))) == [(2.0,), (4.0,), (6.0,)]


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", LOG)) as source, pytest.raises(SourceError, match="acc_x") as caught:
        source.take(("acx_x",))
    assert "acx_x" in str(caught.value)
    assert caught.value.hint


def test_a_bad_row_is_named_by_its_line_and_skipped(tmp_path: Path) -> None:
    config = write(tmp_path / "log.csv", "a,b\n1,2\n3\n4,broken\n5,6\n")
    with open_source(config) as source:
        items = take_all(source)
    assert values(items) == [(1.0, 2.0), (5.0, 6.0)]
    bad = [item for item in items if isinstance(item, Unusable)]
    assert [item.name for item in bad] == ["log.csv:3", "log.csv:4"]
    assert "expected 2 columns, found 1" in bad[0].detail
    assert "'broken'" in bad[1].detail


def test_other_columns_can_be_asked_for_on_the_way(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", LOG)) as source:
        assert values(take_all(source, ("acc_x",), at_most=1)) == [(1.0,)]
        rest = take_all(source, ("acc_y",))
    assert values(rest) == [(4.0,), (6.0,)]
    assert names(rest) == ["log.csv:5", "log.csv:6"]


def test_a_file_without_a_header_goes_on_with_its_next_row_after_such_a_change(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", "1,2\n3,4\n5,6\n")) as source:
        assert values(take_all(source, (), at_most=1)) == [(1.0, 2.0)]
        assert values(take_all(source, ("a", "b"))) == [(3.0, 4.0), (5.0, 6.0)]


def test_a_repeating_file_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", LOG)
    with open_source(CsvSource("csv", tmp_path / "log.csv", repeat=True)) as source:
        rows = take_all(source, ("acc_x",), at_most=5)
    assert values(rows) == [(1.0,), (3.0,), (5.0,), (1.0,), (3.0,)]
    assert names(rows)[3] == "log.csv:4"


def test_a_repeating_file_without_a_usable_row_is_an_error_and_not_an_endless_loop(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", "a,b\nx,y\n")
    with open_source(CsvSource("csv", tmp_path / "log.csv", repeat=True)) as source:
        assert isinstance(source.take(()), Unusable)
        with pytest.raises(SourceError, match="none of its rows"):
            source.take(())


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"", "no rows"), (b"a,b\n\xff\xfe,1\n", "utf-8")]
)
def test_a_file_that_is_no_csv_is_told_with_a_hint(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught, open_source(CsvSource("csv", path)) as source:
        take_all(source)
    assert caught.value.hint


@pytest.mark.shared_data
def test_a_real_recording_gives_all_its_rows(shared_data: Path) -> None:
    path = shared_data / "sensor/har/1_walking/log_0.csv"
    with open_source(CsvSource("csv", path)) as source:
        rows = take_all(source, ("acc_x", "acc_y", "acc_z"), at_most=100_000)
    assert values(rows)[0] == (-846.03534, 318.21255, 119.35533)
    assert len(values(rows)) == len(rows) == len(path.read_text().splitlines()) - 3  # comment, blank, header


@given(content=st.binary(max_size=200), wanted=st.lists(st.text(max_size=5), max_size=3).map(tuple))
def test_no_file_breaks_out_of_source_error(tmp_path_factory: Any, content: bytes, wanted: tuple[str, ...]) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "log.csv"
    path.write_bytes(content)
    try:
        with open_source(CsvSource("csv", path)) as source:
            items = take_all(source, wanted)
    except SourceError:
        return
    assert all(isinstance(item, Sample | Unusable) for item in items)


# --- video --------------------------------------------------------------------------------------------------


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten gray frames, each darker than the one before, as motion JPEG."""
    av = pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    path = tmp_path / "ten.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(10):
            from PIL import Image

            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (250 - 20 * number,) * 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_video_gives_its_frames_by_number(video: Path) -> None:
    with open_source(VideoSource("video", video)) as source:
        frames = take_all(source)
    assert names(frames) == [str(number) for number in range(10)]
    shades = [frame.image.convert("L").getpixel((30, 20)) for frame in frames if isinstance(frame, Frame)]
    assert shades == sorted(shades, key=lambda shade: -int(str(shade)))


def test_every_third_frame_is_every_third(video: Path) -> None:
    with open_source(VideoSource("video", video, every_n=3)) as source:
        assert names(take_all(source)) == ["0", "3", "6", "9"]


def test_a_repeating_video_begins_anew(video: Path) -> None:
    with open_source(VideoSource("video", video, repeat=True, every_n=5)) as source:
        assert names(take_all(source, at_most=5)) == ["0", "5", "0", "5", "0"]


def test_a_frame_outlives_its_video(video: Path) -> None:
    with open_source(VideoSource("video", video)) as source:
        frame = source.take(())
    assert isinstance(frame, Frame)
    assert frame.image.tobytes()


@pytest.mark.parametrize("content", [None, b"", b"<html>404</html>" * 100], ids=["missing", "empty", "html"])
def test_a_file_that_is_no_video_is_told_with_a_hint(tmp_path: Path, content: bytes | None) -> None:
    pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    path = tmp_path / "video.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"video\.mp4") as caught, open_source(VideoSource("video", path)):
        pass
    assert caught.value.hint


@pytest.mark.shared_data
def test_a_video_that_is_cut_off_is_told_with_a_hint(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    whole = (shared_data / "video/bottle-detection.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SourceError, match="cannot be opened") as caught, open_source(VideoSource("video", cut)):
        pass
    assert caught.value.hint


@pytest.mark.shared_data
def test_a_video_that_is_damaged_on_the_way_gives_what_comes_before(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    whole = (shared_data / "video/bottle-detection.mp4").read_bytes()
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(whole[:100_000] + b"\xff" * 60_000 + whole[160_000:])
    with open_source(VideoSource("video", damaged, every_n=10)) as source:
        assert names(take_all(source, at_most=10)) == [str(number) for number in range(0, 100, 10)]
        with pytest.raises(SourceError, match="cannot be decoded behind frame") as caught:
            take_all(source)
    assert caught.value.hint


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


# --- all ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "csv", "video", "simulated"])
def three_items(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """Sources that give three items, played once."""
    match request.param:
        case "folder":
            return open_source(FolderSource("folder", write_pictures(tmp_path, 3)))
        case "csv":
            return open_source(write(tmp_path / "log.csv", LOG.replace("noon", "0").replace("pm", "")))
        case "video":
            return open_source(VideoSource("video", request.getfixturevalue("video"), every_n=4))
    return SimSource(["a", "b", "c"])


def test_every_source_gives_each_item_once_then_nothing_and_can_be_opened_again(three_items: Source) -> None:
    for _ in range(2):
        with three_items as source:
            first = [source.take(()) for _ in range(5)]
        assert [item is not None for item in first] == [True, True, True, False, False]
        assert all(item.captured_s >= 0 for item in first if isinstance(item, Frame | Sample))


def test_the_rate_of_a_source_is_the_one_that_is_configured(tmp_path: Path) -> None:
    assert rate_hz(FolderSource("folder", tmp_path)) is None
    assert rate_hz(VideoSource("video", tmp_path, max_fps=12.5)) == 12.5
    assert rate_hz(CsvSource("csv", tmp_path, rate_hz=100.0)) == 100.0
