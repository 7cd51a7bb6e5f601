"""Messages that somebody else hears for a worker, until its source takes them.

The worker's listening thread puts them in as orders come (`ipc.Feed`), the capturing thread takes them out. It outlives
the source, which is opened again after each trouble. What a message says is left to `topic`.
"""

from collections import deque
from dataclasses import dataclass, replace
from threading import Condition

from edge_agent.clock import Clock
from edge_agent.errors import SourceError
from edge_agent.inference.ipc import Feed, FeedTrouble

_MAX_WAITING = 64  # then the oldest goes: while no model is loaded, nobody takes any
_MAX_TOPICS = 1024  # of which the last message is remembered


@dataclass(frozen=True, slots=True)
class Message:
    """A message, and when this worker got it."""

    topic: str
    payload: str
    captured_s: float  # wall time
    time_s: float  # monotonic
    stale: bool  # of an unknown age: neither before nor behind it is anything that belongs to it
    after_gap: bool  # messages before it are lost


class Mailbox:
    """The last messages, and what is wrong with the connection, in their order. Any thread may call any method."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = Condition()
        self._waiting: deque[Message | SourceError] = deque()
        self._last: dict[str, int] = {}  # hash of the last payload, by topic
        self._lost = False

    def feed(self, order: Feed | FeedTrouble) -> None:
        """Never blocks. What the broker has kept and we have heard already is no news, and left out."""
        with self._changed:
            if isinstance(order, FeedTrouble):
                if self._waiting and isinstance(self._waiting[-1], SourceError):
                    self._waiting.pop()  # the newest trouble is the one to know
                self._waiting.append(SourceError(order.detail, hint=order.hint))
            elif not self._is_known(order):
                self._put(order)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Message | None:
        """The next message; None when there is none within `timeout_s`.

        Raises:
            SourceError: the topic could not be heard; what is taken next is behind that.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout_s):
                return None
            item = self._waiting.popleft()
            if isinstance(item, SourceError):
                raise item
            lost, self._lost = self._lost, False
        return replace(item, after_gap=True) if lost else item

    def _is_known(self, order: Feed) -> bool:
        """Whether this is the retained message again, as each connection brings it."""
        this = hash(order.payload)
        known = order.retained and self._last.get(order.topic) == this
        self._last.pop(order.topic, None)
        self._last[order.topic] = this
        if len(self._last) > _MAX_TOPICS:
            self._last.pop(next(iter(self._last)))
        return known

    def _put(self, order: Feed) -> None:
        if len(self._waiting) >= _MAX_WAITING:
            self._waiting.popleft()
            self._lost = True  # before what is taken next
        now_s, time_s = self._clock.now_s(), self._clock.monotonic_s()
        self._waiting.append(Message(order.topic, order.payload, now_s, time_s, order.retained, order.lost > 0))
