"""Network cameras by HTTP and TCP, from real servers on the loopback: motion JPEG without PyAV, MPEG-TS with it."""

import io
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from PIL import Image

from edge_agent.clock import SystemClock
from edge_agent.config.sources import StreamSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Unusable, Wanted
from edge_agent.inference.sources.stream import with_credentials
from edge_agent.transform.picture import EncodedPicture, YuvPicture
from tests.inference.sources.pictures import jpeg, names, open_source, picture, shade, take_all
from tests.sim.web import Answer, Request, Web, run_web, with_basic, with_digest


@pytest.fixture
def web() -> Iterator[Web]:
    with run_web(Web()) as running:
        yield running


def motion_jpeg(*contents: bytes, stays: Event | None = None) -> Answer:
    """Sends the parts, and then ends, or stays without a word until it is told to go."""

    def answer(request: Request) -> None:
        request.begin("multipart/x-mixed-replace;boundary=frame")
        for content in contents:
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(content)
            request.wfile.write(head + content + b"\r\n")
        if stays is not None:
            stays.wait(30)

    return answer


def stream_of(web: Web, path: str = "/video", **more: Any) -> StreamSource:
    return StreamSource("stream", web.url(path), **{"timeout_s": 5.0, **more})


def test_motion_jpeg_is_given_undecoded_and_its_end_is_an_error(web: Web) -> None:
    web.answers["/video"] = motion_jpeg(jpeg(10), jpeg(120), jpeg(250))
    with open_source(stream_of(web)) as source:
        frames = take_all(source, at_most=3)
        with pytest.raises(SourceError, match="has ended"):
            source.take(Wanted())
    assert names(frames) == ["0", "1", "2"]
    assert all(isinstance(picture(frame), EncodedPicture) for frame in frames)
    assert [shade(frame) for frame in frames] == [10, 120, 250]


def test_motion_jpeg_needs_no_pyav(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # importing it fails
    web.answers["/video"] = motion_jpeg(jpeg())
    with open_source(stream_of(web)) as source:
        assert names(take_all(source, at_most=1)) == ["0"]
    with pytest.raises(SourceError, match="PyAV") as caught, open_source(StreamSource("stream", "rtsp://127.0.0.1:1/")):
        pass
    assert caught.value.hint == "pip install 'edge-deploy[video]'"


def test_pictures_without_huffman_tables_as_cameras_send_them_are_decoded(web: Web) -> None:
    """Motion JPEG may leave out the tables that everybody knows; libjpeg-turbo puts them back in."""
    whole = jpeg(120)
    web.answers["/video"] = motion_jpeg(_without_tables(whole))
    with open_source(stream_of(web)) as source:
        frame = take_all(source, at_most=1)[0]
    assert len(_without_tables(whole)) < len(whole) - 400
    assert shade(frame) == 120


def test_every_second_picture_of_a_stream(web: Web) -> None:
    web.answers["/video"] = motion_jpeg(*[jpeg(level) for level in range(0, 250, 50)])
    with open_source(stream_of(web, every_n=2)) as source:
        assert names(take_all(source, at_most=3)) == ["0", "2", "4"]


def test_a_broken_picture_costs_only_itself(web: Web) -> None:
    web.answers["/video"] = motion_jpeg(jpeg(), b"", b"no picture", jpeg())
    with open_source(stream_of(web)) as source:
        items = take_all(source, at_most=4)
    assert [type(item) for item in items] == [Frame, Unusable, Unusable, Frame]


def test_a_camera_that_falls_silent_is_given_up_in_time(web: Web) -> None:
    stays = Event()
    web.answers["/video"] = motion_jpeg(jpeg(), stays=stays)
    with open_source(stream_of(web, timeout_s=0.2)) as source:
        assert names(take_all(source, at_most=1)) == ["0"]
        with pytest.raises(SourceError, match="no answer in time"):
            take_all(source)
    stays.set()


def test_a_server_that_goes_and_comes_back_is_read_again(web: Web) -> None:
    with run_web(Web({"/video": motion_jpeg(jpeg(1))})) as other:
        source = open_source(stream_of(other))
        with source:
            assert names(take_all(source, at_most=1)) == ["0"]
    with pytest.raises(SourceError, match="refused") as caught, source:
        pass
    assert caught.value.hint
    with run_web(other), source:
        assert names(take_all(source, at_most=1)) == ["0"]


@pytest.mark.parametrize("ask", [with_basic, with_digest])
def test_a_password_opens_it_and_is_never_told(web: Web, tmp_path: Path, ask: Any) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    web.answers["/video"] = ask(motion_jpeg(jpeg()), "eve", "hunter2")
    with open_source(stream_of(web, username="eve", password_file=password)) as source:
        assert names(take_all(source, at_most=1)) == ["0"]
    web.answers["/video"] = ask(motion_jpeg(jpeg()), "eve", "other")
    config = stream_of(web, username="eve", password_file=password)
    with pytest.raises(SourceError, match="401") as caught, open_source(config):
        pass
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("content_type", "hint"), [("text/html; charset=utf-8", "check `url`"), ("image/jpeg", 'kind = "still"')]
)
def test_what_is_no_stream_is_told_with_what_it_is(web: Web, content_type: str, hint: str) -> None:
    web.answers["/video"] = lambda request: request.say(200, b"<html>", Content_Type=content_type)
    with pytest.raises(SourceError, match=content_type.partition(";")[0]) as caught, open_source(stream_of(web)):
        pass
    assert hint in str(caught.value.hint)


def test_a_stream_of_no_end_that_is_no_picture_is_refused(web: Web) -> None:
    def answer(request: Request) -> None:
        request.begin("multipart/x-mixed-replace; boundary=frame")
        request.wfile.write(b"--frame\r\nContent-Length: 99999999999\r\n\r\n")

    web.answers["/video"] = answer
    with open_source(stream_of(web)) as source, pytest.raises(SourceError, match="no motion JPEG"):
        source.take(Wanted())


def test_credentials_go_into_the_url_for_libav_alone_with_every_character() -> None:
    assert with_credentials("rtsp://cam:554/a?b", "e@e", "p/w:1") == "rtsp://e%40e:p%2Fw%3A1@cam:554/a?b"
    assert with_credentials("rtsp://cam/a", None, "") == "rtsp://cam/a"


# --- MPEG-TS ------------------------------------------------------------------------------------------------


def transport_stream(count: int = 60) -> bytes:
    av = pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    written = io.BytesIO()
    with av.open(written, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(count):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (number * 4,) * 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return written.getvalue()


def test_mpeg_ts_by_http_is_decoded(web: Web) -> None:
    content = transport_stream()
    web.answers["/video"] = lambda request: request.say(200, content, Content_Type="video/mp2t")
    with open_source(stream_of(web), SystemClock()) as source:
        frames = take_all(source, at_most=50)
    assert all(isinstance(picture(frame), YuvPicture) for frame in frames)
    assert shade(frames[-1]) > 180


def test_mpeg_ts_by_tcp_is_decoded_and_its_end_is_an_error() -> None:
    content = transport_stream()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(content)

        thread = Thread(target=serve)
        thread.start()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with open_source(StreamSource("stream", url, timeout_s=5.0), SystemClock()) as source:
            frames = take_all(source, at_most=55)
            with pytest.raises(SourceError, match="has ended"):
                take_all(source)
        thread.join()
    assert len(frames) == 55


def _without_tables(content: bytes) -> bytes:
    """A JPEG without its DHT segments (ITU-T T.81 §B.2.4.2)."""
    kept, at = bytearray(content[:2]), 2
    while content[at + 1] != 0xDA:  # up to the scan
        length = 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1] != 0xC4:
            kept += content[at : at + length]
        at += length
    return bytes(kept + content[at:])
