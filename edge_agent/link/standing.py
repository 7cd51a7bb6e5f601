"""The subscriptions that stand as long as a device runs: made on each connection, asked for again where refused.

A refusal need not last: an access list is mended, a cluster elects a new leader. Which topics, and what is done with
their messages, is left to `device`.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock, Timer

from edge_agent.link.events import Receipt
from edge_agent.link.mqtt import Link
from edge_agent.link.topics import MAX_FILTERS

_RETRY_S = (2.0, 300.0)  # the first pause at most, and the longest


class Standing:
    """`refused` is told what the broker does not let us hear, each time that changes, on the network or a timer's
    thread: it must only hand on.
    """

    def __init__(
        self,
        link: Link,
        topics: Sequence[str],
        refused: Callable[[tuple[str, ...]], None],
        *,
        retry_s: tuple[float, float] = _RETRY_S,
    ) -> None:
        self._link = link
        self._topics = tuple(topics)
        self._tell = refused
        self._retry_s = retry_s
        self._lock = Lock()
        self._refused: dict[str, None] = {}  # in order
        self._attempt = 0
        self._timer: Timer | None = None
        self._closed = False

    def connected(self) -> None:
        """Ask for all: sessions are clean, so every connection starts from nothing."""
        with self._lock:
            self._attempt = 0
            self._refused.clear()
            self._cancel()
        self._ask(self._topics)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._cancel()

    def answered(self, topics: tuple[str, ...], receipt: Receipt) -> None:
        """What the broker said of one SUBSCRIBE. Without an answer the connection was lost, and all begins anew."""
        if not receipt.problems:
            return
        with self._lock:
            before = tuple(self._refused)
            for topic, problem in zip(topics, receipt.problems, strict=False):
                if problem is None:
                    self._refused.pop(topic, None)
                else:
                    self._refused[topic] = None
            now = tuple(self._refused)
            if now and self._timer is None and not self._closed:
                self._start_timer()
        if now != before:
            self._tell(now)

    def _ask(self, topics: Sequence[str]) -> None:
        for start in range(0, len(topics), MAX_FILTERS):
            some = tuple(topics[start : start + MAX_FILTERS])
            self._link.subscribe(some, then=partial(self.answered, some))

    def _start_timer(self) -> None:
        first_s, longest_s = self._retry_s
        pause_s = random.uniform(0, min(longest_s, first_s * 2 ** min(self._attempt, 16)))  # noqa: S311  # no secret
        self._attempt += 1
        self._timer = Timer(pause_s, self._ask_again)
        self._timer.daemon = True
        self._timer.start()

    def _ask_again(self) -> None:
        with self._lock:
            self._timer = None
            refused = tuple(self._refused)
        self._ask(refused)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
