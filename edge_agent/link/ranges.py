"""Ranges of files on web servers: one request each, over a connection that is kept open in between.

What a server says is held to what was asked for: exactly these bytes, as they are. One that ignores Range is left
alone at its headers, for what it sends would have no bound. Certificates are always verified, redirects stay with https
and are bounded. How long an answer may take is left to whoever reads it: `abort` ends it from another thread.
"""

import http.client
import re
import socket
import ssl
from urllib.parse import urljoin, urlsplit

from edge_agent import __version__

TIMEOUT_S = 15.0  # without a byte
MAX_REDIRECTS = 3
_READ_BYTES = 1 << 14
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(?:\d{1,15}|\*)")
_REDIRECTS = (301, 302, 303, 307, 308)


class RangeConnection:
    """Kept open from one request to the next. `abort` is for any thread, the rest for one."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._open: http.client.HTTPSConnection | None = None
        self._aborted = False

    def range(self, url: str, first: int, end: int) -> bytes:
        """Bytes from `first` to before `end`, or to the end of the file where that comes sooner.

        Raises:
            OSError, HTTPException, ValueError: as `open_range`.
        """
        answer, size_bytes = self.open_range(url, first, end, shorter=True)
        content = read_exactly(answer, size_bytes)
        self.finish(answer)
        return content

    def open_range(
        self, url: str, first: int, end: int, *, shorter: bool = False
    ) -> tuple[http.client.HTTPResponse, int]:
        """The answer for exactly these bytes, to be read, and how many. `shorter`: the file may end before.

        Raises:
            OSError, HTTPException: it cannot be had, or is not that range.
            ValueError: a redirect leads nowhere.
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(url, f"bytes={first}-{end - 1}")
            if answer.status not in _REDIRECTS:
                return answer, _check_range(answer, first, end, shorter=shorter)
            location = answer.headers.get("Location", "")
            self.close()
            url = urljoin(url, location)
        raise http.client.HTTPException(f"more than {MAX_REDIRECTS} redirects")

    def finish(self, answer: http.client.HTTPResponse) -> None:
        """What has been read whole leaves the connection for the next one."""
        if answer.read(1):
            self.close()

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def abort(self) -> None:
        """Have whatever waits for the server fail now."""
        self._aborted = True
        connection = self._open
        sock = None if connection is None else connection.sock
        if sock is not None:
            try:
                # Not SSLSocket's own, which takes the TLS state away from under the reading thread
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # it has ended by itself

    def _ask(self, url: str, wanted: str) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise http.client.HTTPException(f"it leads to {url[:100]!r}, which is not https")
        where = parts.hostname, parts.port or 443
        if self._open is not None and (self._open.host, self._open.port) != where:
            self.close()
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path  # stores sign it there
        kept = self._open
        try:
            return self._request(where, path, wanted)
        except (http.client.RemoteDisconnected, ConnectionError):
            if kept is None or self._aborted:
                raise
            self.close()  # the server has ended what it had kept open, as it may
            return self._request(where, path, wanted)

    def _request(self, where: tuple[str, int], path: str, wanted: str) -> http.client.HTTPResponse:
        if self._open is None:
            self._open = http.client.HTTPSConnection(*where, timeout=TIMEOUT_S, context=self._context)
            self._open.connect()
        if self._aborted:  # while it was connecting, when there was nothing to end
            raise ConnectionAbortedError("given up")
        headers = {"User-Agent": f"edge-agent/{__version__}", "Range": wanted, "Accept-Encoding": "identity"}
        self._open.request("GET", path or "/", headers=headers)
        return self._open.getresponse()


def _check_range(answer: http.client.HTTPResponse, first: int, end: int, *, shorter: bool) -> int:
    """How many bytes come."""
    if answer.status == http.client.OK:
        raise http.client.HTTPException("the server ignores Range, which every common one honors")
    if answer.status != http.client.PARTIAL_CONTENT:
        raise http.client.HTTPException(f"the answer is {answer.status} {answer.reason[:60]}")
    said = answer.headers.get("Content-Range", "")
    found = _CONTENT_RANGE.fullmatch(said)
    if found is None or answer.headers.get("Content-Encoding", "identity") != "identity":
        raise http.client.HTTPException(f"a part without a range that can be read: {said[:60]!r}")
    begins, ends = int(found[1]), int(found[2]) + 1
    right = begins == first and (ends == end or (shorter and first < ends < end))
    if not right or answer.length not in (None, ends - begins):
        raise http.client.HTTPException(f"bytes {said[:60]!r}, where {first} to {end - 1} were asked for")
    return ends - begins


def read_exactly(answer: http.client.HTTPResponse, size_bytes: int) -> bytes:
    """So many of its next bytes.

    Raises:
        OSError, HTTPException: they do not come.
    """
    content = bytearray()
    while len(content) < size_bytes:
        block = answer.read(min(_READ_BYTES, size_bytes - len(content)))
        if not block:
            raise http.client.HTTPException(f"cut off after {len(content)} of {size_bytes} bytes")
        content += block
    return bytes(content)
