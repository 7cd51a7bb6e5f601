"""Inside a worker: capturing, preparing and each stage on its own thread, so that they overlap.

`invoke` lets go of the GIL, so one preparing thread keeps one interpreter busy. The answers are
told by whichever thread would else wait for the other: a thread of its own, woken up for each frame, cost more than it
gained. Where there are no more than two cores, frames of a video are prepared by the thread that decodes them. A switch
to another release is an order that travels between the frames: what was prepared for the old model is answered by it,
and no frame is lost. Loading a model is left to `worker`; what a stage does with a frame, to `stage`; what the words
become, to the supervisor.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event, Lock, Thread

from edge_agent.clock import Clock
from edge_agent.config.sources import FolderSource, SourceConfig, VideoSource, given_by, is_live
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.capture import Captured, capture
from edge_agent.inference.frame import Frame, Unusable, Wanted
from edge_agent.inference.ipc import FrameFailed, SourceTrouble, StageStart
from edge_agent.inference.job import Ended, Job, Ready, Served, Switch, Turn
from edge_agent.inference.slots import ClosedError, Slots
from edge_agent.inference.sources.source import Source
from edge_agent.inference.stage import Stage
from edge_agent.inference.tally import Tally
from edge_agent.inference.telling import PictureKeeper, Say, Telling

_WAITING_FRAMES = 2  # of a source that is not live: enough to overlap, and little memory
_WAITING_ROWS = 64
_FEW_CORES = 2
_FIGURES_EVERY_S = 1.0
_CAPTURE_ENDS_S = 1.0
_LONGEST_INVOKE_S = 60.0
_MAX_FAILURES_TOLD = 10  # between two Figures, of frames: a damaged folder is not to flood the supervisor

_Item = Captured | Job | Switch | Ended


def _is_order(item: _Item) -> bool:
    return isinstance(item, Switch | Ended)


class Pipeline:
    """One source and the stages that answer it, in the order they see a frame. `say` is called on several threads.

    Begins without releases and takes no frames until `switch` has given one to a stage that sees whole frames. A model
    that runs for longer than `longest_invoke_s` is a crash: a thread raises, and ending the process is left to
    `threading.excepthook`.
    """

    def __init__(
        self,
        config: SourceConfig,
        open_source: Callable[[], Source],
        stages: Mapping[str, StageStart],
        say: Say,
        clock: Clock,
        *,
        pictures: PictureKeeper | None = None,
        cores: int | None = None,
        released: Callable[[], None] = lambda: None,
        answered: Callable[[str, Turn], None] = lambda _stage, _turn: None,
        longest_invoke_s: float = _LONGEST_INVOKE_S,
    ) -> None:
        self._config = config
        self._open_source = open_source
        self._say = say
        self._clock = clock
        self._stages = [Stage(name, start, clock) for name, start in stages.items()]
        self._roots = [stage.name for stage in self._stages if stage.crops_of is None]
        self._keeps_frames = pictures is not None or len(self._roots) < len(self._stages)
        self._windows = given_by(config) != "pictures"
        self._live = is_live(config)
        usable = cores or len(os.sched_getaffinity(0))
        self._prepares_at_once = usable <= _FEW_CORES and isinstance(config, VideoSource) and not self._live
        self._preparing = Lock()  # held by whoever prepares, or switches what is prepared for
        small = isinstance(config, FolderSource)  # its pictures are not decoded yet
        waiting = _WAITING_ROWS if self._windows else 1 if self._live else _WAITING_FRAMES * (2 if small else 1)
        self._captured: Slots[_Item] = Slots(waiting, _is_order)
        # Before each stage.
        self._between: list[Slots[_Item]] = [
            Slots(1 if self._live and position == 0 else _WAITING_FRAMES, _is_order)
            for position in range(len(self._stages))
        ]
        self._longest_invoke_s = longest_invoke_s
        self._tallies = {stage.name: Tally(stage.name) for stage in self._stages}
        self._telling = Telling(
            self._tallies, say, clock, pictures=pictures, resting=self._rest, released=released, answered=answered
        )
        self._numbers = itertools.count(1)
        self._failures_told = 0
        self._answering: dict[str, Served] = {}  # what the preparing thread prepares for
        self._asks = Wanted()
        self._begin_anew: set[str] = set()  # stages of which the window that was to say so was left out
        self._idle = Event()  # the last frame has been answered and no other waits
        self._idle.set()
        self._wanted = Event()
        self._stopped = Event()
        bodies: list[tuple[str, Callable[[], None]]] = [
            ("capture", self._capture),
            ("prepare", self._prepare),
            *((stage.name, self._stage_body(position)) for position, stage in enumerate(self._stages)),
            ("figures", self._tell_figures),
            ("close", self._telling.close_outdated),
        ]
        self._threads = [Thread(target=_until_closed, args=(body,), name=name, daemon=True) for name, body in bodies]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def switch(self, stage: str, new: Served | None) -> None:
        """Answer with `new`, which is told by `Serving` once the last frame of the old release has been answered."""
        self._captured.put_urgent(Switch(stage, new))

    @property
    def busy(self) -> bool:
        """Whether another frame is on its way already."""
        return not self._idle.is_set()

    def wait_idle(self, timeout_s: float) -> None:
        """Until a frame has just been answered and none waits: the time to do what holds up a frame. Or not at all."""
        if not self._idle.is_set():
            self._clock.wait(self._idle, timeout_s)

    def stop(self) -> None:
        """End without working off what waits, and close the models."""
        self._stopped.set()
        self._wanted.set()
        for slots in (self._captured, *self._between):
            slots.close()
        self._telling.end()
        capture, *others = self._threads
        for thread in others:
            thread.join()
        capture.join(_CAPTURE_ENDS_S)  # a camera over the network may be waiting, and holds nothing that we close
        for tally in self._tallies.values():
            self._say(tally.take())
        for served in {id(each): each for each in (*self._answering.values(), *self._telling.loaded)}.values():
            served.model.close()

    # --- capture --------------------------------------------------------------------------------------------

    def _capture(self) -> None:
        capture(self._open_source, self._config, self, clock=self._clock, wanted=self._wanted, stopped=self._stopped)

    def asks_for(self) -> Wanted:
        return self._asks

    def _ask(self) -> Wanted:
        """What all stages that see whole frames want together."""
        wants = [served.wants for stage, served in list(self._answering.items()) if stage in self._roots]
        every = all(want.channels for want in wants)
        channels = tuple(dict.fromkeys(name for want in wants for name in want.channels)) if every else ()
        return Wanted(channels, max((want.sample_rate_hz for want in wants if want.sample_rate_hz), default=None))

    def received(self, captured: Captured) -> None:
        if self._windows:
            self._captured.put(captured)  # a row that is left out would spoil its window: windows are dropped instead
            return
        self._count(Tally.entered)
        if self._prepares_at_once and self._was_prepared(captured):
            return
        if not self._live:
            self._captured.put(captured)
        elif self._captured.put_latest(captured) is not None:
            self._count(Tally.dropped)

    def _was_prepared(self, captured: Captured) -> bool:
        with self._preparing:
            if self._is_seen_by_none:
                return False  # it waits for the next release
            for job in self._jobs(captured):
                self._prepare_one(job)
        return True

    def unusable(self, unusable: Unusable) -> None:
        self._count(Tally.entered)
        self._failed(unusable)

    def trouble(self, error: SourceError) -> None:
        for tally in self._tallies.values():  # what has come in before is no sign that the trouble is over
            self._say(tally.take())
        self._say(SourceTrouble(str(error), error.hint))

    def ended(self) -> None:
        self._captured.put_order(Ended())

    # --- prepare --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        first = self._between[0]
        while True:
            item = self._captured.get(urgent_only=self._is_seen_by_none)
            with self._preparing:
                if isinstance(item, Captured):
                    for job in self._jobs(item):
                        self._prepare_one(job)
                    continue
                if isinstance(item, Switch):
                    self._take_on(item)
                first.put_order(item)

    @property
    def _is_seen_by_none(self) -> bool:
        return not any(stage in self._answering for stage in self._roots)

    def _take_on(self, switch: Switch) -> None:
        if switch.new is not None:
            self._answering[switch.stage] = switch.new
        else:
            self._answering.pop(switch.stage, None)
        self._asks = self._ask()
        if not self._is_seen_by_none:
            self._wanted.set()
        elif not self._stopped.is_set():
            self._wanted.clear()
            if self._stopped.is_set():  # meanwhile: capturing is to wake up
                self._wanted.set()

    def _jobs(self, captured: Captured) -> list[Job]:
        """One job of a picture; of a row, one for each window that it completes (for several stages, together)."""
        taken = captured.taken
        frame = taken if isinstance(taken, Frame) and self._keeps_frames else None
        wanted = self._asks
        jobs: list[Job] = []
        for stage in self._roots:
            served = self._answering.get(stage)
            if served is None:
                continue
            for number, ready in enumerate(self._fed(stage, served, captured, wanted)):
                if number == len(jobs):
                    jobs.append(Job(ready.name, ready.captured_s, served.capture_ms, frame, {}))
                jobs[number].turns[stage] = Turn(served, ready.prepare, began_anew=ready.began_anew)
                if self._windows:
                    self._tallies[stage].entered()
        return jobs

    def _fed(self, stage: str, served: Served, captured: Captured, wanted: Wanted) -> list[Ready]:
        try:
            return served.feed(captured, wanted)
        except FrameError as error:
            self._tallies[stage].entered()
            self._failed(Unusable(captured.taken.name, str(error)), stage)
        except SourceError as error:
            self.trouble(error)
        return []

    def _prepare_one(self, job: Job) -> None:
        self._idle.clear()
        for stage, turn in list(job.turns.items()):
            assert turn.prepare is not None, "a frame is prepared once"
            turn.began_anew |= stage in self._begin_anew
            self._begin_anew.discard(stage)
            began_s = self._clock.monotonic_s()
            try:
                turn.inputs = [turn.prepare()]
            except FrameError as error:
                del job.turns[stage]
                if turn.began_anew:
                    self._begin_anew.add(stage)
                self._failed(Unusable(job.name, str(error)), stage)
                continue
            turn.prepare = None  # and lets go of the picture
            turn.latency_ms["preprocess"] = (self._clock.monotonic_s() - began_s) * 1000
        if not job.turns:
            self._rest()
            return
        job.seq = next(self._numbers)
        if not (self._windows and self._live):
            if self._between[0].is_full:  # then there is time
                self._telling.tell_all()
            self._between[0].put(job)
            return
        old = self._between[0].put_latest(job, partial(self._inherit, job))
        if isinstance(old, Job):
            for stage in old.turns:
                self._tallies[stage].dropped()

    def _inherit(self, job: Job, old: _Item) -> None:
        """A model that was to forget before the window that is left out is to do so before the next one."""
        for stage, turn in old.turns.items() if isinstance(old, Job) else ():
            if turn.began_anew and stage in job.turns:
                job.turns[stage].began_anew = True
            elif turn.began_anew:
                self._begin_anew.add(stage)

    # --- invoke ---------------------------------------------------------------------------------------------

    def _stage_body(self, position: int) -> Callable[[], None]:
        stage, source = self._stages[position], self._between[position]
        following = self._between[position + 1] if position + 1 < len(self._stages) else None

        def run() -> None:
            while True:
                item = source.get()
                if isinstance(item, Job):
                    stage.run(item)
                elif isinstance(item, Switch) and item.stage == stage.name:
                    stage.switch(item.new)
                if following is None:  # while more frames wait to be invoked, the preparing thread may have the time
                    assert not isinstance(item, Captured)
                    self._telling.finished(item, at_once=self._live or not source)
                elif isinstance(item, Job):
                    following.put(item)
                else:
                    following.put_order(item)

        return run

    def _rest(self) -> None:
        if not self._captured and not self._telling.is_behind and not any(self._between):
            self._idle.set()

    # --- all of them ------------------------------------------------------------------------------------------

    def _count(self, how: Callable[[Tally], None]) -> None:
        """Of every stage that sees whole frames now."""
        for stage in self._roots:
            if stage in self._answering:
                how(self._tallies[stage])

    def _failed(self, unusable: Unusable, stage: str = "") -> None:
        """Nobody's fault but the frame's. `stage`: the only one that could not use it."""
        if stage:
            self._tallies[stage].failed()
        else:
            self._count(Tally.failed)
        self._failures_told += 1
        if self._failures_told <= _MAX_FAILURES_TOLD:
            served = self._answering.get(stage or self._roots[0])
            digest = served.digest if served else ""
            self._say(FrameFailed(stage, digest, unusable.name, of_model=False, detail=unusable.detail))

    def _tell_figures(self) -> None:
        while not self._clock.wait(self._stopped, _FIGURES_EVERY_S):
            self._failures_told = 0
            for tally in self._tallies.values():
                self._say(tally.take())
            self._check_progress()

    def _check_progress(self) -> None:
        """A model that never comes back would else hang a trial for ever: a worker that crashes ends it."""
        for stage in self._stages:
            since_s = stage.invoking_since_s
            if since_s is not None and (running_s := self._clock.monotonic_s() - since_s) > self._longest_invoke_s:
                raise RuntimeError(
                    f"the model of stage {stage.name} has been running for {running_s:.0f} s on one frame"
                )


def _until_closed(body: Callable[[], None]) -> None:
    try:
        body()
    except ClosedError:
        return
