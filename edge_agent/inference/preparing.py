"""The beginning of a pipeline: what is captured is counted, and becomes the inputs of the stages that see whole frames.

It has no thread: one at a time calls it, but for what says otherwise. Which one, and where the jobs wait, is left to
`pipeline`; how rows become a window of one model, to `job`.
"""

from collections.abc import Callable, Mapping, Sequence

from edge_agent.clock import Clock
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.capture import Captured
from edge_agent.inference.frame import Frame, Unusable, Wanted
from edge_agent.inference.ipc import FrameFailed, SourceTrouble
from edge_agent.inference.job import Job, Ready, Served, Switch, Turn
from edge_agent.inference.tally import Tally
from edge_agent.inference.telling import Say

_MAX_FAILURES_TOLD = 10  # each second, of frames: a damaged folder is not to flood the supervisor


class Preparing:
    """What is known of the stages that see whole frames, `roots`, and of the releases that frames are prepared for.

    `windows`: the source gives no pictures, so what comes in is counted once a window is complete. `keeps_frames`:
    somebody may want to look at a picture again; `keeps_given`, at a window.
    """

    def __init__(
        self,
        roots: Sequence[str],
        tallies: Mapping[str, Tally],
        say: Say,
        clock: Clock,
        *,
        windows: bool,
        keeps_frames: bool,
        keeps_given: bool = False,
    ) -> None:
        self._roots = roots
        self._tallies = tallies
        self._say = say
        self._clock = clock
        self._windows = windows
        self._keeps_frames = keeps_frames
        self._keeps_given = keeps_given
        self._answering: dict[str, Served] = {}  # by stage, those on crops too
        self._begin_anew: set[str] = set()  # stages of which the window that was to say so was left out
        self._failures_told = 0
        self.asks = Wanted()  # of the source, by all roots together

    @property
    def is_seen_by_none(self) -> bool:
        """Whether no stage would see a frame now. For any thread."""
        return not any(stage in self._answering for stage in self._roots)

    @property
    def releases(self) -> tuple[Served, ...]:
        """Those that frames are prepared for."""
        return tuple(self._answering.values())

    def take_on(self, switch: Switch) -> None:
        """From here on frames are prepared for this release."""
        if switch.new is not None:
            self._answering[switch.stage] = switch.new
        else:
            self._answering.pop(switch.stage, None)
        self.asks = self._ask()

    def jobs(self, captured: Captured) -> list[Job]:
        """One job of a picture; of a row, one for each window that it completes (for several stages, together)."""
        taken = captured.taken
        frame = taken if isinstance(taken, Frame) and self._keeps_frames else None
        wanted = self.asks
        jobs: list[Job] = []
        for stage in self._roots:
            served = self._answering.get(stage)
            if served is None:
                continue
            for number, ready in enumerate(self._fed(stage, served, captured, wanted)):
                if number == len(jobs):
                    jobs.append(Job(ready.name, ready.captured_s, served.capture_ms, frame, {}))
                given = ready.given if self._keeps_given else None
                jobs[number].turns[stage] = Turn(served, ready.prepare, began_anew=ready.began_anew, given=given)
                if self._windows:
                    self._tallies[stage].entered()
        return jobs

    def prepare(self, job: Job) -> bool:
        """Make the inputs of its turns. A turn that cannot use the frame is taken out; says whether any is left."""
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
        return bool(job.turns)

    def inherit(self, job: Job, old: Job) -> None:
        """A model that was to forget before the window that is left out is to do so before the next one."""
        for stage, turn in old.turns.items():
            if turn.began_anew and stage in job.turns:
                job.turns[stage].began_anew = True
            elif turn.began_anew:
                self._begin_anew.add(stage)

    # --- on any thread ----------------------------------------------------------------------------------------

    def count(self, how: Callable[[Tally], None]) -> None:
        """Of every stage that sees whole frames now."""
        for stage in self._roots:
            if stage in self._answering:
                how(self._tallies[stage])

    def unusable(self, unusable: Unusable) -> None:
        """It has come in, and nobody can use it."""
        self.count(Tally.entered)
        self._failed(unusable)

    def trouble(self, error: SourceError) -> None:
        """The source gives nothing that any stage could use."""
        self.tell_figures()  # what has come in before is no sign that the trouble is over
        self._say(SourceTrouble(str(error), error.hint))

    def tell_figures(self) -> None:
        """What each stage of the pipeline, those on crops too, has done since the last time."""
        for tally in self._tallies.values():
            self._say(tally.take())

    def a_second_has_passed(self) -> None:
        """Frames that cannot be used may be told again one by one."""
        self._failures_told = 0

    # --- what it needs ------------------------------------------------------------------------------------------

    def _ask(self) -> Wanted:
        """What all stages that see whole frames want together."""
        wants = [served.wants for stage, served in list(self._answering.items()) if stage in self._roots]
        every = all(want.channels for want in wants)
        channels = tuple(dict.fromkeys(name for want in wants for name in want.channels)) if every else ()
        return Wanted(channels, max((want.sample_rate_hz for want in wants if want.sample_rate_hz), default=None))

    def _fed(self, stage: str, served: Served, captured: Captured, wanted: Wanted) -> list[Ready]:
        try:
            return served.feed(captured, wanted)
        except FrameError as error:
            self._tallies[stage].entered()
            self._failed(Unusable(captured.taken.name, str(error)), stage)
        except SourceError as error:
            self.trouble(error)
        return []

    def _failed(self, unusable: Unusable, stage: str = "") -> None:
        """Nobody's fault but the frame's. `stage`: the only one that could not use it."""
        if stage:
            self._tallies[stage].failed()
        else:
            self.count(Tally.failed)
        self._failures_told += 1
        if self._failures_told <= _MAX_FAILURES_TOLD:
            served = self._answering.get(stage or self._roots[0])
            digest = served.digest if served else ""
            self._say(FrameFailed(stage, digest, unusable.name, of_model=False, detail=unusable.detail))
