"""RTSP from a real server, GStreamer's: both transports and codecs, passwords, a server that goes and comes back."""

import time
from pathlib import Path
from typing import Any, Literal

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.sources import StreamSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame
from edge_agent.transform.picture import EncodedPicture, YuvPicture
from tests.inference.sources.pictures import open_source, picture, seen, take_all
from tests.sim.rtsp import free_port, run_rtsp

pytest.importorskip("av", reason="needs PyAV, the extra `video`")


def rtsp(port: int, path: str = "/jpeg", **more: Any) -> StreamSource:
    return StreamSource("stream", f"rtsp://127.0.0.1:{port}{path}", **{"timeout_s": 5.0, **more})


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(("path", "kind"), [("/h264", YuvPicture), ("/jpeg", EncodedPicture)])
def test_a_stream_gives_its_pictures_as_they_come(transport: Literal["tcp", "udp"], path: str, kind: type) -> None:
    port = free_port()
    with run_rtsp(port) as paths:
        if path not in paths:
            pytest.skip("needs GStreamer's x264enc: apt install gstreamer1.0-plugins-ugly")
        with open_source(rtsp(port, path, transport=transport), SystemClock()) as source:
            frames = [item for item in take_all(source, at_most=15) if isinstance(item, Frame)]
    assert len(frames) >= 14
    assert all(isinstance(picture(frame), kind) for frame in frames)
    shown = seen(frames[-1].picture, (32, 24)).astype(int)
    assert shown.max() - shown.min() > 150  # a white ball on black
    assert [int(frame.name) for frame in frames] == sorted(int(frame.name) for frame in frames)


def test_max_fps_takes_some_of_a_live_stream_and_reads_it_on() -> None:
    port = free_port()
    with run_rtsp(port), open_source(rtsp(port, max_fps=5.0), SystemClock()) as source:
        take_all(source, at_most=3)  # what had been sent meanwhile comes at once
        began_s = time.monotonic()
        frames = take_all(source, at_most=5)
        took_s = time.monotonic() - began_s
    assert 0.7 < took_s < 3
    assert int(frames[-1].name) - int(frames[0].name) >= 10


def test_a_server_that_is_killed_is_told_and_one_that_comes_back_is_read_again() -> None:
    port = free_port()
    source = open_source(rtsp(port, timeout_s=2.0), SystemClock())
    with run_rtsp(port), source:
        assert len(take_all(source, at_most=5)) == 5
    with pytest.raises(SourceError, match=f"rtsp://127.0.0.1:{port}/jpeg") as caught, source:
        pass
    assert caught.value.hint
    with run_rtsp(port), source:
        assert len(take_all(source, at_most=5)) == 5


def test_a_server_that_is_killed_while_it_is_read_ends_the_stream_with_an_error() -> None:
    port = free_port()
    source = open_source(rtsp(port, timeout_s=2.0), SystemClock())
    with run_rtsp(port) as paths:
        assert paths
        source.__enter__()
        assert len(take_all(source, at_most=5)) == 5
    with pytest.raises(SourceError, match="rtsp://"):
        take_all(source)
    source.__exit__(None, None, None)


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_a_password_of_any_characters_opens_the_stream(tmp_path: Path, method: str) -> None:
    port = free_port()
    password = tmp_path / "password"
    password.write_text("p@ss/w:rd? 100%\n")
    with run_rtsp(port, "eve", "p@ss/w:rd? 100%", method):
        with open_source(rtsp(port, username="eve", password_file=password), SystemClock()) as source:
            assert len(take_all(source, at_most=2)) == 2
        password.write_text("hunter2")
        config = rtsp(port, username="eve", password_file=password)
        with pytest.raises(SourceError) as caught, open_source(config, SystemClock()):
            pass
    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__.__class__}"


def test_a_path_that_is_not_there_is_told() -> None:
    port = free_port()
    with run_rtsp(port), pytest.raises(SourceError, match="/nothing") as caught, open_source(rtsp(port, "/nothing")):
        pass
    assert "404" in str(caught.value)
