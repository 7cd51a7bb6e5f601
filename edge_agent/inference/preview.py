"""What a pipeline sees and says, over HTTP on loopback: a page, a JPEG, a stream of JPEGs (MJPEG), and JSON.

Nothing is rendered while nobody looks, and each picture once for all who do. It listens on 127.0.0.1 only, and answers
only who asks for it by a name of loopback: a page elsewhere could else have a browser ask, under a name of its own that
it has led to 127.0.0.1 (DNS rebinding). To look from elsewhere, tunnel: `ssh -L 8090:localhost:8090 DEVICE`.
"""

import logging
import socketserver
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from edge_agent.clock import Clock
from edge_agent.config.sinks import PreviewSink
from edge_agent.errors import FrameError
from edge_agent.inference.gallery import Gallery, jpeg
from edge_agent.inference.ipc import Notice
from edge_agent.inference.preview_page import PAGE, SCRIPT
from edge_agent.inference.sinks.tree import ResultFormat, compact

_LOG = logging.getLogger(__name__)
_ADDRESS = "127.0.0.1"
_OUR_NAMES = ("localhost", "127.0.0.1", "[::1]")  # under any port: it may come through a tunnel
MOST_STREAMS = 4
_MOST_CONNECTIONS = 16
_SOCKET_S = 10.0  # for a client to ask, and to take what it asked for
_REPEAT_S = 2.0  # a stream sends its last picture again: else nobody notices that its reader has gone
_BIND_AGAIN_S = 10.0
_POLL_S = 0.5  # how often the server looks whether it is to end
_BOUNDARY = "picture"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; script-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    seq: int
    content: bytes  # JPEG


class Preview:
    """Serves a gallery until it is closed. A port that is taken is told by `notice` and tried again: never an error."""

    def __init__(
        self,
        config: PreviewSink,
        results: ResultFormat,
        gallery: Gallery,
        notice: Callable[[Notice], None],
        clock: Clock,
    ) -> None:
        self._config = config
        self._notice = notice
        self._closed = Event()
        self._server: _Server | None = None
        self._lock = Lock()
        self._desk = _Desk(config, results, gallery, clock, self._closed)
        self._thread = Thread(target=self._run, name="preview", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed.set()
            server = self._server
        if server is not None:
            server.shutdown()
        self._thread.join()

    def _run(self) -> None:
        told = False
        while not self._closed.is_set():
            try:
                server = _Server(self._config.port, self._desk)
            except OSError as error:
                if not told:
                    told = True
                    self._notice(
                        Notice(
                            f"the preview cannot listen on {_ADDRESS}:{self._config.port}: {error.strerror or error}",
                            "give it another `port`, or end what has this one; it is tried again by itself",
                        )
                    )
                self._closed.wait(_BIND_AGAIN_S)
                continue
            self._serve(server)

    def _serve(self, server: "_Server") -> None:
        with server:
            with self._lock:
                if self._closed.is_set():
                    return
                self._server = server
            server.serve_forever(_POLL_S)


class _Desk:
    """What the answers are made of; shared by all requests."""

    def __init__(
        self, config: PreviewSink, results: ResultFormat, gallery: Gallery, clock: Clock, closed: Event
    ) -> None:
        self._config = config
        self._results = results
        self._clock = clock
        self._rendering = Lock()
        self._shown: _Shown | None = None
        self._shown_s = 0.0
        self.gallery = gallery
        self.closed = closed
        self.interval_s = 1.0 / config.max_fps
        self.streams = BoundedSemaphore(MOST_STREAMS)

    def picture(self) -> _Shown | None:
        """The newest, drawn in; the one before where that has been drawn less than an interval ago."""
        with self._rendering:
            kept = self.gallery.newest()
            shown = self._shown
            if kept is None or (shown is not None and shown.seq == kept.result.seq):
                return shown
            now_s = self._clock.monotonic_s()
            if shown is not None and now_s - self._shown_s < self.interval_s:
                return shown
            try:
                content = jpeg(kept.drawn(self._config.width_px), self._config.quality)
            except FrameError as error:
                _LOG.debug("the preview leaves out a picture: %s", error)
                return shown
            self._shown, self._shown_s = _Shown(kept.result.seq, content), now_s
            return self._shown

    def results(self) -> bytes | None:
        kept = self.gallery.newest()
        return compact({"seq": kept.result.seq, **self._results.tree(kept.result)}) if kept is not None else None

    def pause(self, began_s: float) -> None:
        """Until the next picture may be sent."""
        left_s = began_s + self.interval_s - self._clock.monotonic_s()
        if left_s > 0:
            self._clock.wait(self.closed, left_s)

    def now_s(self) -> float:
        return self._clock.monotonic_s()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # what a client holds up ends with its socket's time limit

    def __init__(self, port: int, desk: _Desk) -> None:
        self.desk = desk
        self._room = BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__((_ADDRESS, port), _Request)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own asks the DNS for our name
        self.server_name, self.server_port = _ADDRESS, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as it is called there
        _LOG.debug("a request to the preview failed", exc_info=True)


class _Request(BaseHTTPRequestHandler):
    """One request a connection."""

    server: _Server
    server_version = "edge-agent"
    sys_version = ""
    timeout = _SOCKET_S

    def do_GET(self) -> None:
        if not _is_ours(self.headers.get_all("Host") or []):
            self._say(HTTPStatus.FORBIDDEN, "ask for localhost or 127.0.0.1")
            return
        desk = self.server.desk
        match self.path.partition("?")[0]:
            case "/":
                self._give("text/html; charset=utf-8", PAGE)
            case "/page.js":
                self._give("text/javascript; charset=utf-8", SCRIPT)
            case "/picture.jpg":
                shown = desk.picture()
                self._give("image/jpeg", shown.content if shown is not None else None)
            case "/results.json":
                self._give("application/json", desk.results())
            case "/stream.mjpg":
                self._stream(desk)
            case _:
                self._say(HTTPStatus.NOT_FOUND, "there are /, /picture.jpg, /stream.mjpg and /results.json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
        _LOG.debug("preview: " + format, *args)

    def _give(self, kind: str, content: bytes | None) -> None:
        if content is None:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, "no picture has been answered yet")
            return
        self._begin(HTTPStatus.OK, kind, len(content))
        if self.command != "HEAD":
            self.wfile.write(content)

    def _say(self, status: HTTPStatus, words: str) -> None:
        content = f"{words}\n".encode()
        self._begin(status, "text/plain; charset=utf-8", len(content))
        if self.command != "HEAD":
            self.wfile.write(content)

    def _begin(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "2")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, desk: _Desk) -> None:
        if self.command == "HEAD":
            self._begin(HTTPStatus.OK, f"multipart/x-mixed-replace; boundary={_BOUNDARY}", None)
            return
        if not desk.streams.acquire(blocking=False):
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_STREAMS} are watching already")
            return
        try:
            self._begin(HTTPStatus.OK, f"multipart/x-mixed-replace; boundary={_BOUNDARY}", None)
            self.wfile.write(f"--{_BOUNDARY}\r\n".encode())
            self._send_pictures(desk)
        except (ConnectionError, TimeoutError):
            return  # whoever looked has gone, or takes nothing any more
        finally:
            desk.streams.release()

    def _send_pictures(self, desk: _Desk) -> None:
        """Each one with the boundary behind it: browsers show a part when they see its end."""
        seq: int | None = None
        sent_s = desk.now_s()
        while not desk.closed.is_set():
            desk.gallery.wait_for_other(seq, _REPEAT_S)
            began_s = desk.now_s()
            shown = desk.picture()
            if shown is not None and (shown.seq != seq or began_s - sent_s >= _REPEAT_S):
                sent_s = began_s
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(shown.content)}\r\n\r\n"
                self.wfile.write(head.encode() + shown.content + f"\r\n--{_BOUNDARY}\r\n".encode())
                seq = shown.seq
            desk.pause(began_s)


def _is_ours(hosts: list[str]) -> bool:
    """Whether `Host`, a name with or without a port, is one of loopback."""
    if len(hosts) != 1:
        return False
    name, colon, port = hosts[0].strip().lower().rpartition(":")
    if not colon or not port.isdigit():
        name = hosts[0].strip().lower()
    return name in _OUR_NAMES
