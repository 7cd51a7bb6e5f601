"""Keeps one pipeline's worker serving the release it is told to serve, through crashes.

The updater says which release (`serve`) and watches a trial (`trial`); between trials a worker that dies is started
again here, with back-off. Whether a release is kept is left to `update`; what the words mean to telemetry and the
sinks, to whoever listens.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock, SystemClock
from edge_agent.config.pipeline import PipelineConfig
from edge_agent.errors import ModelError, WorkerCrashedError, describe_exit
from edge_agent.inference.ipc import Load, LoadFailed, Result, Serving, Start, Unload, Word
from edge_agent.inference.process import WorkerProcess

_log = logging.getLogger(__name__)
_STOPPING = "the agent is stopping"
_MAX_HEARD = 1000  # words kept for a trial that begins late; one a second and the failures


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The worker is gone. `restart_s`: until it is started again, None where nobody but the updater will."""

    code: int
    restart_s: float | None = None

    @property
    def detail(self) -> str:
        return f"the worker ended with {describe_exit(self.code)}"


@dataclass(frozen=True, slots=True)
class ServerTimes:
    answer_s: float = 60.0  # for a worker to load a release
    stop_s: float = 5.0
    first_restart_s: float = 1.0  # doubles with every crash
    longest_restart_s: float = 60.0  # a worker that lives longer than this has not crashed in a row
    silent_s: float = 60.0  # it says its figures every second: one that says nothing for so long hangs


Listener = Callable[[Word | WorkerExited], None]


@dataclass(frozen=True, slots=True)
class _Release:
    digest: str
    path: str


class PipelineServer:
    """One pipeline's worker. `listen` is called on the thread that reads from it and must not call back.

    `serve` and `trial` belong to one thread, the updater's.
    """

    def __init__(
        self,
        pipeline: str,
        config: PipelineConfig,
        listen: Listener,
        *,
        clock: Clock | None = None,
        times: ServerTimes | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._config = config
        self._listen = listen
        self._clock = clock or SystemClock()
        self._times = times or ServerTimes()
        self._changed = Condition()
        # all below is guarded by _changed
        self._worker: WorkerProcess | None = None
        self._life = 0  # of the worker: what an earlier one still says is not this one's
        self._started_s = 0.0
        self._heard_s = 0.0  # its last word
        self._crashes = 0
        self._wanted: _Release | None = None
        self._answer: Serving | LoadFailed | WorkerExited | None = None
        self._asking = False  # somebody waits for the answer
        self._lost = False  # a worker that was started again could not load what served
        self._heard: deque[Word | WorkerExited] = deque(maxlen=_MAX_HEARD)
        self._watched = False  # by the updater: then a dead worker is its business
        self._restart_at_s: float | None = None
        self._closed = False
        self._keeper = Thread(target=self._keep, name=f"keeper-{pipeline}", daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            worker = self._worker
            self._changed.notify_all()
        self._keeper.join()
        if worker is not None:
            worker.stop(self._times.stop_s)

    @property
    def pss_bytes(self) -> int | None:
        with self._changed:
            worker = self._worker
        return worker.pss_bytes if worker else None

    @property
    def pid(self) -> int | None:
        with self._changed:
            return self._worker.pid if self._worker else None

    # --- what the updater asks ------------------------------------------------------------------------------

    def serve(self, digest: str | None, directory: Path | None) -> None:
        """Make the worker answer frames with this release (None: with none), and wait until it does.

        Raises:
            ModelError: it cannot be loaded; what served before still does.
            WorkerCrashedError: the worker ended or fell silent; it is started again after a while.
        """
        wanted = _Release(digest, str(directory)) if digest is not None else None
        with self._changed:
            before, self._wanted = self._wanted, wanted
            self._restart_at_s = None
            self._heard.clear()
            answer = self._order(wanted)
            if isinstance(answer, LoadFailed):
                self._wanted = before
                raise ModelError(answer.detail, reason=answer.reason, hint=answer.hint)
            if isinstance(answer, WorkerExited):
                raise WorkerCrashedError(answer.detail, hint="the lines of the worker above may say why")

    @property
    def lost(self) -> bool:
        """Whether what `serve` last made it serve no longer does: a worker that was started again could not load it.

        The release may have rotten since, or memory be short: serving it anew tells.
        """
        with self._changed:
            return self._lost

    @contextmanager
    def trial(self) -> "Iterator[TrialWords]":
        """Hear what the worker says since `serve`. Within, a worker that dies stays dead and the words raise."""
        with self._changed:
            self._watched = True
            self._restart_at_s = None
        try:
            yield TrialWords(self._next_heard)
        finally:
            with self._changed:
                self._watched = False
                if self._worker is None and self._wanted is not None and not self._closed:
                    self._restart_at_s = self._clock.monotonic_s() + self._times.first_restart_s
                    self._changed.notify_all()

    def _next_heard(self, timeout_s: float) -> Word | None:
        with self._changed:
            self._changed.wait_for(lambda: self._heard or self._worker is None, timeout_s)
            word = self._heard.popleft() if self._heard else None
            if isinstance(word, WorkerExited):
                raise WorkerCrashedError(word.detail)
            if word is None and self._worker is None:
                raise WorkerCrashedError("the worker is not running")
            return word

    def _order(self, wanted: _Release | None) -> Serving | LoadFailed | WorkerExited | None:
        """Tell the worker, starting it where there is none, and wait for what comes of it."""
        self._answer = None
        self._lost = False
        if self._closed:
            raise WorkerCrashedError(_STOPPING)
        self._asking = True
        try:
            return self._ask(wanted)
        finally:
            self._asking = False

    def _ask(self, wanted: _Release | None) -> Serving | LoadFailed | WorkerExited | None:
        if self._worker is not None:
            self._worker.send(Load(wanted.path, wanted.digest) if wanted else Unload())
        elif wanted is not None:
            self._start(wanted)
        else:
            return None
        if not self._is_answered(self._times.answer_s) and self._worker is not None:
            _log.warning(
                "%s: the worker has been silent for %g s, so it is ended", self._pipeline, self._times.answer_s
            )
            self._worker.kill()
            self._is_answered(None)
        if self._closed:
            raise WorkerCrashedError(_STOPPING)
        return self._answer

    def _is_answered(self, timeout_s: float | None) -> bool:
        return self._changed.wait_for(lambda: self._answer is not None or self._closed, timeout_s)

    # --- what the worker does ---------------------------------------------------------------------------------

    def _start(self, wanted: _Release) -> None:
        self._life += 1
        self._started_s = self._heard_s = self._clock.monotonic_s()
        self._changed.notify_all()  # from now on it is listened for
        start = Start(self._pipeline, self._config.source, self._config.threads, wanted.path, wanted.digest)
        try:
            self._worker = WorkerProcess(start, partial(self._hear, self._life), partial(self._ended, self._life))
        except OSError as error:
            raise WorkerCrashedError(
                f"the worker cannot be started: {error.strerror or error}", hint="is there memory left?"
            ) from error

    def _hear(self, life: int, word: Word) -> None:
        self._listen(word)
        self._heard_s = self._clock.monotonic_s()
        if isinstance(word, Result):
            return  # for the sinks alone
        with self._changed:
            if life != self._life:
                return
            self._heard.append(word)
            wanted = self._wanted.digest if self._wanted else None
            if isinstance(word, Serving | LoadFailed) and word.digest == wanted:
                self._answer = word
                self._lost = isinstance(word, LoadFailed) and not self._asking
            self._changed.notify_all()

    def _ended(self, life: int, code: int) -> None:
        with self._changed:
            if life != self._life:
                return
            self._worker = None
            exited = WorkerExited(code, None if self._watched or self._closed else self._back_off_s())
            if exited.restart_s is not None:
                self._restart_at_s = self._clock.monotonic_s() + exited.restart_s
            self._answer = exited
            self._heard.append(exited)
            self._changed.notify_all()
        if not self._closed:
            _log.warning("%s: %s", self._pipeline, exited.detail)
            self._listen(exited)

    def _back_off_s(self) -> float:
        lived_s = self._clock.monotonic_s() - self._started_s
        self._crashes = 1 if lived_s > self._times.longest_restart_s else self._crashes + 1
        return min(self._times.first_restart_s * 2.0 ** (self._crashes - 1), self._times.longest_restart_s)

    def _keep(self) -> None:
        """Start a worker that has died outside a trial again, when its time has come, and end one that hangs."""
        with self._changed:
            while not self._closed:
                now_s = self._clock.monotonic_s()
                if self._worker is not None:
                    silent_s = now_s - self._heard_s
                    if silent_s < self._times.silent_s:
                        self._changed.wait(self._times.silent_s - silent_s)
                        continue
                    _log.warning("%s: the worker has said nothing for %.0f s, so it is ended", self._pipeline, silent_s)
                    self._worker.kill()
                    self._heard_s = now_s  # until it is gone
                elif self._restart_at_s is None:
                    self._changed.wait()
                elif (left_s := self._restart_at_s - now_s) > 0:
                    self._changed.wait(left_s)
                else:
                    self._restart_at_s = None
                    self._restart()

    def _restart(self) -> None:
        if self._worker is not None or self._wanted is None:
            return
        try:
            self._start(self._wanted)
        except WorkerCrashedError as error:
            _log.warning("%s: %s", self._pipeline, error)
            self._restart_at_s = self._clock.monotonic_s() + self._back_off_s()


class TrialWords:
    """What a worker on trial says, in order, from the first word of the release on; results are left out."""

    def __init__(self, next_heard: Callable[[float], Word | None]) -> None:
        self._next_heard = next_heard

    def next(self, timeout_s: float) -> Word | None:
        """The next word, None when `timeout_s` goes by without one.

        Raises:
            WorkerCrashedError: the worker is gone.
        """
        return self._next_heard(timeout_s)
