"""The only place that asks the machine for the time."""

import time
from threading import Event
from typing import Protocol


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
