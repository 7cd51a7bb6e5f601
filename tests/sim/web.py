"""A web server on the loopback that answers as a camera does: stills, motion JPEG, passwords, and misbehavior."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Thread

Answer = Callable[["Request"], None]
_REALM, _NONCE = "camera", "abc123"


class Request(BaseHTTPRequestHandler):
    """One request, and the words to answer it with."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self.server.web.asked.append((self.path, dict(self.headers.items())))
        answer = self.server.web.answers.get(self.path.partition("?")[0])
        if answer is None:
            self.say(404)
        else:
            answer(self)

    def say(self, status: int, content: bytes = b"", **headers: str) -> None:
        """A whole answer; underscores of header names are dashes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self, content_type: str) -> None:
        """An answer that ends when the connection does."""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the library
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, web: "Web", port: int, tls: SSLContext | None) -> None:
        super().__init__(("127.0.0.1", port), Request)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.web = web

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is nothing to tell of."""


@dataclass
class Web:
    """What is answered where; what was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"


@contextmanager
def run_web(web: Web, tls: SSLContext | None = None) -> Iterator[Web]:
    """Serve until the end of the block; on the same port if it has served before."""
    server = _Server(web, web.port, tls)
    web.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def with_basic(answer: Answer, user: str, password: str) -> Answer:
    """Asks for a password as RFC 7617 has it."""
    expected = "Basic " + b64encode(f"{user}:{password}".encode()).decode()

    def check(request: Request) -> None:
        if request.headers.get("Authorization") == expected:
            answer(request)
        else:
            request.say(401, WWW_Authenticate=f'Basic realm="{_REALM}"')

    return check


def with_digest(answer: Answer, user: str, password: str) -> Answer:
    """Asks for a password as RFC 7616 has it, with MD5 and qop=auth, as cameras do."""

    def check(request: Request) -> None:
        said = dict(re.findall(r'(\w+)="?([^",]+)"?', request.headers.get("Authorization", "")))
        secret = _md5(f"{user}:{_REALM}:{password}")
        asked = _md5(f"GET:{request.path}")
        parts = [secret, _NONCE, said.get("nc", ""), said.get("cnonce", ""), "auth", asked]
        if said.get("response") == _md5(":".join(parts)):
            answer(request)
        else:
            request.say(401, WWW_Authenticate=f'Digest realm="{_REALM}", nonce="{_NONCE}", qop="auth", algorithm=MD5')

    return check


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
