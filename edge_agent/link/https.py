"""Chunks from a web server: ranges of `<base>/<digest of the release>.pack`, made by `edgectl export`.

The file's table is read once; then chunks that stand beside each other come with one request, a megabyte at the most.
A server that ignores Range, or lies about it, is left alone: what it sends would have no bound. Certificates are always
verified, redirects stay with https and are bounded, and so is every read. What to do when a server fails is left to
`transports`.
"""

import http.client
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from edge_agent.release.chunks import unpack
from edge_agent.release.pack_file import SUFFIX, Place, parse_table, table_bytes

CONNECTIONS = 4  # at a time: one request waits for its answer, so several fill the link
TIMEOUT_S = 15.0  # without a byte
CHUNK_S = 60.0  # for one chunk, redirects and all, however slowly the bytes trickle
MAX_REDIRECTS = 3
MAX_FAILURES = 3  # requests in a row, then this server is left alone
_POLL_S = 0.2
_READ_BYTES = 1 << 14
RUN_BYTES = 1_000_000  # of one request
FIRST_BYTES = 65_536  # of the file: most tables are in them
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(?:\d{1,15}|\*)")
_REDIRECTS = (301, 302, 303, 307, 308)

Take = Callable[[str, bytes], None]


class HttpsSource:
    """`ChunkTransport` over one base URL, for one release. Several may collect at once."""

    def __init__(self, base: str, release: str, pace: Pace, clock: Clock, *, ca_file: Path | None = None) -> None:
        self.base = base.rstrip("/")
        self._url = f"{self.base}/{release}{SUFFIX}"
        self._pace = pace
        self._clock = clock
        self._ca_file = ca_file
        self._table: dict[str, Place] | None = None

    def collect(self, digests: Sequence[str], take: Take, *, cancelled: Callable[[], bool], trouble: object) -> None:
        """As `ChunkTransport`, but impatient: what cannot be had is a FetchError once all the others are taken.

        What the file does not hold (patches are made later) is left to others, without a word.
        """
        del trouble  # whoever tries the next transport decides whether it is any
        table = self._table or self.read_table()
        self._table = table
        wanted = dict.fromkeys(digests)
        runs = _runs([_Part(digest, table[digest]) for digest in wanted if digest in table])
        last: FetchError | None = None
        readers = [_Reader(self._url, _Connection(self._context()), self._clock) for _ in runs[:CONNECTIONS]]
        failures, left = 0, sum(map(len, runs))
        with _Crew(readers, runs, self._pace) as crew:
            while left and failures < MAX_FAILURES:
                answer = self._next(crew, cancelled)
                if answer is None:
                    return
                given, content = answer
                left -= len(given)
                if isinstance(content, bytes):
                    take(given[0], content)
                    failures = 0
                else:
                    failures, last = failures + 1, content
        if last is not None:
            raise last

    def read_table(self) -> dict[str, Place]:
        """What the server's file of the release holds: digest to place.

        Raises:
            FetchError: it cannot be had, or is no such file.
        """
        connection = _Connection(self._context())
        try:
            table = connection.range(self._url, 0, FIRST_BYTES)
            size = table_bytes(table)
            while len(table) < size:
                table += connection.range(self._url, len(table), min(size, len(table) + RUN_BYTES))
            return parse_table(table)
        except ArtifactError as error:
            raise _spoilt(self._url, error) from error
        except Exception as error:  # whatever a server's answer can cause
            raise _failed(self._url, error) from error
        finally:
            connection.close()

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


@dataclass(frozen=True, slots=True)
class _Part:
    digest: str
    place: Place


_Run = tuple[_Part, ...]  # beside each other in the file
_Answer = tuple[tuple[str, ...], bytes | FetchError]  # one chunk, or all that a failure has cost


def _runs(parts: Sequence[_Part]) -> list[_Run]:
    """Neighbors that one request brings, a bounded number of bytes; in the order of the file."""
    runs: list[list[_Part]] = []
    for part in sorted(parts, key=lambda part: part.place.offset):
        last = runs[-1] if runs else None
        fits = last is not None and part.place.end - last[0].place.offset <= RUN_BYTES
        if last is not None and fits and last[-1].place.end == part.place.offset:
            last.append(part)
        else:
            runs.append([part])
    return [tuple(run) for run in runs]


class _Crew:
    """Readers at work from `__enter__` to `__exit__`, each on a thread of its own."""

    def __init__(self, readers: "list[_Reader]", runs: Sequence[_Run], pace: Pace) -> None:
        self.waiting = deque(runs)
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

    def has_room(self) -> bool:
        """Wait for room for one more answer; not, when it is to end."""
        while not self.room.acquire(timeout=_POLL_S):
            if self.stop.is_set():
                return False
        return True

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
    """Asks for one run after the other."""

    def __init__(self, url: str, connection: "_Connection", clock: Clock) -> None:
        self.connection = connection
        self.began_s: float | None = None  # the chunk that is on its way
        self._url = url
        self._clock = clock

    def run(self, crew: _Crew) -> None:
        try:
            while (run := self._next(crew)) is not None:
                self._get(run, crew)
        finally:
            self.connection.close()

    def _next(self, crew: _Crew) -> _Run | None:
        """As much of the next run as may be asked for now; None: there is no more, or it is to end."""
        while not crew.stop.is_set():
            try:
                run = crew.waiting.popleft()
            except IndexError:
                return None
            granted = crew.pace.take(len(run))
            if granted < len(run):
                crew.waiting.appendleft(run[granted:])
            if granted:
                return run[:granted]
            crew.stop.wait(_POLL_S)
        return None

    def _get(self, run: _Run, crew: _Crew) -> None:
        left = list(run)
        self.began_s = self._clock.monotonic_s()
        try:
            answer, _ = self.connection.open_range(self._url, run[0].place.offset, run[-1].place.end)
            while left:
                self.began_s = None
                if not crew.has_room():
                    return
                self.began_s = self._clock.monotonic_s()
                try:
                    payload = _read(answer, left[0].place.size_bytes)
                except BaseException:
                    crew.room.release()
                    raise
                part = left.pop(0)
                crew.pace.came(len(payload))
                crew.answers.put(((part.digest,), self._opened(payload, part.digest)))
            self.connection.finish(answer)
        except Exception as error:  # noqa: BLE001  # where this worker ends: whatever a server's answer can cause
            self.connection.close()
            if left and crew.has_room():
                crew.answers.put((tuple(part.digest for part in left), _failed(self._url, error)))
        finally:
            self.began_s = None

    def _opened(self, payload: bytes, digest: str) -> bytes | FetchError:
        try:
            return unpack(payload, digest)
        except ArtifactError as error:
            return _spoilt(self._url, error)


class _Connection:
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
        content = _read(answer, size_bytes)
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
        kept = self._open
        try:
            return self._request(where, parts.path, wanted)
        except (http.client.RemoteDisconnected, ConnectionError):
            if kept is None or self._aborted:
                raise
            self.close()  # the server has ended what it had kept open, as it may
            return self._request(where, parts.path, wanted)

    def _request(self, where: tuple[str, int], path: str, wanted: str) -> http.client.HTTPResponse:
        if self._open is None:
            self._open = http.client.HTTPSConnection(*where, timeout=TIMEOUT_S, context=self._context)
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


def _read(answer: http.client.HTTPResponse, size_bytes: int) -> bytes:
    content = bytearray()
    while len(content) < size_bytes:
        block = answer.read(min(_READ_BYTES, size_bytes - len(content)))
        if not block:
            raise http.client.HTTPException(f"cut off after {len(content)} of {size_bytes} bytes")
        content += block
    return bytes(content)


def _failed(url: str, error: Exception) -> FetchError:
    return FetchError(
        f"{url} cannot be fetched: {_words(error)}",
        reason=Reason.MISSING_CHUNK,
        hint="look at the web server; [update] ca_file names its certificate authority",
    )


def _spoilt(url: str, error: ArtifactError) -> FetchError:
    return FetchError(
        f"{url}: {error}", reason=Reason.CORRUPT_CHUNK, hint="export the release anew: edgectl export FILE DIR"
    )


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
