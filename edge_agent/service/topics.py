"""The topics that are pipelines' sources: heard here, handed on to the workers.

The network thread only puts a message into a short queue; a thread of each topic hands it on, since a worker may be
slow to take it. What a message says is left to the worker.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Condition, Thread

from edge_agent.config.agent import Config
from edge_agent.config.sources import TopicSource
from edge_agent.inference.ipc import Feed, FeedTrouble
from edge_agent.link.subscription import Subscription, subscription_settings

_WAITING = 64  # then the oldest goes, and is counted

Hand = Callable[[Feed | FeedTrouble], object]


class Forwarder:
    """Hands on what it is given, in order, on a thread of its own."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._changed = Condition()
        self._waiting: deque[Feed | FeedTrouble] = deque()
        self._lost = 0  # messages, since one was handed on
        self._closed = False
        self._thread = Thread(target=self._run, name="forward", daemon=True)
        self._thread.start()

    def put(self, message: Feed | FeedTrouble) -> None:
        """Never blocks."""
        with self._changed:
            if len(self._waiting) >= _WAITING:
                self._lost += isinstance(self._waiting.popleft(), Feed)
            self._waiting.append(message)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                message = self._waiting.popleft()
                if isinstance(message, Feed):
                    message, self._lost = replace(message, lost=self._lost), 0
            self._hand(message)


@contextmanager
def heard_topic(config: Config, pipeline: str, hand: Hand) -> Iterator[None]:
    """While this is open, messages of the pipeline's topic go to `hand`.

    Raises:
        LinkError: the password file cannot be read.
    """
    source = config.pipeline[pipeline].source
    assert isinstance(source, TopicSource)
    settings = subscription_settings(source, config.mqtt)
    forwarder = Forwarder(hand)
    client_id = f"edge-{config.device_id}-{pipeline}"
    try:
        with Subscription(settings, source.topic, forwarder.put, client_id=client_id):
            yield
    finally:
        forwarder.close()
