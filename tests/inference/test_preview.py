"""The preview by real HTTP on loopback."""

import http.client
import io
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_agent.clock import SystemClock
from edge_agent.config.sinks import PreviewSink
from edge_agent.inference.gallery import Gallery, Kept
from edge_agent.inference.ipc import Notice
from edge_agent.inference.preview import MOST_STREAMS, Preview
from edge_agent.inference.sinks.tree import ResultFormat
from tests.sim.gallery import plain, put
from tests.sim.waiting import until


class Screen:
    """A preview, and somebody who looks."""

    def __init__(self, max_fps: float = 50.0) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.gallery = Gallery()
        self.notices: list[Notice] = []
        self.preview = Preview(
            PreviewSink("preview", self.port, max_fps, width_px=160),
            ResultFormat("porch", ("main",)),
            self.gallery,
            self.notices.append,
            SystemClock(),
        )

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, path: str, host: str | None = None, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, headers={"Host": host} if host is not None else {})
            answer = connection.getresponse()
            return answer, answer.read()

    def watch(self) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", "/stream.mjpg")
        return connection.getresponse()  # which owns the socket from here on


def next_picture(stream: http.client.HTTPResponse) -> bytes:
    """One part of multipart/x-mixed-replace."""
    length = 0
    while line := stream.readline().strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    content = stream.read(length)
    assert stream.readline() == b"\r\n"
    assert stream.readline() == b"--picture\r\n"
    return content


@pytest.fixture(autouse=True)
def _quick_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.inference.preview._POLL_S", 0.01)


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    with screen.preview:
        until(screen.listens)
        yield screen


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seq of each picture that was drawn."""
    drawn: list[int] = []
    draw = Kept.drawn

    def count(kept: Kept, width_px: int) -> Image.Image:
        drawn.append(kept.result.seq)
        return draw(kept, width_px)

    monkeypatch.setattr(Kept, "drawn", count)
    return drawn


def test_the_newest_picture_is_a_jpeg_no_wider_than_wanted(screen: Screen) -> None:
    put(screen.gallery, 1, plain(gray=30))
    put(screen.gallery, 2, plain(gray=200))
    answer, content = screen.ask("/picture.jpg")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (160, 120)
        shade = np.asarray(image.convert("L"))[110, 150]
    assert abs(int(shade) - 200) < 6


def test_results_are_json(screen: Screen) -> None:
    seen = put(screen.gallery, 7)
    answer, content = screen.ask("/results.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(content) == {"seq": 7, **ResultFormat("porch", ("main",)).tree(seen)}


def test_the_page_needs_nothing_from_elsewhere(screen: Screen) -> None:
    answer, page = screen.ask("/")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert re.findall(rb'(?:src|href)="([^"]+)"', page) == [b"/stream.mjpg", b"/page.js"]
    assert screen.ask("/page.js")[0].headers["Content-Type"].startswith("text/javascript")
    assert b"http" not in page


def test_nothing_is_cached_or_read_by_other_sites(screen: Screen) -> None:
    put(screen.gallery, 1)
    for path in ("/", "/picture.jpg", "/results.json", "/nothing"):
        headers = screen.ask(path)[0].headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


def test_before_the_first_picture_there_is_none(screen: Screen) -> None:
    for path in ("/picture.jpg", "/results.json"):
        assert screen.ask(path)[0].status == 503


def test_what_there_is_not_and_what_is_not_done(screen: Screen) -> None:
    assert screen.ask("/../../etc/passwd")[0].status == 404
    assert screen.ask("/picture.jpg", method="POST")[0].status == 501
    put(screen.gallery, 1)
    answer, content = screen.ask("/picture.jpg", method="HEAD")
    assert (answer.status, content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 500
    assert screen.ask("/stream.mjpg", method="HEAD")[0].status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:8090", 200), ("127.0.0.1", 200), ("127.0.0.1:9", 200), ("[::1]", 200),
        ("[::1]:8090", 200), ("LOCALHOST:1", 200), ("evil.example", 403), ("evil.example:8090", 403),
        ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403), ("192.168.1.20", 403), ("", 403),
        ("localhost:", 403), ("evil:localhost", 403), ("localhost@evil.example", 403),
    ],
)  # fmt: skip
def test_only_names_of_loopback_are_answered(screen: Screen, host: str, status: int) -> None:
    assert screen.ask("/", host)[0].status == status


def test_a_request_without_a_host_is_refused(screen: Screen) -> None:
    with socket.create_connection(("127.0.0.1", screen.port), timeout=20) as raw:
        raw.sendall(b"GET /results.json HTTP/1.0\r\n\r\n")
        assert b" 403 " in raw.recv(1000)


def test_it_listens_on_loopback_only(screen: Screen) -> None:
    assert screen.preview._server is not None
    assert screen.preview._server.server_address[0] == "127.0.0.1"


# --- the stream -----------------------------------------------------------------------------------------------------


def test_a_stream_shows_each_new_picture(screen: Screen) -> None:
    put(screen.gallery, 1)
    with closing(screen.watch()) as stream:
        assert stream.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=picture"
        assert stream.readline() == b"--picture\r\n"
        first = next_picture(stream)
        put(screen.gallery, 2, plain(gray=220))
        second = next_picture(stream)
    for content in (first, second):
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "JPEG"
    assert first != second


def test_nothing_is_drawn_while_nobody_looks(screen: Screen, renderings: list[int]) -> None:
    for seq in range(1, 50):
        put(screen.gallery, seq)
    assert renderings == []
    screen.ask("/results.json")
    screen.ask("/")
    assert renderings == []
    screen.ask("/picture.jpg")
    screen.ask("/picture.jpg")
    assert renderings == [49]


def test_pictures_are_drawn_no_more_often_than_allowed_and_once_for_all(renderings: list[int]) -> None:
    screen = Screen(max_fps=0.01)
    with screen.preview, ExitStack() as watching:
        until(screen.listens)
        put(screen.gallery, 1)
        for _ in range(3):
            stream = watching.enter_context(closing(screen.watch()))
            stream.readline()
            next_picture(stream)
        put(screen.gallery, 2)
        screen.ask("/picture.jpg")
        assert renderings == [1]


def test_so_many_may_watch_and_one_who_leaves_makes_room(screen: Screen) -> None:
    put(screen.gallery, 1)
    with ExitStack() as watching:
        streams = [watching.enter_context(closing(screen.watch())) for _ in range(MOST_STREAMS)]
        for stream in streams:
            stream.readline()
        with closing(screen.watch()) as late:
            assert (late.status, late.read()) == (503, b"4 are watching already\n")
        assert screen.ask("/results.json")[0].status == 200  # the others are not in the way
        streams[0].close()
        seqs = iter(range(2, 100_000))

        def has_room() -> bool:
            put(screen.gallery, next(seqs))
            with closing(screen.watch()) as again:
                return again.status == 200

        until(has_room)


def test_closing_ends_the_streams(screen: Screen) -> None:
    put(screen.gallery, 1)
    with closing(screen.watch()) as stream:
        stream.readline()
        next_picture(stream)
        screen.preview.__exit__(None, None, None)
        put(screen.gallery, 2)
        until(lambda: stream.readline() == b"")
    assert not screen.listens()


def test_a_request_that_is_nonsense_harms_nobody(screen: Screen) -> None:
    put(screen.gallery, 1)
    for nonsense in (b"\x00\xff\n\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", screen.port), timeout=20) as raw:
            raw.sendall(nonsense)
    assert screen.ask("/picture.jpg")[0].status == 200


# --- the port ---------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_told_and_had_when_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.inference.preview._BIND_AGAIN_S", 0.01)
    screen = Screen()
    with socket.create_server(("127.0.0.1", screen.port)), screen.preview:
        until(lambda: screen.notices)
        assert screen.notices[0].detail == (
            f"the preview cannot listen on 127.0.0.1:{screen.port}: Address already in use"
        )
        put(screen.gallery, 1)
    assert len(screen.notices) == 1
    screen = Screen()
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", screen.port)))
        stack.enter_context(screen.preview)
        until(lambda: screen.notices)
        taken.close()
        put(screen.gallery, 1)

        def is_served() -> bool:
            try:
                return screen.ask("/picture.jpg")[0].status == 200
            except OSError:
                return False

        until(is_served)


def test_it_can_be_closed_before_it_has_listened(tmp_path: Path) -> None:
    screen = Screen()
    with screen.preview:
        pass
    assert not screen.listens()
