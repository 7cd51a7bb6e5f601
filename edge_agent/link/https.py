"""Chunks from a web server: `<base>/<sha256>` is what the blob topic of that digest holds, made by `edgectl export`.

A directory of blobs rather than Range requests into the artifact: any static server and cache can serve it, one that
ignores Range included; each answer is small, bounded and named by what it must be; what has come needs no offset to go
on from; and encrypted chunks travel the same way. Certificates are always verified, redirects stay with https and are
bounded, and so is every read. What to do when a server fails is left to `transports`.
"""

import http.client
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Event, Thread
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.errors import ArtifactError, FetchError, Reason
from edge_agent.link.pace import Pace
from edge_agent.release.chunks import MAX_PAYLOAD_BYTES, unpack

CONNECTIONS = 4  # at a time: one request waits for its answer, so several fill the link
TIMEOUT_S = 15.0  # without a byte
CHUNK_S = 60.0  # for one chunk, redirects and all, however slowly the bytes trickle
MAX_REDIRECTS = 3
MAX_FAILURES = 3  # in a row, then this server is left alone
_POLL_S = 0.2
_READ_BYTES = 1 << 14
_REDIRECTS = (301, 302, 303, 307, 308)

Take = Callable[[str, bytes], None]


class HttpsSource:
    """`ChunkTransport` over one base URL. Several may collect at once."""

    def __init__(self, base: str, pace: Pace, clock: Clock, *, ca_file: Path | None = None) -> None:
        self.base = base.rstrip("/")
        self._pace = pace
        self._clock = clock
        self._ca_file = ca_file

    def collect(self, digests: Sequence[str], take: Take, *, cancelled: Callable[[], bool], trouble: object) -> None:
        """As `ChunkTransport`, but impatient: what is not there is a FetchError once all the others are taken."""
        del trouble  # whoever tries the next transport decides whether it is any
        wanted = tuple(dict.fromkeys(digests))
        readers = [_Reader(self.base, _Connection(self._context()), self._clock) for _ in wanted[:CONNECTIONS]]
        failures, last = 0, None
        with _Crew(readers, wanted, self._pace) as crew:
            for _ in wanted:
                answer = self._next(crew, cancelled)
                if answer is None:
                    return
                digest, content = answer
                if isinstance(content, bytes):
                    take(digest, content)
                    failures = 0
                    continue
                failures, last = failures + 1, content
                if failures >= MAX_FAILURES:
                    break
        if last is not None:
            raise last

    def _next(self, crew: "_Crew", cancelled: Callable[[], bool]) -> "_Answer | None":
        """The next answer; None when cancelled."""
        while not cancelled():
            answer = crew.answer(_POLL_S)
            if answer is not None:
                return answer
            if crew.waits_s(self._clock.monotonic_s()) > CHUNK_S:
                raise FetchError(
                    f"{self.base} took more than {CHUNK_S:.0f} s for a chunk",
                    reason=Reason.MISSING_CHUNK,
                    hint="look at the web server and the network",
                )
        return None

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise FetchError(
                f"the CA file {self._ca_file} cannot be used: {error.strerror or error}",
                reason=Reason.MISSING_CHUNK,
                hint="[update] ca_file must hold the web server's certificate authority in PEM form",
            ) from error


_Answer = tuple[str, bytes | FetchError]


class _Crew:
    """Readers at work from `__enter__` to `__exit__`, each on a thread of its own."""

    def __init__(self, readers: "list[_Reader]", wanted: Sequence[str], pace: Pace) -> None:
        self.waiting = deque(wanted)
        self.pace = pace
        self.room = BoundedSemaphore(2 * CONNECTIONS)  # chunks in memory
        self.stop = Event()
        self.answers: SimpleQueue[_Answer] = SimpleQueue()
        self._readers = readers
        self._threads = [Thread(target=reader.run, args=(self,), name="https", daemon=True) for reader in readers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        for reader in self._readers:
            reader.connection.abort()
        for thread in self._threads:
            thread.join(_POLL_S)  # one that is still connecting ends by itself

    def answer(self, timeout_s: float) -> "_Answer | None":
        """The next one; None when there is none in time."""
        try:
            answer = self.answers.get(timeout=timeout_s)
        except Empty:
            return None
        self.room.release()
        return answer

    def waits_s(self, now_s: float) -> float:
        """How long the oldest request has been on its way."""
        return max((now_s - began_s for reader in self._readers if (began_s := reader.began_s) is not None), default=0)


class _Reader:
    """Asks for one chunk after the other."""

    def __init__(self, base: str, connection: "_Connection", clock: Clock) -> None:
        self.connection = connection
        self.began_s: float | None = None  # the request that is on its way
        self._base = base
        self._clock = clock

    def run(self, crew: _Crew) -> None:
        try:
            while crew.waiting and not crew.stop.is_set():
                if not crew.room.acquire(timeout=_POLL_S):
                    continue
                while not crew.pace.take(1):
                    if crew.stop.wait(_POLL_S):
                        return
                try:
                    digest = crew.waiting.popleft()
                except IndexError:  # another reader was faster
                    crew.pace.not_asked(1)
                    return
                crew.answers.put((digest, self._get(digest, crew.pace)))
        finally:
            self.connection.close()

    def _get(self, digest: str, pace: Pace) -> bytes | FetchError:
        self.began_s = self._clock.monotonic_s()
        try:
            payload = self.connection.get(f"{self._base}/{digest}")
            pace.came(len(payload))
            return unpack(payload, digest)
        except ArtifactError as error:
            self.connection.close()
            return FetchError(f"{self._base}: {error}", reason=Reason.CORRUPT_CHUNK, hint="export the release anew")
        except Exception as error:  # noqa: BLE001  # where this worker ends: whatever a server's answer can cause
            self.connection.close()
            return FetchError(
                f"{self._base}/{digest[:12]}… cannot be fetched: {_words(error)}",
                reason=Reason.MISSING_CHUNK,
                hint="look at the web server; [update] ca_file names its certificate authority",
            )
        finally:
            self.began_s = None


class _Connection:
    """Kept open from one request to the next. `abort` is for any thread, the rest for one."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._open: http.client.HTTPSConnection | None = None
        self._aborted = False

    def get(self, url: str) -> bytes:
        """The body at `url`, at most `MAX_PAYLOAD_BYTES`.

        Raises:
            OSError, HTTPException: it cannot be had, or is larger.
            ValueError: a redirect leads nowhere.
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(url)
            if answer.status not in _REDIRECTS:
                return self._body(answer)
            location = answer.headers.get("Location", "")
            self.close()
            url = urljoin(url, location)
        raise http.client.HTTPException(f"more than {MAX_REDIRECTS} redirects")

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

    def _ask(self, url: str) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise http.client.HTTPException(f"it leads to {url[:100]!r}, which is not https")
        where = parts.hostname, parts.port or 443
        if self._open is not None and (self._open.host, self._open.port) != where:
            self.close()
        kept = self._open
        try:
            return self._request(where, parts.path)
        except (http.client.RemoteDisconnected, ConnectionError):
            if kept is None or self._aborted:
                raise
            self.close()  # the server has ended what it had kept open, as it may
            return self._request(where, parts.path)

    def _request(self, where: tuple[str, int], path: str) -> http.client.HTTPResponse:
        if self._open is None:
            self._open = http.client.HTTPSConnection(*where, timeout=TIMEOUT_S, context=self._context)
        self._open.request("GET", path or "/", headers={"User-Agent": f"edge-agent/{__version__}"})
        return self._open.getresponse()

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"the answer is {answer.status} {answer.reason[:60]}")
        expected_bytes = answer.length
        if expected_bytes is not None and expected_bytes > MAX_PAYLOAD_BYTES:
            raise http.client.HTTPException(f"{expected_bytes} bytes, where a chunk has {MAX_PAYLOAD_BYTES} at most")
        body = bytearray()
        while block := answer.read(_READ_BYTES):
            body += block
            if len(body) > MAX_PAYLOAD_BYTES:
                raise http.client.HTTPException(f"more than the {MAX_PAYLOAD_BYTES} bytes that a chunk has at most")
        if expected_bytes is not None and len(body) < expected_bytes:
            raise http.client.HTTPException(f"cut off after {len(body)} of {expected_bytes} bytes")
        return bytes(body)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
