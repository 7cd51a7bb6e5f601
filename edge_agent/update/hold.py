"""Whether a fetch may go on now: not in quiet hours, and not before this device's turn.

Nothing is remembered of the clock but when a release was first wanted: whoever fetches asks again each moment, so a
clock that jumps is followed, in both directions. What is done meanwhile is left to `updater`.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from edge_agent.clock import Clock
from edge_agent.config.quiet import QuietHours
from edge_agent.errors import Reason
from edge_agent.release.document import Target
from edge_agent.release.trust import created_s
from edge_agent.update.status import Problem


def local_time(now_s: float) -> datetime:
    return datetime.fromtimestamp(now_s, UTC).astimezone()


def share_of(device_id: str, digest: str) -> float:
    """A device's place among all that want a release, from 0 to 1: the same each time, another for the next one."""
    name = hashlib.sha256(f"{device_id}\n{digest}".encode()).digest()
    return int.from_bytes(name[:8], "big") / (1 << 64)


class Hold:
    """One stage's. Asked at least once a second while it holds, and several times a second during a fetch."""

    def __init__(
        self,
        device_id: str,
        clock: Clock,
        *,
        quiet: QuietHours | None = None,
        spread_s: float = 0.0,
        local: Callable[[float], datetime] = local_time,
    ) -> None:
        self._device_id = device_id
        self._clock = clock
        self._quiet = quiet
        self._spread_s = spread_s
        self._local = local
        self._wanted: str | None = None
        self._turn_s = 0.0  # on the monotonic clock
        self._told = ""

    def __call__(self, target: Target) -> Problem | None:
        """Why not now; None: go on."""
        if self._quiet is not None:
            now = self._local(self._clock.now_s())
            if self._quiet.hold(now.hour * 60 + now.minute):
                return Problem(Reason.POSTPONED, f"waits for the end of quiet hours at {self._quiet.end}")
        if self._spread_s > 0 and not self._is_its_turn(target):
            return Problem(Reason.POSTPONED, self._told)
        return None

    def _is_its_turn(self, target: Target) -> bool:
        """Counted from when the release was signed, so that a restart does not begin the waiting anew; or, as that
        clock may be wrong, from when this agent first wanted it: whichever is over first.
        """
        wait_s = share_of(self._device_id, target.digest) * self._spread_s
        now_s = self._clock.now_s()
        if self._wanted != target.digest:
            self._wanted = target.digest
            self._turn_s = self._clock.monotonic_s() + wait_s
            at = self._local(now_s) + timedelta(seconds=min(wait_s, max(0.0, created_s(target) + wait_s - now_s)))
            self._told = f"waits for its turn at {at:%H:%M:%S}: fetches are spread over {self._spread_s:g} s"
        return self._clock.monotonic_s() >= self._turn_s or now_s >= created_s(target) + wait_s
