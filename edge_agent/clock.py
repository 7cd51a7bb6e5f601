"""The only place that asks the machine for the time, and whether it is sure of it."""

import time
from pathlib import Path
from threading import Event
from typing import Protocol

_TIMESYNCD = Path("/run/systemd/timesync/synchronized")  # made by systemd-timesyncd, once in each boot
_TIME_ERROR = 5  # of adjtimex(2): nobody disciplines the kernel's clock


class Clock(Protocol):
    def now_s(self) -> float:
        """Wall time, seconds since the epoch. A Pi without a network may be decades off."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start, never backwards."""
        ...

    def wait(self, event: Event, timeout_s: float) -> bool:
        """Block until `event` is set or `timeout_s` is over; says whether it is set."""
        ...


class SystemClock:
    def now_s(self) -> float:
        return time.time()  # noqa: TID251  # the one permitted place

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, event: Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


def is_synchronized(flag: Path = _TIMESYNCD) -> bool:
    """Whether a time server has set the wall clock: only then does it say more than what we know otherwise.

    A Pi has no clock battery: it boots at the time of the last shutdown, or in 1970; and a clock that has one may have
    been set to anything.
    """
    try:
        return flag.exists() or _kernel_is_synchronized()
    except OSError:
        return False


def _kernel_is_synchronized() -> bool:
    """What chrony and ntpd tell the kernel; no where it may not be asked."""
    import ctypes  # here: the supervisor is to stay small, and with timesyncd never comes this way

    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)  # Linux only
    if adjtimex is None:
        return False
    timex = (ctypes.c_long * 64)()  # larger than `struct timex` anywhere; all zeros only asks
    state = adjtimex(ctypes.byref(timex))
    return bool(0 <= state != _TIME_ERROR)
