"""What one stage has done since it last said so. Every thread of the worker adds to it."""

import math
from collections.abc import Mapping, Sequence
from threading import Lock

from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import SCORE_BINS, STEPS, Figures
from edge_agent.tasks.prediction import Prediction


class Tally:
    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._lock = Lock()
        self._digest: str | None = None
        self._begin()

    def entered(self, count: int = 1) -> None:
        """A frame, window or crop has come in."""
        with self._lock:
            self._entered += count

    def dropped(self) -> None:
        """One that had come in has made room for a newer one."""
        with self._lock:
            self._dropped += 1

    def failed(self, count: int = 1) -> None:
        """One that had come in cannot be used."""
        with self._lock:
            self._failed += count

    def finished(self, latency_ms: Mapping[str, float], count: int = 1) -> None:
        """A frame has been answered: one that came in, or so many crops of it, each of which took `latency_ms`."""
        with self._lock:
            self._finished += count
            self._answered += 1
            for step, value_ms in latency_ms.items():
                for _ in range(count):
                    self._latency[step].add(value_ms)

    def found(self, predictions: Sequence[Prediction]) -> None:
        """What the answer to one frame, window or crop was, the best first."""
        with self._lock:
            if not predictions:
                self._empty += 1
                return
            score = predictions[0].score
            place = int(min(max(score, 0.0), 1.0) * SCORE_BINS) if math.isfinite(score) else 0  # a plugin may say so
            place = min(place, SCORE_BINS - 1)
            self._scores[place] = self._scores.get(place, 0) + 1

    def take(self) -> Figures:
        """All since the last time, leaving nothing."""
        with self._lock:
            return self._take()

    def switch(self, digest: str | None) -> Figures:
        """What is counted from here on is of another release; gives what was counted of the one before."""
        with self._lock:
            figures = self._take()
            self._digest = digest
            return figures

    def _take(self) -> Figures:
        figures = Figures(
            self._stage,
            self._entered,
            self._finished,
            self._answered,
            self._dropped,
            self._failed,
            {step: histogram.to_json() for step, histogram in self._latency.items() if histogram.count},
            {step: round(histogram.max_ms, 3) for step, histogram in self._latency.items() if histogram.count},
            self._digest,
            self._empty,
            {str(place): count for place, count in self._scores.items()},
        )
        self._begin()
        return figures

    def _begin(self) -> None:
        self._entered = self._finished = self._answered = self._dropped = self._failed = self._empty = 0
        self._scores: dict[int, int] = {}
        self._latency = {step: Histogram() for step in STEPS}
