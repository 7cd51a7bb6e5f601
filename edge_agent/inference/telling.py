"""The end of a pipeline: what the last stage has finished is told, in order, and models that no frame needs are closed.

It has no thread of its own for the answers: whoever would else wait calls `tell_all`. What the words about a frame are
is left to `answers`.
"""

from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Lock
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.inference.answers import tell
from edge_agent.inference.frame import Frame
from edge_agent.inference.ipc import Result, Serving, SourceEnded, Word
from edge_agent.inference.job import Ended, Job, Served, Switch, Turn
from edge_agent.inference.tally import Tally

_MOST_UNTOLD = 4  # frames

Say = Callable[[Word], None]


class PictureKeeper(Protocol):
    """Who may want to look at the pictures again: snapshots and the preview."""

    def keep(self, frame: Frame, result: Result, turns: Mapping[str, Turn]) -> None: ...


class SampleTaker(Protocol):
    """Who may keep what the models were given."""

    def offer(self, job: Job, result: Result) -> None: ...


class Telling:
    """`resting` is called before each frame or order is told: then all that is known of is nearly done.

    `released` is called when a model has been closed, `answered` with each stage's turn at a frame; it must not wait.
    """

    def __init__(
        self,
        tallies: Mapping[str, Tally],
        say: Say,
        clock: Clock,
        *,
        pictures: PictureKeeper | None,
        samples: SampleTaker | None,
        resting: Callable[[], None],
        released: Callable[[], None],
        answered: Callable[[str, Turn], None],
    ) -> None:
        self._tallies = tallies
        self._say = say
        self._clock = clock
        self._pictures = pictures
        self._samples = samples
        self._resting = resting
        self._released = released
        self._answered_by = answered
        self._done: deque[Job | Switch | Ended] = deque()  # and not told yet
        self._telling = Lock()
        self._answered = 0
        self._source_ended = False
        self._loaded: dict[str, Served] = {}  # by stage
        self._outdated: SimpleQueue[Served | None] = SimpleQueue()

    @property
    def is_behind(self) -> bool:
        """Whether there is something to be told."""
        return bool(self._done)

    @property
    def loaded(self) -> tuple[Served, ...]:
        """What answers frames now."""
        return tuple(self._loaded.values())

    def finished(self, item: Job | Switch | Ended, *, at_once: bool) -> None:
        """On the last stage's thread. What need not be told at once may be told by somebody who has the time."""
        self._done.append(item)
        if at_once or not isinstance(item, Job) or len(self._done) > _MOST_UNTOLD:
            self.tell_all()

    def tell_all(self) -> None:
        """In order, on whichever thread."""
        with self._telling:
            while self._done:
                self._tell(self._done.popleft())

    def close_outdated(self) -> None:
        """The body of a thread: giving memory back takes milliseconds, and no frame is to wait for it."""
        while (served := self._outdated.get()) is not None:
            served.model.close()
            self._released()

    def end(self) -> None:
        """Ends `close_outdated`, once it has closed what it was given."""
        self._outdated.put(None)

    def _tell(self, item: Job | Switch | Ended) -> None:
        self._resting()  # before it is told: what is told last is not held for what comes next
        if isinstance(item, Job):
            self._answered += self._tell_frame(item)
            return
        if isinstance(item, Switch):
            self._hand_over(item)
        else:
            self._source_ended = True
        if self._source_ended:  # said again to each release that will see no frame
            for tally in self._tallies.values():
                self._say(tally.take())
            self._say(SourceEnded(self._answered))

    def _tell_frame(self, job: Job) -> bool:
        """Say what became of it, and whether it was answered."""
        answered = False
        for stage, turn in job.turns.items():
            self._answered_by(stage, turn)
        for word in tell(job, self._tallies, self._clock):
            if isinstance(word, Result):
                answered = True
                if self._pictures is not None and job.frame is not None:
                    self._pictures.keep(job.frame, word, job.turns)
                if self._samples is not None:
                    self._samples.offer(job, word)
            self._say(word)
        return answered

    def _hand_over(self, switch: Switch) -> None:
        stage, new = switch.stage, switch.new
        self._say(self._tallies[stage].switch(new.digest if new else None))
        self._say(_serving(stage, new))
        old = self._loaded.pop(stage, None)
        if new is not None:
            self._loaded[stage] = new
        if old is not None:
            self._outdated.put(old)


def _serving(stage: str, served: Served | None) -> Serving:
    if served is None:
        return Serving(stage)
    report = served.model.engine.report
    return Serving(
        stage, served.digest, report.library, report.delegated, report.threads, report.delegate, report.fell_back
    )
