"""Release documents become targets, on a thread of its own: a verification takes half a second of a small machine.

What is believed is kept by `trusted`, so that after a start the device knows what its channels want before any broker
has spoken, and nobody can show it an older document. What was refused is judged again later, and what was believed when
it expires. Acting on a target is left to the updaters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.disk import Disk
from edge_agent.errors import EdgeError
from edge_agent.release.document import Target
from edge_agent.service.trusted import Channel, Trusted, Verify

__all__ = ["Channel", "Documents"]  # who offers documents names channels

_FIRST_RETRY_S = 30.0  # doubles
_LONGEST_RETRY_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Judged again later: a clock may be set, a disk freed, a busy machine become idle."""

    payload: bytes
    pause_s: float
    retry_at_s: float


@dataclass(frozen=True, slots=True)
class _Fresh:
    """Believed, for as long as it lasts."""

    payload: bytes
    expires_s: float


class Documents:
    """Judges what is offered, in its order. `is_synchronized`: whether the wall clock was set by a time server."""

    def __init__(
        self,
        disk: Disk,
        root: bytes,
        clock: Clock,
        verify: Verify,
        *,
        on_target: Callable[[Channel, Target], None],
        on_refusal: Callable[[Channel, EdgeError], None],
        device_class: str = "",
        is_synchronized: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._trusted = Trusted(disk, root, clock, verify, device_class=device_class, is_synchronized=is_synchronized)
        self._on_target = on_target
        self._on_refusal = on_refusal
        self._refused: dict[Channel, _Refusal] = {}
        self._fresh: dict[Channel, _Fresh] = {}
        self._offers: SimpleQueue[tuple[Channel, bytes]] = SimpleQueue()
        self._wake = Event()
        self._stop = Event()
        self._thread = Thread(target=self._work, name="documents", daemon=True)

    def recall(self, channel: Channel) -> Target | None:
        """What this channel wanted when the device last believed a document of it. Before the thread is started."""
        return self._trusted.recall(channel)

    def offer(self, channel: Channel, payload: bytes) -> None:
        """A document has arrived. Returns at once."""
        self._offers.put((channel, payload))
        self._wake.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()  # before looking: what comes while we look wakes us again
            offer = self._next()
            if offer is not None:
                self._consider(*offer)
            elif self._refused or self._fresh:
                self._clock.wait(self._wake, self._pause_s())
            else:
                self._wake.wait()

    def _pause_s(self) -> float:
        """Until the next document is due to be judged again. The wall clock may be set meanwhile: an hour at most."""
        now_s, monotonic_s = self._trusted.now_s(), self._clock.monotonic_s()
        pauses = [refusal.retry_at_s - monotonic_s for refusal in self._refused.values()]
        pauses += [min(fresh.expires_s - now_s, _LONGEST_RETRY_S) for fresh in self._fresh.values()]
        return max(0.0, min(pauses))

    def _next(self) -> tuple[Channel, bytes] | None:
        """What has come since, else what was refused and is due to be judged again."""
        try:
            while True:
                channel, payload = self._offers.get_nowait()
                before = self._refused.get(channel)
                if before is None or before.payload != payload:  # retained messages come again with every connection
                    return channel, payload
        except Empty:
            return self._due()

    def _due(self) -> tuple[Channel, bytes] | None:
        now_s, monotonic_s = self._trusted.now_s(), self._clock.monotonic_s()
        again = [(channel, old.payload) for channel, old in self._refused.items() if old.retry_at_s <= monotonic_s]
        again += [(channel, fresh.payload) for channel, fresh in self._fresh.items() if fresh.expires_s <= now_s]
        return next(iter(again), None)

    def _consider(self, channel: Channel, payload: bytes) -> None:
        try:
            verified = self._trusted.believe(channel, payload)
        except EdgeError as error:
            before = self._refused.get(channel)
            again = before is not None and before.payload == payload
            pause_s = min(before.pause_s * 2, _LONGEST_RETRY_S) if before and again else _FIRST_RETRY_S
            self._refused[channel] = _Refusal(payload, pause_s, self._clock.monotonic_s() + pause_s)
            fresh = self._fresh.get(channel)
            if fresh is not None and fresh.payload == payload:
                del self._fresh[channel]
            self._on_refusal(channel, error)
        else:
            self._refused.pop(channel, None)
            if math.isfinite(verified.expires_s):
                self._fresh[channel] = _Fresh(payload, verified.expires_s)
            self._on_target(channel, verified.target)
