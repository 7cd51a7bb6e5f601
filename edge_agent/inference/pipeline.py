"""Inside a worker: capturing, preparing and each stage on its own thread, so that they overlap.

`invoke` lets go of the GIL, so one preparing thread keeps one interpreter busy. The answers are told by whichever
thread would else wait for the other: a thread of its own, woken up for each frame, cost more than it gained. Where
there are no more than two cores, frames of a video are prepared by the thread that decodes them. A switch to another
release is an order that travels between the frames: what was prepared for the old model is answered by it, and no
frame is lost.

What is done to a frame before the first stage is left to `preparing`, in a stage to `stage`, and behind the last one to
`telling`; loading a model, to `worker`.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event, Lock, Thread

from edge_agent.clock import Clock
from edge_agent.config.sources import FolderSource, SourceConfig, VideoSource, given_by, is_live
from edge_agent.errors import SourceError
from edge_agent.inference.capture import Captured, capture
from edge_agent.inference.frame import Unusable, Wanted
from edge_agent.inference.ipc import StageStart
from edge_agent.inference.job import Ended, Job, Served, Switch, Turn
from edge_agent.inference.preparing import Preparing
from edge_agent.inference.slots import ClosedError, Slots
from edge_agent.inference.sources.source import Source
from edge_agent.inference.stage import Stage
from edge_agent.inference.tally import Tally
from edge_agent.inference.telling import PictureKeeper, SampleTaker, Say, Telling

_WAITING_FRAMES = 2  # of a source that is not live: enough to overlap, and little memory
_WAITING_ROWS = 64
_FEW_CORES = 2
_FIGURES_EVERY_S = 1.0
_CAPTURE_ENDS_S = 1.0
_LONGEST_INVOKE_S = 60.0

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
        samples: SampleTaker | None = None,
        cores: int | None = None,
        released: Callable[[], None] = lambda: None,
        answered: Callable[[str, Turn], None] = lambda _stage, _turn: None,
        longest_invoke_s: float = _LONGEST_INVOKE_S,
    ) -> None:
        self._config = config
        self._open_source = open_source
        self._clock = clock
        self._stages = [Stage(name, start, clock) for name, start in stages.items()]
        roots = [stage.name for stage in self._stages if stage.crops_of is None]
        self._windows = given_by(config) != "pictures"
        self._live = is_live(config)
        usable = cores or len(os.sched_getaffinity(0))
        self._prepares_at_once = usable <= _FEW_CORES and isinstance(config, VideoSource) and not self._live
        self._at_it = Lock()  # held by whoever prepares, or switches what is prepared for
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
        self._preparing = Preparing(
            roots,
            self._tallies,
            say,
            clock,
            windows=self._windows,
            keeps_frames=pictures is not None or samples is not None or len(roots) < len(self._stages),
            keeps_given=samples is not None,
        )
        self._telling = Telling(
            self._tallies,
            say,
            clock,
            pictures=pictures,
            samples=samples,
            resting=self._rest,
            released=released,
            answered=answered,
        )
        self._numbers = itertools.count(1)
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
        self._preparing.tell_figures()
        for served in {id(each): each for each in (*self._preparing.releases, *self._telling.loaded)}.values():
            served.model.close()

    # --- capture --------------------------------------------------------------------------------------------

    def _capture(self) -> None:
        capture(self._open_source, self._config, self, clock=self._clock, wanted=self._wanted, stopped=self._stopped)

    def asks_for(self) -> Wanted:
        return self._preparing.asks

    def received(self, captured: Captured) -> None:
        if self._windows:
            self._captured.put(captured)  # a row that is left out would spoil its window: windows are dropped instead
            return
        self._preparing.count(Tally.entered)
        if self._prepares_at_once and self._was_prepared(captured):
            return
        if not self._live:
            self._captured.put(captured)
        elif self._captured.put_latest(captured) is not None:
            self._preparing.count(Tally.dropped)

    def _was_prepared(self, captured: Captured) -> bool:
        with self._at_it:
            if self._preparing.is_seen_by_none:
                return False  # it waits for the next release
            self._prepare_all(captured)
        return True

    def unusable(self, unusable: Unusable) -> None:
        self._preparing.unusable(unusable)

    def trouble(self, error: SourceError) -> None:
        self._preparing.trouble(error)

    def ended(self) -> None:
        self._captured.put_order(Ended())

    # --- prepare --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        first = self._between[0]
        while True:
            item = self._captured.get(urgent_only=self._preparing.is_seen_by_none)
            with self._at_it:
                if isinstance(item, Captured):
                    self._prepare_all(item)
                    continue
                if isinstance(item, Switch):
                    self._take_on(item)
                first.put_order(item)

    def _take_on(self, switch: Switch) -> None:
        self._preparing.take_on(switch)
        if not self._preparing.is_seen_by_none:
            self._wanted.set()
        elif not self._stopped.is_set():
            self._wanted.clear()
            if self._stopped.is_set():  # meanwhile: capturing is to wake up
                self._wanted.set()

    def _prepare_all(self, captured: Captured) -> None:
        for job in self._preparing.jobs(captured):
            self._prepare_one(job)

    def _prepare_one(self, job: Job) -> None:
        self._idle.clear()
        if not self._preparing.prepare(job):
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
        if isinstance(old, Job):
            self._preparing.inherit(job, old)

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

    def _tell_figures(self) -> None:
        while not self._clock.wait(self._stopped, _FIGURES_EVERY_S):
            self._preparing.a_second_has_passed()
            self._preparing.tell_figures()
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
