"""Keeps one pipeline's worker serving the releases it is told to serve, through crashes.

Each stage's updater says which release (`serve`) and watches a trial (`trial`), through the `stage_server` it is given;
between trials a worker that dies is started again here, with back-off. All stages share the worker: a crash while one
is on trial is that one's; while several are, it counts against each. Whether a release is kept is left to `update`;
what the words mean to telemetry and the sinks, to whoever listens.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock, SystemClock
from edge_agent.config.pipeline import PipelineConfig
from edge_agent.errors import ModelError, WorkerCrashedError
from edge_agent.inference.ipc import (
    EndShadow,
    Feed,
    FeedTrouble,
    Figures,
    FrameFailed,
    Load,
    LoadFailed,
    Order,
    Result,
    Serving,
    Shadow,
    Shadowed,
    Stop,
    Unload,
    Word,
)
from edge_agent.inference.process import ReleaseToServe, WorkerProcess, start_order
from edge_agent.inference.seen import Recent, Seen
from edge_agent.inference.stage_server import StageServer, TrialWords, WorkerExited

_log = logging.getLogger(__name__)
_STOPPING = "the agent is stopping"
_MAX_HEARD = 1000  # words kept for a trial that begins late; one a second and the failures


@dataclass(frozen=True, slots=True)
class ServerTimes:
    answer_s: float = 60.0  # for a worker to load a release
    stop_s: float = 5.0
    first_restart_s: float = 1.0  # doubles with every crash
    longest_restart_s: float = 60.0  # a worker that lives longer than this has not crashed in a row
    silent_s: float = 60.0  # it says its figures every second: one that says nothing for so long hangs


Listener = Callable[[Word | WorkerExited], None]


@dataclass(slots=True, eq=False)
class _Stage:
    """What is known of one stage. Guarded by the server's condition."""

    recent: Recent
    wanted: ReleaseToServe | None = None
    told: ReleaseToServe | None = None  # the worker that lives now
    answer: Serving | LoadFailed | WorkerExited | None = None
    asking: bool = False  # somebody waits for the answer
    lost: bool = False  # a worker that was started again could not load what served
    heard: "deque[Word | WorkerExited]" = field(default_factory=lambda: deque(maxlen=_MAX_HEARD))
    watched: bool = False  # by the updater: then a dead worker is its business


class PipelineServer:
    """One pipeline's worker. `listen` is called on the thread that reads from it and must not call back."""

    def __init__(
        self,
        pipeline: str,
        config: PipelineConfig,
        listen: Listener,
        *,
        cores: int | None = None,
        clock: Clock | None = None,
        times: ServerTimes | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._cores = cores  # at most so many interpreter threads, where they are measured
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
        self._stages = {name: _Stage(Recent(self._clock)) for name in config.order}
        self._restart_at_s: float | None = None
        self._closed = False
        self._end_by_s: float | None = None  # the worker has been asked to end
        self._keeper = Thread(target=self._keep, name=f"keeper-{pipeline}", daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        with self._changed:
            worker, end_by_s = self._worker, self._end_by_s
        self._keeper.join()
        if worker is not None and end_by_s is not None:
            worker.stop(max(0.0, end_by_s - self._clock.monotonic_s()))

    def end(self) -> None:
        """Ask the worker to end, for good, without waiting for it: several that are asked first end side by side."""
        self.refuse()
        with self._changed:
            if self._end_by_s is not None:
                return
            self._end_by_s = self._clock.monotonic_s() + self._times.stop_s
            worker = self._worker
        if worker is not None:
            worker.send(Stop())

    def refuse(self) -> None:
        """The agent ends: whoever waits for a release to load, or asks for one now, gets WorkerCrashedError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def pss_bytes(self) -> int | None:
        with self._changed:
            worker = self._worker
        return worker.pss_bytes if worker else None

    @property
    def pid(self) -> int | None:
        with self._changed:
            return self._worker.pid if self._worker else None

    @property
    def stages(self) -> Mapping[str, StageServer]:
        """For each stage what its updater is given."""
        return {name: StageServer(self, name) for name in self._stages}

    def send(self, order: Order) -> bool:
        """Hand an order to the worker that lives now; says whether there is one."""
        with self._changed:
            worker = self._worker
        if worker is not None:
            worker.send(order)
        return worker is not None

    def feed(self, order: Feed | FeedTrouble) -> None:
        """Hand a message of the source's topic to the worker that lives now; without one it is lost. Never waits."""
        with self._changed:
            worker = self._worker
        if worker is not None:
            worker.feed(order)

    # --- what a stage's updater asks ------------------------------------------------------------------------

    def serve(self, name: str, digest: str | None, directory: Path | None) -> None:
        """See `StageServer.serve`."""
        stage = self._stages[name]
        wanted = ReleaseToServe(digest, str(directory)) if digest is not None else None
        with self._changed:
            before, stage.wanted = stage.wanted, wanted
            self._restart_at_s = None
            stage.heard.clear()
            answer = self._order(name, stage)
            if isinstance(answer, LoadFailed):
                stage.wanted = before
                raise ModelError(answer.detail, reason=answer.reason, hint=answer.hint)
            if isinstance(answer, WorkerExited):
                raise WorkerCrashedError(answer.detail, hint="the lines of the worker above may say why")

    def is_lost(self, name: str) -> bool:
        """See `StageServer.lost`."""
        with self._changed:
            return self._stages[name].lost

    def seen(self, name: str) -> Seen:
        """See `StageServer.seen`."""
        with self._changed:
            return self._stages[name].recent.seen()

    @contextmanager
    def shadow(self, order: Shadow) -> "Iterator[TrialWords]":
        """See `StageServer.shadow`."""
        stage = self._stages[order.stage]
        with self._changed:
            stage.heard.clear()
            worker = self._worker
        if worker is None:
            raise WorkerCrashedError("the worker is not running")
        worker.send(order)
        try:
            yield TrialWords(partial(self._next_heard, stage))
        finally:
            worker.send(EndShadow(order.stage))

    @contextmanager
    def trial(self, name: str) -> "Iterator[TrialWords]":
        """See `StageServer.trial`."""
        stage = self._stages[name]
        with self._changed:
            stage.watched = True
            self._restart_at_s = None
        try:
            yield TrialWords(partial(self._next_heard, stage))
        finally:
            with self._changed:
                stage.watched = False
                dead = self._worker is None and any(each.wanted for each in self._stages.values())
                if dead and not self._is_watched and not self._closed:
                    self._restart_at_s = self._clock.monotonic_s() + self._times.first_restart_s
                    self._changed.notify_all()

    @property
    def _is_watched(self) -> bool:
        return any(stage.watched for stage in self._stages.values())

    def _next_heard(self, stage: _Stage, timeout_s: float) -> Word | None:
        with self._changed:
            self._changed.wait_for(lambda: stage.heard or self._worker is None, timeout_s)
            word = stage.heard.popleft() if stage.heard else None
            if isinstance(word, WorkerExited):
                raise WorkerCrashedError(word.detail)
            if word is None and self._worker is None:
                raise WorkerCrashedError("the worker is not running")
            return word

    def _order(self, name: str, stage: _Stage) -> Serving | LoadFailed | WorkerExited | None:
        """Tell the worker, starting it where there is none, and wait for what comes of it."""
        stage.answer = None
        stage.lost = False
        if self._closed:
            raise WorkerCrashedError(_STOPPING)
        stage.asking = True
        try:
            return self._ask(name, stage)
        finally:
            stage.asking = False

    def _ask(self, name: str, stage: _Stage) -> Serving | LoadFailed | WorkerExited | None:
        if self._worker is None:
            if stage.wanted is None:
                return None
            self._start()
        elif stage.told is not stage.wanted:  # else it was started with it a moment ago, for another stage
            wanted = stage.told = stage.wanted
            self._worker.send(Load(name, wanted.path, wanted.digest) if wanted else Unload(name))
        elif stage.wanted is None:
            return None
        if not self._is_answered(stage, self._times.answer_s) and self._worker is not None:
            _log.warning(
                "%s: the worker has been silent for %g s, so it is ended", self._pipeline, self._times.answer_s
            )
            self._worker.kill()
            self._is_answered(stage, None)
        if self._closed:
            raise WorkerCrashedError(_STOPPING)
        return stage.answer

    def _is_answered(self, stage: _Stage, timeout_s: float | None) -> bool:
        return self._changed.wait_for(lambda: stage.answer is not None or self._closed, timeout_s)

    # --- what the worker does ---------------------------------------------------------------------------------

    def _start(self) -> None:
        """A new worker, which is told what every stage wants."""
        self._life += 1
        self._started_s = self._heard_s = self._clock.monotonic_s()
        self._changed.notify_all()  # from now on it is listened for
        for stage in self._stages.values():
            stage.told = stage.wanted
        releases = {name: stage.wanted for name, stage in self._stages.items()}
        start = start_order(self._pipeline, self._config, releases, self._cores)
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
            for name, stage in self._stages.items():
                if not isinstance(word, Serving | LoadFailed | Figures | FrameFailed | Shadowed) or word.stage == name:
                    stage.heard.append(word)
            if isinstance(word, Figures) and word.stage in self._stages:
                self._stages[word.stage].recent.hear(word)
            if isinstance(word, Serving | LoadFailed) and word.stage in self._stages:
                self._take_answer(self._stages[word.stage], word)
            self._changed.notify_all()

    def _take_answer(self, stage: _Stage, word: Serving | LoadFailed) -> None:
        wanted = stage.wanted.digest if stage.wanted else None
        if word.digest == wanted:
            stage.answer = word
            stage.lost = isinstance(word, LoadFailed) and not stage.asking

    def _ended(self, life: int, code: int) -> None:
        with self._changed:
            if life != self._life:
                return
            self._worker = None
            exited = WorkerExited(code, None if self._is_watched or self._closed else self._back_off_s())
            if exited.restart_s is not None:
                self._restart_at_s = self._clock.monotonic_s() + exited.restart_s
            for stage in self._stages.values():
                stage.told = None
                stage.answer = exited
                stage.heard.append(exited)
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
        if self._worker is not None or not any(stage.wanted for stage in self._stages.values()):
            return
        try:
            self._start()
        except WorkerCrashedError as error:
            _log.warning("%s: %s", self._pipeline, error)
            self._restart_at_s = self._clock.monotonic_s() + self._back_off_s()
