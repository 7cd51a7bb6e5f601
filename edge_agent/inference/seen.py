"""What a release has been seen to do, added up from its worker's Figures: what a trial judges by.

`Recent` keeps it of the release that serves, so that the next one can be held against it.
"""

from dataclasses import dataclass, field

from edge_agent.clock import Clock
from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import Figures

_GENERATION_FRAMES = 1000
_GENERATION_S = 300.0  # a scene changes with the hour: what was long ago is nothing to compare with


@dataclass(slots=True, eq=False)
class Seen:
    """The frames that a release answered. Of a stage that sees crops, answers are of crops."""

    digest: str | None = None
    frames: int = 0
    answers: int = 0
    empty: int = 0  # of the answers, those in which nothing was found
    invoke: Histogram = field(default_factory=Histogram)
    scores: dict[int, int] = field(default_factory=dict)  # bin of the best score → answers, see `ipc.SCORE_BINS`

    def hear(self, figures: Figures) -> None:
        """Add them, whichever release they are of."""
        self.frames += figures.answered
        self.answers += figures.frames_out
        self.empty += figures.empty
        invoke = figures.latency.get("invoke", {})
        self.invoke.merge(Histogram.from_json(invoke, figures.latency_max_ms.get("invoke", 0.0)))
        for place, count in figures.scores.items():
            self.scores[int(place)] = self.scores.get(int(place), 0) + count

    def merge(self, other: "Seen") -> None:
        self.frames += other.frames
        self.answers += other.answers
        self.empty += other.empty
        self.invoke.merge(other.invoke)
        for place, count in other.scores.items():
            self.scores[place] = self.scores.get(place, 0) + count


class Recent:
    """The last 1,000 to 2,000 frames, or 5 to 10 minutes, of the release that serves a stage. One thread at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before, self._now = Seen(), Seen()
        self._began_s = clock.monotonic_s()

    def hear(self, figures: Figures) -> None:
        now_s = self._clock.monotonic_s()
        if figures.digest != self._now.digest:
            self._before, self._now, self._began_s = Seen(figures.digest), Seen(figures.digest), now_s
        elif self._now.frames >= _GENERATION_FRAMES or now_s - self._began_s >= _GENERATION_S:
            self._before, self._now, self._began_s = self._now, Seen(figures.digest), now_s
        self._now.hear(figures)

    def seen(self) -> Seen:
        """A copy."""
        both = Seen(self._now.digest)
        both.merge(self._before)
        both.merge(self._now)
        return both
