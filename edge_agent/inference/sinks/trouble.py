"""What is told of a sink that cannot write: at once, with what it has cost, and not over and over.

Why it cannot is the sink's to say (`sink`); where it is told is left to whoever asks.
"""

from edge_agent.clock import Clock
from edge_agent.inference.sinks.sink import Sink

_TELL_AGAIN_S = 600.0  # a link that comes and goes is one piece of news, and another after a while


class SinkTrouble:
    """The troubles of one sink. Of the thread that feeds it."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._told_s: float | None = None

    def now(self) -> str | None:
        """What is wrong now, and how many results it has cost since the start; None: the last one was written."""
        problem = self._sink.problem
        if problem is None:
            return None
        dropped = self._sink.dropped
        cost = f"{dropped} result{'s' if dropped > 1 else ''} lost so far" if dropped else "no result is lost yet"
        return f"{problem}; {cost}"

    def news(self) -> str | None:
        """The same, unless something of it was told in the last ten minutes. Ask often: it costs next to nothing."""
        now_s = self._clock.monotonic_s()
        if self._told_s is not None and now_s - self._told_s < _TELL_AGAIN_S:
            return None
        trouble = self.now()
        if trouble is not None:
            self._told_s = now_s
        return trouble
