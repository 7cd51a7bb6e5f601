"""A worker that never runs: `Server` for tests of the updater, with the sicknesses that models have."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import ModelError, Reason, WorkerCrashedError
from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import Figures, FrameFailed, Shadowed, SourceEnded, Word
from edge_agent.inference.seen import Seen
from edge_agent.update.watch import Words
from tests.sim.clock import FakeClock


class SimServer:
    """Serves what it is told to, unless the digest is in one of the sick lists."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.serving: str | None = None
        self.lost = False
        self.running = False
        self.served: list[str | None] = []  # everything it was asked to serve, in order
        self.unloadable: set[str] = set()
        self.crashing: set[str] = set()  # while loading
        self.crashing_later: set[str] = set()  # in the trial
        self.erring: set[str] = set()  # every frame fails
        self.disagreeing: set[str] = set()  # in shadow, with what serves
        self.crashing_in_shadow: set[str] = set()
        self.shadowed: list[str] = []  # everything that ran in shadow, in order
        self.before_shadow_word: Callable[[], None] = lambda: None
        self.frames_per_word = 20
        self.known_frames = 1000  # of the release that serves
        self.source_ended = False
        self.before_serve: Callable[[str | None], None] = lambda digest: None
        self.before_word: Callable[[], None] = lambda: None

    def serve(self, digest: str | None, directory: Path | None) -> None:
        assert (digest is None) == (directory is None)
        self.before_serve(digest)
        self.lost = False
        self.served.append(digest)
        if digest in self.unloadable:
            raise ModelError("it cannot be loaded", reason=Reason.LOAD_FAILED, hint="convert it again")
        if digest in self.crashing:
            self._crash()
        self.serving, self.running = digest, True

    def seen(self) -> Seen:
        frames = self.known_frames
        return Seen(self.serving, frames, frames, invoke=Histogram({10: frames} if frames else {}, 2.0))

    @contextmanager
    def shadow(self, digest: str, directory: Path, *, share: float, frames: int) -> Iterator[Words]:
        self.shadowed.append(digest)
        yield _SimShadowWords(self, digest, frames)

    def next_shadow_word(self, digest: str, compared: int, frames: int, timeout_s: float) -> Word:
        self.before_shadow_word()
        self._clock.advance(timeout_s)
        if digest in self.crashing_in_shadow:
            return Shadowed("main", digest, 0, 0, True, Reason.PROBE_CRASHED, "the shadow ended with signal SIGSEGV")
        agreed = 0 if digest in self.disagreeing else compared
        return Shadowed("main", digest, compared, agreed, over=compared >= frames)

    @contextmanager
    def trial(self) -> Iterator[Words]:
        yield _SimWords(self)

    def next_word(self, timeout_s: float) -> Word | None:
        self.before_word()
        self._clock.advance(timeout_s)
        if self.serving in self.crashing_later:
            self._crash()
        if self.serving in self.erring:
            return FrameFailed("main", self.serving or "", "frame", of_model=True, detail="no answer")
        if self.source_ended:
            return SourceEnded(0)
        frames = self.frames_per_word
        return Figures("main", frames, frames, frames, 0, 0, {"invoke": {"10": frames}}, {"invoke": 2.0}, self.serving)

    def _crash(self) -> None:
        self.serving, self.running = None, False
        raise WorkerCrashedError("the worker ended with signal SIGSEGV")


class _SimShadowWords:
    """Compares a quarter of the frames with each word."""

    def __init__(self, server: SimServer, digest: str, frames: int) -> None:
        self._server, self._digest, self._frames = server, digest, frames
        self._compared = 0

    def next(self, timeout_s: float) -> Word | None:
        self._compared += -(-self._frames // 4)
        return self._server.next_shadow_word(self._digest, self._compared, self._frames, timeout_s)


class _SimWords:
    def __init__(self, server: SimServer) -> None:
        self._server = server

    def next(self, timeout_s: float) -> Word | None:
        return self._server.next_word(timeout_s)
