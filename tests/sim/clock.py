"""A clock that goes only when it is told to."""

from threading import Event


class FakeClock:
    """`Clock` for tests: waiting is over at once, and takes the time it was given."""

    def __init__(self, now_s: float = 1_750_000_000.0) -> None:
        self._began_s = now_s
        self._passed_s = 0.0

    def now_s(self) -> float:
        return self._began_s + self._passed_s

    def monotonic_s(self) -> float:
        return self._passed_s

    def wait(self, event: Event, timeout_s: float) -> bool:
        if not event.is_set():
            self.advance(timeout_s)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        self._passed_s += seconds
