"""Chunks from a web server: ranges of `<base>/<digest of the release>.pack`, made by `edgectl export`.

The beginning of the file is read once, with its table; then chunks that stand beside each other come with one request,
a megabyte at the most. There is no If-Range: each chunk is known by its digest, and copies of one file behind one name
have other ETags. Reading is left to `pack_readers`; what to do when a server fails, to `transports`.
"""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import FetchError, Reason
from edge_agent.link.pace import Pace
from edge_agent.link.pack_readers import (
    CONNECTIONS,
    POLL_S,
    Answer,
    Crew,
    Part,
    RunReader,
    TableReader,
    opened,
    runs_of,
)
from edge_agent.link.ranges import RangeConnection
from edge_agent.release.pack_file import SUFFIX, Place, parse_table

CHUNK_S = 60.0  # for one chunk, redirects and all, however slowly the bytes trickle
MAX_FAILURES = 3  # requests in a row, then this server is left alone

Take = Callable[[str, bytes], None]
Cancelled = Callable[[], bool]


def _never() -> bool:
    return False


class HttpsSource:
    """`ChunkTransport` over one base URL, for one release. Several may collect at once."""

    def __init__(self, base: str, release: str, pace: Pace, clock: Clock, *, ca_file: Path | None = None) -> None:
        self.base = base.rstrip("/")
        self._url = f"{self.base}/{release}{SUFFIX}"
        self._pace = pace
        self._clock = clock
        self._ca_file = ca_file
        self._beginning: bytes | None = None  # of the file: its table, and what came with it

    def collect(self, digests: Sequence[str], take: Take, *, cancelled: Cancelled, trouble: object) -> None:
        """As `ChunkTransport`, but impatient: what cannot be had is a FetchError once all the others are taken.

        What the file does not hold (patches that were made later) is left to others, without a word.
        """
        del trouble  # whoever tries the next transport decides whether it is any
        try:
            beginning = self._begin(cancelled)
            if beginning is not None:
                self._collect(parse_table(beginning, frozenset(digests)), beginning, take, cancelled)
        except FetchError:
            self._beginning = None  # there may be another file by now
            raise

    def read_places(self) -> dict[str, Place]:
        """Where each chunk lies in the server's file of the release.

        Raises:
            FetchError: it cannot be had, or is no such file.
        """
        beginning = self._begin(_never)
        return {} if beginning is None else parse_table(beginning)

    def _begin(self, cancelled: Cancelled) -> bytes | None:
        """The file's first bytes, with all of its table; None when cancelled."""
        if self._beginning is None:
            reader = TableReader(self._url, RangeConnection(self._context()), self._clock)
            with Crew([reader], (), self._pace) as crew:
                answer = self._next(crew, cancelled)
            if answer is None:
                return None
            _, content = answer
            if isinstance(content, FetchError):
                raise content
            self._beginning = content
        return self._beginning

    def _collect(self, places: dict[str, Place], beginning: bytes, take: Take, cancelled: Cancelled) -> None:
        here = {digest: place for digest, place in places.items() if place.end <= len(beginning)}
        runs = runs_of([Part(digest, place) for digest, place in places.items() if digest not in here])
        readers = [RunReader(self._url, RangeConnection(self._context()), self._clock) for _ in runs[:CONNECTIONS]]
        failures, left, last = 0, sum(map(len, runs)), None
        for digest, place in here.items():
            content = opened(self._url, beginning[place.offset : place.end], digest)
            if isinstance(content, bytes):
                take(digest, content)
            else:
                last = content
        with Crew(readers, runs, self._pace) as crew:
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

    def _next(self, crew: Crew, cancelled: Cancelled) -> Answer | None:
        """The next answer; None when cancelled."""
        while not cancelled():
            answer = crew.answer(POLL_S)
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
