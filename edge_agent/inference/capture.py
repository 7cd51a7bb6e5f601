"""The first thread of a worker: takes from the source at its pace, and opens it again when it gives nothing.

Whether what it takes waits or replaces what waits is left to whoever receives it, in `pipeline`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.config.sources import SourceConfig, given_by, pace_hz, repeats
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Nothing, Taken, Unusable, Wanted
from edge_agent.inference.sources.source import Source

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0
_CATCH_UP_S = 0.5  # rows that are late come in a burst, for a sensor's rate is part of its windows; pictures don't


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A frame or row, and what it took to get it."""

    taken: Taken
    capture_ms: float


class Receiver(Protocol):
    """What becomes of what is captured. All on the capturing thread."""

    def asks_for(self) -> Wanted:
        """What the models of now want."""
        ...

    def received(self, captured: Captured) -> None: ...
    def unusable(self, unusable: Unusable) -> None: ...
    def trouble(self, error: SourceError) -> None: ...
    def ended(self) -> None: ...


def capture(
    open_source: Callable[[], Source],
    config: SourceConfig,
    receiver: Receiver,
    *,
    clock: Clock,
    wanted: Event,
    stopped: Event,
) -> None:
    """Run until the source has ended or `stopped` is set (set `wanted` too, to wake it up).

    Nothing is taken while `wanted` is not set: without a model nobody would see the frames.
    """
    pace = _Pace(clock, stopped, config)
    retry_s = _FIRST_RETRY_S
    while _may_go_on(wanted, stopped):
        taken = 0
        try:
            with open_source() as source:
                while _may_go_on(wanted, stopped) and pace.wait():
                    began_s = clock.monotonic_s()
                    item = source.take(receiver.asks_for())
                    if item is None:
                        receiver.ended()
                        return
                    if isinstance(item, Unusable):
                        receiver.unusable(item)
                        continue
                    retry_s = _FIRST_RETRY_S
                    if isinstance(item, Nothing):
                        continue
                    taken += 1
                    took_s = clock.monotonic_s() - began_s
                    since_s = clock.now_s() - item.captured_s  # a camera is waited for: that is nobody's latency
                    receiver.received(Captured(item, 1000 * min(took_s, max(0.0, since_s))))
        except SourceError as error:
            if taken and not repeats(config):  # a file that is damaged further on: do not play its beginning for ever
                receiver.trouble(error)
                receiver.ended()
                return
            receiver.trouble(_with_promise(error))
            clock.wait(stopped, retry_s)
            retry_s = min(retry_s * 2, _LONGEST_RETRY_S)


def _with_promise(error: SourceError) -> SourceError:
    """Said here and not by the sources: `bench` and `infer` do not try again."""
    promise = "it is tried again by itself"
    return SourceError(str(error), hint=f"{error.hint} ({promise})" if error.hint else promise)


def _may_go_on(wanted: Event, stopped: Event) -> bool:
    wanted.wait()
    return not stopped.is_set()


class _Pace:
    """Lets one item go every 1 / rate s, on the average; without a rate, at once."""

    def __init__(self, clock: Clock, stopped: Event, config: SourceConfig) -> None:
        rate = pace_hz(config)
        self._clock = clock
        self._stopped = stopped
        self._period_s = 1 / rate if rate else 0.0
        self._catch_up_s = _CATCH_UP_S if given_by(config) == "rows" else self._period_s
        self._due_s: float | None = None

    def wait(self) -> bool:
        """Wait for the next one's time; False when the worker is ending."""
        if not self._period_s:
            return not self._stopped.is_set()
        now_s = self._clock.monotonic_s()
        due_s = now_s if self._due_s is None else max(self._due_s, now_s - self._catch_up_s)
        self._due_s = due_s + self._period_s
        return not (due_s > now_s and self._clock.wait(self._stopped, due_s - now_s))
