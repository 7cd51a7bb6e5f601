"""When something that failed is tried again: later each time, and never at the same time as everybody else.

What failed and what it means is left to whoever counts.
"""

import math
import random

from edge_agent.clock import Clock

_FIRST_S = 2.0
_LONGEST_S = 300.0


class BackOff:
    """Failures in a row, and the pause they ask for: from 2 s to 5 min, with full jitter. One thread's.

    Full jitter, because a fleet that failed together must not come back together.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failures = 0
        self._retry_at_s = -math.inf

    @property
    def pause_s(self) -> float:
        """How long until the next try is due; 0 when it is."""
        return max(0.0, self._retry_at_s - self._clock.monotonic_s())

    def failed(self) -> None:
        self.failures += 1
        longest_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(self.failures - 1, 10))
        pause_s = random.uniform(0.0, longest_s)  # noqa: S311  # no secret
        self._retry_at_s = self._clock.monotonic_s() + pause_s

    def reset(self) -> None:
        """It went well, or it is about something else now."""
        self.failures = 0
        self._retry_at_s = -math.inf
