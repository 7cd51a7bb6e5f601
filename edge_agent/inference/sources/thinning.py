"""Which of a source's pictures are used at all: every n-th, and of a live source at most so many a second.

A source asks before it decodes, converts or reads a picture, so what is not used costs next to nothing.
"""

from edge_agent.clock import Clock


class Thinning:
    """Counts what it is asked about. One thread asks.

    `max_fps` is for sources with a pace of their own, which have to be read on; `capture` paces the others.
    """

    def __init__(self, clock: Clock, *, every_n: int = 1, max_fps: float | None = None) -> None:
        self._clock = clock
        self._every_n = every_n
        self._period_s = 1 / max_fps if max_fps else 0.0
        self._due_s: float | None = None
        self._seen = 0

    def lets_through(self) -> bool:
        """Whether the picture that has just come is one to be used. Asked once for each."""
        number = self._seen
        self._seen += 1
        if number % self._every_n:
            return False
        if not self._period_s:
            return True
        now_s = self._clock.monotonic_s()
        if self._due_s is not None and now_s < self._due_s:
            return False
        # From when it was due, not from now: a camera's own rhythm would else make each wait for the picture after.
        due_s = now_s if self._due_s is None else max(self._due_s, now_s - self._period_s)
        self._due_s = due_s + self._period_s
        return True
