"""The worker process of one pipeline: `python -m edge_agent.inference.worker FD`.

FD is its end of a socket pair; `ipc` says what is said over it. It loads and runs models, and nothing else: no broker,
no update, no disk but its source, its release and what is kept of its frames. A model that crashes takes this process
with it and no more. The end of the socket is the end of the process, so no worker outlives its supervisor;
PR_SET_PDEATHSIG would not do, since it fires when the *thread* that started the process ends.
"""

import ctypes
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING

from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import ConfigError, ModelError, Reason, RejectionError, SourceError
from edge_agent.inference.fitness import check_input, other_rate
from edge_agent.inference.ipc import (
    EndShadow,
    Feed,
    FeedTrouble,
    Load,
    LoadFailed,
    Notice,
    Order,
    Result,
    Shadow,
    Shadowed,
    Snapshot,
    SnapshotWritten,
    SourceTrouble,
    Start,
    Stop,
    Unload,
    Word,
    format_line,
    parse_order,
)
from edge_agent.inference.job import Served, Turn
from edge_agent.inference.model import Model, open_release
from edge_agent.inference.pipeline import Pipeline
from edge_agent.inference.sources.mailbox import Mailbox
from edge_agent.inference.sources.source import new_source
from edge_agent.release.inputs import ImageInput

_IDLE_S = 0.2  # a release is loaded between two frames, where there is such a time: the interpreter holds the GIL
if TYPE_CHECKING:
    from edge_agent.inference.samples.keeper import SampleKeeper
    from edge_agent.inference.shadow import Shadow as ShadowRun
    from edge_agent.inference.showing import Showing

_HELD_S = 0.02  # results are sent together for at most so long
_SOFTWARE_ERROR = 70  # sysexits.h EX_SOFTWARE
_SWITCH_INTERVAL_S = 0.0005  # of the GIL: with Python's 5 ms a busy thread doubles the latency of invoke


def main(arguments: list[str]) -> int:
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's, which then says Stop
    threading.excepthook = _end_process
    with socket.socket(fileno=int(arguments[0])) as connection:
        run(connection)
    return 0


def run(connection: socket.socket) -> None:
    """Do what the supervisor says, until it says Stop or is gone."""
    clock = SystemClock()
    voice = _Voice(connection, clock)
    orders: SimpleQueue[Order] = SimpleQueue()
    snapshots: SimpleQueue[Snapshot | None] = SimpleQueue()
    mailbox = Mailbox(clock)
    Thread(target=_listen, args=(connection, orders, snapshots, mailbox), name="listen", daemon=True).start()
    start = orders.get()
    if not isinstance(start, Start):
        return
    _Worker(start, voice, clock, mailbox).run(orders, snapshots)


class _Worker:
    """One pipeline, and the loading of releases for its stages."""

    def __init__(self, start: Start, voice: "_Voice", clock: Clock, mailbox: Mailbox) -> None:
        self._start = start
        self._voice = voice
        self._showing = _showing(start, voice, clock)
        self._samples = _keeper(start, voice, clock)
        self._shadows: dict[str, ShadowRun] = {}  # by stage
        self._pipeline = Pipeline(
            start.source,
            cache(partial(new_source, start.source, clock, mailbox)),  # one that is opened again goes on
            start.stages,
            voice.say,
            clock,
            pictures=self._showing,
            samples=self._samples,
            released=_give_memory_back,
            answered=self._offer,
        )
        voice.busy = lambda: self._pipeline.busy
        self._feeding: dict[str, Model] = {}  # what is served; closed by the pipeline, but its manifest stays

    def run(self, orders: "SimpleQueue[Order]", snapshots: "SimpleQueue[Snapshot | None]") -> None:
        drawing = Thread(target=self._draw, args=(snapshots,), name="snapshots", daemon=True)
        with self._samples or nullcontext(), self._showing or nullcontext():
            drawing.start()
            self._run(orders)
            snapshots.put(None)
            drawing.join()  # what was ordered before Stop is written

    def _run(self, orders: "SimpleQueue[Order]") -> None:
        self._pipeline.start()
        for name, stage in self._start.stages.items():
            if stage.path is not None and stage.digest is not None:
                self._load(name, Path(stage.path), stage.digest)
        while not isinstance(order := orders.get(), Stop):
            match order:
                case Load():
                    self._load(order.stage, Path(order.path), order.digest)
                case Shadow():
                    self._begin_shadow(order)
                case EndShadow():
                    self._end_shadow(order.stage)
                case Unload():
                    self._feeding.pop(order.stage, None)
                    self._pipeline.switch(order.stage, None)
        for name in [*self._shadows]:
            self._end_shadow(name)
        self._pipeline.stop()

    def _draw(self, snapshots: "SimpleQueue[Snapshot | None]") -> None:
        """The body of a thread: a picture is not kept for as long as the loading of a release may take."""
        while (order := snapshots.get()) is not None:
            if self._showing is not None:
                self._showing.snapshot(order)
            else:
                self._voice.say(SnapshotWritten(order.seq, order.path, "this worker keeps no pictures"))

    def _begin_shadow(self, order: Shadow) -> None:
        from edge_agent.inference.shadow import Shadow as Run  # seldom needed

        self._end_shadow(order.stage)
        try:
            self._shadows[order.stage] = Run(order, self._voice.say)
        except OSError as error:
            problem = f"it cannot be started: {error.strerror or error}"
            self._voice.say(Shadowed(order.stage, order.digest, 0, 0, over=True, problem=problem))

    def _end_shadow(self, stage: str) -> None:
        run = self._shadows.pop(stage, None)
        if run is not None:
            run.close()

    def _offer(self, stage: str, turn: Turn) -> None:
        run = self._shadows.get(stage)
        if run is not None:
            run.offer(stage, turn)

    def _load(self, stage: str, directory: Path, digest: str) -> None:
        """Load and warm up a release beside the one that is running; says so where it cannot be."""
        start = self._start.stages[stage]
        self._pipeline.wait_idle(_IDLE_S)
        try:
            model = open_release(directory, start.threads, delegate=start.delegate, cores=start.cores)
            try:
                trouble = self._check_input(stage, model)
            except ModelError:
                model.close()
                raise
        except RejectionError as error:
            detail = str(error).replace(f"{directory}{os.sep}", "")
            self._voice.say(LoadFailed(stage, digest, error.reason, detail, error.hint))
            return
        except ConfigError as error:  # no interpreter works here
            self._voice.say(LoadFailed(stage, digest, Reason.LOAD_FAILED, str(error), error.hint))
            return
        rate = other_rate(model, self._start.source)
        if rate is not None:
            self._voice.say(Notice(rate, stage=stage))
        if trouble is not None:
            self._voice.say(SourceTrouble(str(trouble), trouble.hint))
        self._pipeline.wait_idle(_IDLE_S)
        model.warm_up()
        report = model.engine.report
        if report.fell_back is not None:
            self._voice.say(Notice(f"the model runs on the CPU: {report.fell_back}", stage=stage))
        self._feeding[stage] = model
        self._pipeline.switch(stage, Served(digest, model, lambda told: self._voice.say(Notice(told, stage=stage))))

    def _check_input(self, stage: str, model: Model) -> SourceError | None:
        if self._start.stages[stage].crops_of is None:
            return check_input(model, self._start.source, self._feeding.get(stage))
        if not isinstance(model.manifest.input, ImageInput):
            raise ModelError(
                f"stage {stage} sees crops of pictures; release {model.manifest.name} {model.manifest.version} takes "
                f"input kind {model.manifest.input.kind!r}",
                reason=Reason.INCOMPATIBLE,
                hint="let this stage follow a model that takes pictures",
            )
        return None


class _Voice:
    """Words to the supervisor, from any thread, in order.

    While frames follow on each other's heels (`busy`) results are held for a moment and sent together: each sending
    wakes the supervisor up, which then takes the core from the interpreter.
    """

    def __init__(self, connection: socket.socket, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._lock = Lock()
        self._held: list[bytes] = []
        self._sent_s = 0.0
        self.busy: Callable[[], bool] = lambda: False

    def say(self, word: Word) -> None:
        line = format_line(word)
        with self._lock:
            self._held.append(line)
            now_s = self._clock.monotonic_s()
            if isinstance(word, Result) and now_s - self._sent_s < _HELD_S and self.busy():
                return
            lines, self._held, self._sent_s = b"".join(self._held), [], now_s
            try:
                self._connection.sendall(lines)
            except OSError:
                os._exit(0)  # the supervisor is gone


def _listen(
    connection: socket.socket,
    orders: "SimpleQueue[Order]",
    snapshots: "SimpleQueue[Snapshot | None]",
    mailbox: Mailbox,
) -> None:
    with suppress(OSError), connection.makefile("rb") as lines:
        for line in lines:
            order = parse_order(line)
            if isinstance(order, Feed | FeedTrouble):
                mailbox.feed(order)  # not behind the loading of a release
                continue
            if isinstance(order, Snapshot):
                snapshots.put(order)  # nor this
                continue
            orders.put(order)
            if isinstance(order, Stop):
                return
    os._exit(0)  # the supervisor is gone, and whatever is being loaded is for nobody


def _showing(start: Start, voice: "_Voice", clock: Clock) -> "Showing | None":
    if start.preview is None and not start.keeps_pictures:
        return None
    from edge_agent.inference.showing import Showing  # its drawing and HTTP cost memory

    return Showing(start, voice.say, clock)


def _keeper(start: Start, voice: "_Voice", clock: Clock) -> "SampleKeeper | None":
    if start.samples is None:
        return None
    from edge_agent.inference.samples.keeper import SampleKeeper  # seldom needed

    return SampleKeeper(start.samples, start.pipeline, start.stages, voice.say, clock)


def _give_memory_back() -> None:
    """Return what a closed model has left to the system: glibc keeps it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _end_process(failed: threading.ExceptHookArgs) -> None:
    """A thread has met a bug: the process ends, and the supervisor starts another."""
    traceback.print_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
    os._exit(_SOFTWARE_ERROR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
