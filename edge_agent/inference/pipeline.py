"""Inside a worker: capture, prepare, invoke and emit, each on its own thread, so that they overlap.

`invoke` lets go of the GIL, so one preparing thread keeps one interpreter busy (lab/runtime.md §3). A switch to
another release is an order that travels between the frames: what was prepared for the old model is answered by it,
and no frame is lost. Loading a model is left to `worker`; what the words become, to the supervisor.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from threading import Event, Thread

from edge_agent.clock import Clock
from edge_agent.config.sources import CsvSource, SourceConfig
from edge_agent.errors import FrameError, ModelError, SourceError
from edge_agent.inference.capture import Captured, capture
from edge_agent.inference.frame import Frame, Unusable
from edge_agent.inference.ipc import FrameFailed, Result, Serving, SourceEnded, SourceTrouble, Word
from edge_agent.inference.job import Ended, Job, Served, Switch
from edge_agent.inference.slots import ClosedError, Slots
from edge_agent.inference.sources.source import Source, rate_hz
from edge_agent.inference.tally import Tally
from edge_agent.transform.prepared import Prepared

_WAITING_FRAMES = 2  # of a source that is not live: enough to overlap, and little memory
_WAITING_ROWS = 64
_FIGURES_EVERY_S = 1.0
_LONGEST_INVOKE_S = 60.0
_MAX_FAILURES_TOLD = 10  # between two Figures, of frames: a damaged folder is not to flood the supervisor

_Item = Captured | Job | Switch | Ended


def _is_order(item: _Item) -> bool:
    return isinstance(item, Switch | Ended)


class Pipeline:
    """One source and the release that answers it. `say` is called on several threads.

    Begins without a release and takes no frames until `switch` has given it one. A model that runs for longer than
    `longest_invoke_s` is a crash: a thread raises, and ending the process is left to `threading.excepthook`.
    """

    def __init__(
        self,
        config: SourceConfig,
        open_source: Callable[[], Source],
        say: Callable[[Word], None],
        clock: Clock,
        *,
        released: Callable[[], None] = lambda: None,
        longest_invoke_s: float = _LONGEST_INVOKE_S,
    ) -> None:
        self._config = config
        self._open_source = open_source
        self._say = say
        self._clock = clock
        self._released = released  # called when a model has been closed
        self._rows = isinstance(config, CsvSource)
        self._live = rate_hz(config) is not None
        waiting = _WAITING_ROWS if self._rows else 1 if self._live else _WAITING_FRAMES
        self._captured: Slots[_Item] = Slots(waiting, _is_order)
        self._prepared: Slots[_Item] = Slots(1 if self._live else _WAITING_FRAMES, _is_order)
        self._invoked: Slots[_Item] = Slots(_WAITING_FRAMES, _is_order)
        self._longest_invoke_s = longest_invoke_s
        self._invoking_since_s: float | None = None
        self._tally = Tally()
        self._numbers = itertools.count(1)
        self._failures_told = 0
        self._answering: Served | None = None  # what the preparing thread prepares for
        self._wanted = Event()
        self._stopped = Event()
        bodies = (self._capture, self._prepare, self._invoke, self._emit, self._tell_figures)
        self._threads = [Thread(target=_until_closed, args=(body,), name=body.__name__, daemon=True) for body in bodies]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def switch(self, new: Served | None) -> None:
        """Answer with `new`, which is told by `Serving` once the last frame of the old release has been answered."""
        self._captured.put_urgent(Switch(new))

    def stop(self) -> None:
        """End without working off what waits, and close the model."""
        self._stopped.set()
        self._wanted.set()
        for slots in (self._captured, self._prepared, self._invoked):
            slots.close()
        for thread in self._threads:
            thread.join()
        self._say(self._tally.take())
        if self._answering is not None:
            self._answering.model.close()

    # --- capture --------------------------------------------------------------------------------------------

    def _capture(self) -> None:
        capture(self._open_source, self._config, self, clock=self._clock, wanted=self._wanted, stopped=self._stopped)

    def channels(self) -> tuple[str, ...]:
        answering = self._answering
        return answering.channels if answering else ()

    def received(self, captured: Captured) -> None:
        if self._rows:
            self._captured.put(captured)  # a row that is left out would spoil its window: windows are dropped instead
            return
        self._tally.entered()
        if not self._live:
            self._captured.put(captured)
        elif self._captured.put_latest(captured) is not None:
            self._tally.dropped()

    def unusable(self, unusable: Unusable) -> None:
        self._tally.entered()
        self._failed(self._answering, unusable)

    def trouble(self, error: SourceError) -> None:
        self._say(SourceTrouble(str(error), error.hint))

    def ended(self) -> None:
        self._captured.put_order(Ended())

    # --- prepare --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        while True:
            item = self._captured.get(urgent_only=self._answering is None)
            if isinstance(item, Switch):
                self._answering = item.new
                self._prepared.put_order(item)
                self._want_frames(wanted=item.new is not None)
            elif isinstance(item, Captured):
                assert self._answering is not None
                job = self._job(self._answering, item)
                if job is not None:
                    self._prepare_one(job)
            else:
                self._prepared.put_order(item)

    def _want_frames(self, *, wanted: bool) -> None:
        if wanted:
            self._wanted.set()
        elif not self._stopped.is_set():
            self._wanted.clear()

    def _job(self, served: Served, captured: Captured) -> Job | None:
        if isinstance(captured.taken, Frame):
            return served.frame(captured, captured.taken)
        if captured.taken.channels != served.channels:
            return None  # a few rows were read ahead for the columns of the model before
        job = served.window(captured, captured.taken)
        if job is not None:
            self._tally.entered()
        return job

    def _prepare_one(self, job: Job) -> None:
        began_s = self._clock.monotonic_s()
        try:
            prepared = job.prepare()
        except FrameError as error:
            self._failed(job.served, Unusable(job.name, str(error)))
            return
        job.latency_ms["preprocess"] = (self._clock.monotonic_s() - began_s) * 1000
        ready = replace(job, seq=next(self._numbers), prepared=prepared, prepare=_prepared_already)
        if not (self._rows and self._live):
            self._prepared.put(ready)
        elif self._prepared.put_latest(ready) is not None:
            self._tally.dropped()

    # --- invoke ---------------------------------------------------------------------------------------------

    def _invoke(self) -> None:
        while True:
            item = self._prepared.get()
            if not isinstance(item, Job):
                self._invoked.put_order(item)
                continue
            assert item.prepared is not None
            began_s = self._invoking_since_s = self._clock.monotonic_s()
            try:
                done = replace(item, outputs=item.served.model.invoke(item.prepared))
            except ModelError as error:
                done = replace(item, failure=error)
            self._invoking_since_s = None
            done.latency_ms["invoke"] = (self._clock.monotonic_s() - began_s) * 1000
            self._invoked.put(done)

    # --- emit -----------------------------------------------------------------------------------------------

    def _emit(self) -> None:
        emitted = 0
        serving: Served | None = None
        ended = False
        while True:
            item = self._invoked.get()
            if isinstance(item, Job):
                emitted += self._emit_one(item)
            elif isinstance(item, Switch):
                self._say(self._tally.switch(item.new.digest if item.new else None))
                self._say(_serving(item.new))
                if serving is not None:
                    serving.model.close()
                    self._released()
                serving = item.new
            else:
                ended = True
            if ended and not isinstance(item, Job):  # said again to each release that will see no frame
                self._say(self._tally.take())
                self._say(SourceEnded(emitted))

    def _emit_one(self, job: Job) -> bool:
        """Say what became of it, and whether it was answered."""
        assert job.prepared is not None
        model, failure = job.served.model, job.failure
        began_s = self._clock.monotonic_s()
        try:
            predictions = [] if failure else model.decode(job.outputs, job.prepared)
        except ModelError as error:
            failure = error
        if failure is not None:
            self._tally.failed()
            self._say(FrameFailed(job.served.digest, job.name, of_model=True, detail=str(failure)))
            return False
        job.latency_ms["postprocess"] = (self._clock.monotonic_s() - began_s) * 1000
        latency_ms = {stage: round(value_ms, 3) for stage, value_ms in job.latency_ms.items()}
        self._tally.finished(latency_ms)
        results = tuple(prediction.to_json() for prediction in predictions)
        task = model.manifest.task
        self._say(Result(job.served.digest, job.seq, job.captured_s, job.name, task, results, latency_ms))
        return True

    # --- all of them ------------------------------------------------------------------------------------------

    def _failed(self, served: Served | None, unusable: Unusable) -> None:
        self._tally.failed()
        self._failures_told += 1
        if self._failures_told <= _MAX_FAILURES_TOLD:
            self._say(
                FrameFailed(served.digest if served else "", unusable.name, of_model=False, detail=unusable.detail)
            )

    def _tell_figures(self) -> None:
        while not self._clock.wait(self._stopped, _FIGURES_EVERY_S):
            self._failures_told = 0
            self._say(self._tally.take())
            self._check_progress()

    def _check_progress(self) -> None:
        """A model that never comes back would else hang a trial for ever: a worker that crashes ends it."""
        since_s = self._invoking_since_s
        if since_s is not None and (running_s := self._clock.monotonic_s() - since_s) > self._longest_invoke_s:
            raise RuntimeError(f"the model has been running for {running_s:.0f} s on one frame")


def _serving(served: Served | None) -> Serving:
    if served is None:
        return Serving()
    report = served.model.engine.report
    return Serving(served.digest, report.library, report.delegated)


def _prepared_already() -> Prepared:
    raise AssertionError("a frame is prepared once")


def _until_closed(body: Callable[[], None]) -> None:
    try:
        body()
    except ClosedError:
        return
