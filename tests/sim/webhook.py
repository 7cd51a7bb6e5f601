"""A real HTTP server on loopback that answers what it is told to, and remembers what it was asked."""

import queue
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: bytes


class WebServer:
    """POSTs are put into `requests`; `answers` are used up in turn, then it is 204. They wait until `hold` is set."""

    def __init__(self, port: int = 0) -> None:
        self.requests: queue.Queue[Request] = queue.Queue()
        self.answers: queue.Queue[tuple[int, dict[str, str]]] = queue.Queue()
        self.hold = Event()
        self.hold.set()
        self.hang_up_after_each = False
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.put(Request(self.path, dict(self.headers), body))
                outer.hold.wait(20)
                try:
                    status, headers = outer.answers.get_nowait()
                except queue.Empty:
                    status, headers = 204, {}
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.close_connection = outer.hang_up_after_each

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def answer(self, *statuses: int) -> None:
        for status in statuses:
            self.answers.put((status, {}))

    def next(self) -> Request:
        return self.requests.get(timeout=20)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
