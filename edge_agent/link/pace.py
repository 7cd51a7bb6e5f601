"""How fast chunks may be asked for, so that no window of time sees more bytes than the cap allows.

A broker sends what is retained at once, and a web server as fast as it can: nobody can slow down what is on its way.
So the cap is kept where chunks are asked for: each is paid for, at its largest, before it is; what it was smaller by is
given back when it has come. Over any time of T seconds there come at most `max_bytes_per_s` x T and one burst: what a
second may bring, or one chunk where that is more. Headers, and what the broker sends unasked, are not counted.
"""

from threading import Lock

from edge_agent.clock import Clock
from edge_agent.link.download import Action, Download, Subscribe
from edge_agent.release.chunks import MAX_PAYLOAD_BYTES


class Pace:
    """The account of one device, for all its fetches and any thread. Without a cap it lets everything pass."""

    def __init__(self, clock: Clock, max_bytes_per_s: float | None = None) -> None:
        self._clock = clock
        self._rate = max_bytes_per_s
        self.burst_bytes = max(max_bytes_per_s or 0.0, float(MAX_PAYLOAD_BYTES))
        self._left_bytes = self.burst_bytes
        self._at_s = clock.monotonic_s()
        self._counting = Lock()

    def take(self, most: int) -> int:
        """How many chunks, at most `most`, may be asked for now. They are paid for."""
        if self._rate is None:
            return most
        with self._counting:
            now_s = self._clock.monotonic_s()
            self._left_bytes = min(self.burst_bytes, self._left_bytes + (now_s - self._at_s) * self._rate)
            self._at_s = now_s
            granted = max(0, min(most, int(self._left_bytes // MAX_PAYLOAD_BYTES)))
            self._left_bytes -= granted * MAX_PAYLOAD_BYTES
            return granted

    def not_asked(self, chunks: int) -> None:
        """So many were paid for and not asked for."""
        self._give_back(chunks * MAX_PAYLOAD_BYTES)

    def came(self, size_bytes: int) -> None:
        """A chunk that was paid for is here, with so many bytes. One that never comes is not paid back."""
        self._give_back(MAX_PAYLOAD_BYTES - size_bytes)

    def _give_back(self, size_bytes: int) -> None:
        with self._counting:
            self._left_bytes = min(self.burst_bytes, self._left_bytes + max(0, size_bytes))


def paced_step(download: Download, pace: Pace, now_s: float) -> list[Action]:
    """`download.step`, which asks for no more than may be."""
    granted = pace.take(download.window)
    download.allowance = granted
    actions = download.step(now_s)
    pace.not_asked(granted - sum(len(action.digests) for action in actions if isinstance(action, Subscribe)))
    return actions
