"""Threads that read a pack on a web server, each over a connection of its own: its table, or runs of its chunks.

They are bounded in what they ask for and keep in memory. How long they may take, and how often a server may fail, is
left to `https`; what goes over the wire, to `ranges`.
"""

import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Event, Thread
from types import TracebackType
from typing import Protocol, Self

from edge_agent.clock import Clock
from edge_agent.errors import ArtifactError, FetchError, Reason
from edge_agent.link.pace import Pace
from edge_agent.link.ranges import RangeConnection, read_exactly
from edge_agent.release.chunks import MAX_PAYLOAD_BYTES, unpack
from edge_agent.release.pack_file import Place, parse_table, table_bytes

CONNECTIONS = 4  # at a time: one request waits for its answer, so several fill the link
RUN_BYTES = 1_000_000  # of one request
FIRST_BYTES = MAX_PAYLOAD_BYTES  # of the file, and of each further piece of a long table: paid for as one chunk is
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk that is wanted."""

    digest: str
    place: Place


Run = tuple[Part, ...]  # beside each other in the file
Answer = tuple[tuple[str, ...], bytes | FetchError]  # one chunk, or all that a failure has cost


def runs_of(parts: Sequence[Part]) -> list[Run]:
    """Neighbors that one request brings, a bounded number of bytes; in the order of the file."""
    runs: list[list[Part]] = []
    for part in sorted(parts, key=lambda part: part.place.offset):
        last = runs[-1] if runs else None
        fits = last is not None and part.place.end - last[0].place.offset <= RUN_BYTES
        if last is not None and fits and last[-1].place.end == part.place.offset:
            last.append(part)
        else:
            runs.append([part])
    return [tuple(run) for run in runs]


class _Worker(Protocol):
    """Reads on one of its crew's threads, and answers to it."""

    connection: RangeConnection
    began_s: float | None  # since when it waits for the server

    def run(self, crew: "Crew") -> None: ...


class Crew:
    """Readers at work from `__enter__` to `__exit__`, each on a thread of its own."""

    def __init__(self, readers: Sequence[_Worker], runs: Sequence[Run], pace: Pace) -> None:
        self.waiting = deque(runs)
        self.pace = pace
        self.room = BoundedSemaphore(2 * CONNECTIONS)  # chunks in memory
        self.stop = Event()
        self.answers: SimpleQueue[Answer] = SimpleQueue()
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
            thread.join(POLL_S)  # one that is still connecting ends by itself

    def has_room(self) -> bool:
        """Wait for room for one more answer; not, when it is to end."""
        while not self.room.acquire(timeout=POLL_S):
            if self.stop.is_set():
                return False
        return True

    def answer(self, timeout_s: float) -> "Answer | None":
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


class TableReader:
    """Asks for the beginning of the file, until all of the table is there."""

    def __init__(self, url: str, connection: RangeConnection, clock: Clock) -> None:
        self.connection = connection
        self.began_s: float | None = None
        self._url = url
        self._clock = clock

    def run(self, crew: Crew) -> None:
        answer: bytes | FetchError | None
        try:
            answer = self._read(crew)
        except ArtifactError as error:
            answer = _spoilt(self._url, error)
        except Exception as error:  # noqa: BLE001  # where this worker ends: whatever a server's answer can cause
            answer = _failed(self._url, error)
        finally:
            self.began_s = None
            self.connection.close()
        if answer is not None and crew.has_room():
            crew.answers.put(((), answer))

    def _read(self, crew: Crew) -> bytes | None:
        table, size = b"", FIRST_BYTES
        while len(table) < size:
            while not crew.pace.take(1):
                if crew.stop.wait(POLL_S):
                    return None
            self.began_s = self._clock.monotonic_s()
            piece = self.connection.range(self._url, len(table), min(size, len(table) + FIRST_BYTES))
            self.began_s = None
            crew.pace.came(len(piece))
            table += piece
            size = table_bytes(table)
        parse_table(table, ())
        return table


class RunReader:
    """Asks for one run after the other."""

    def __init__(self, url: str, connection: RangeConnection, clock: Clock) -> None:
        self.connection = connection
        self.began_s: float | None = None  # the chunk that is on its way
        self._url = url
        self._clock = clock

    def run(self, crew: Crew) -> None:
        try:
            while (run := self._next(crew)) is not None:
                self._get(run, crew)
        finally:
            self.connection.close()

    def _next(self, crew: Crew) -> Run | None:
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
            crew.stop.wait(POLL_S)
        return None

    def _get(self, run: Run, crew: Crew) -> None:
        left = list(run)
        if not crew.has_room():
            return
        self.began_s = self._clock.monotonic_s()
        try:  # there is room for one answer while anything is left
            answer, _ = self.connection.open_range(self._url, run[0].place.offset, run[-1].place.end)
            while left:
                payload = read_exactly(answer, left[0].place.size_bytes)
                part = left.pop(0)
                crew.pace.came(len(payload))
                crew.answers.put(((part.digest,), opened(self._url, payload, part.digest)))
                self.began_s = None
                if left and not crew.has_room():
                    return
                self.began_s = self._clock.monotonic_s()
            self.connection.finish(answer)
        except Exception as error:  # noqa: BLE001  # where this worker ends: whatever a server's answer can cause
            self.connection.close()
            if 0 < len(left) < len(run):
                crew.waiting.appendleft(tuple(left))  # it has moved: go on from there
                crew.room.release()
            elif left:
                crew.answers.put((tuple(part.digest for part in left), _failed(self._url, error)))
        finally:
            self.began_s = None


def opened(url: str, payload: bytes, digest: str) -> bytes | FetchError:
    try:
        return unpack(payload, digest)
    except ArtifactError as error:
        return _spoilt(url, error)


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
