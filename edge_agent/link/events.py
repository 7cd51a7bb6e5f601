"""What a link tells, as values: events on their way to an inbox, and the receipt for what was sent.

No paho here, so that whoever reads events needs nothing of the network. Making them is left to `mqtt`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Literal

from edge_agent.errors import LinkError


@dataclass(frozen=True, slots=True)
class Connected:
    connection: int  # 1, 2, 3…
    protocol: Literal["5", "3.1.1"]
    retain_available: bool = True
    maximum_packet_bytes: int | None = None  # None: the broker does not say


@dataclass(frozen=True, slots=True)
class Disconnected:
    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """One attempt to connect came to nothing; the next one follows in `retry_in_s`."""

    error: LinkError
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Received:
    topic: str
    payload: bytes
    retained: bool


LinkEvent = Connected | Disconnected | Failed | Received


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes (retained, QoS 1) when we vanish."""

    topic: str
    payload: bytes


class Receipt:
    """What the broker answered to one PUBLISH or SUBSCRIBE. Settled exactly once, at the latest when the link drops."""

    __slots__ = ("_settled", "_then", "problem", "problems")

    def __init__(self, then: Callable[["Receipt"], None] | None = None) -> None:
        self._settled = Event()
        self._then = then
        self.problem: str | None = None  # None: all is well (once settled)
        self.problems: tuple[str | None, ...] = ()  # SUBSCRIBE: one per filter; empty when nothing was answered

    @property
    def settled(self) -> bool:
        return self._settled.is_set()

    @property
    def ok(self) -> bool:
        return self._settled.is_set() and self.problem is None

    def wait(self, timeout_s: float) -> bool:
        """Says whether it is settled within `timeout_s`; then look at `ok` and `problem`."""
        return self._settled.wait(timeout_s)

    def settle(self, problem: str | None, problems: tuple[str | None, ...] = ()) -> None:
        self.problem, self.problems = problem, problems
        self._settled.set()
        if self._then is not None:
            self._then(self)
