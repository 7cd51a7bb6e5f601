"""A topic that is a pipeline's source, heard in the supervisor and handed on as orders for the pipeline's worker.

It has a connection of its own, also to the broker of [mqtt]: a sensor that floods it takes nothing from releases and
results, which have theirs. What a message says is left to `inference.sources.topic`.
"""

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from edge_agent.config.agent import MqttConfig
from edge_agent.config.row_sources import TopicSource
from edge_agent.errors import LinkError
from edge_agent.inference.ipc import Feed, FeedTrouble, format_line
from edge_agent.link.broker import BrokerSettings, read_settings
from edge_agent.link.events import Connected, Disconnected, Failed, LinkEvent, Receipt, Received
from edge_agent.link.mqtt import Link

MAX_PAYLOAD_BYTES = 64_000  # more is no row; one byte more is handed on, so that the worker tells
_MAX_ORDER_BYTES = 100_000  # fits into an empty socket, so that writing it never waits for a worker that hangs
_BEGINNING = 1_000


class Subscription:
    """Hears `topic` (which may have wildcards) from `__enter__` to `__exit__`.

    `forward` is called on the network threads: it must hand on without waiting.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        topic: str,
        forward: Callable[[Feed | FeedTrouble], None],
        *,
        client_id: str,
        backoff_s: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        self._topic = topic
        self._forward = forward
        self._url = settings.url
        self._closing = False
        self._link = Link(settings, self._route, client_id=client_id, backoff_s=backoff_s)

    def __enter__(self) -> Self:
        self._link.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._link.__exit__(kind, error, trace)

    def _route(self, event: LinkEvent) -> None:
        match event:
            case Received(topic, payload, retained):
                self._forward(_feed(topic, payload, retained=retained))
            case Connected():  # sessions are clean, so every connection starts from nothing
                self._link.subscribe([self._topic], then=self._check)
            case Failed(error, _):
                self._forward(FeedTrouble(str(error), error.hint))
            case Disconnected(_, reason) if not self._closing:
                self._forward(
                    FeedTrouble(
                        f"the connection to {self._url} was lost: {reason}", "the agent connects again by itself"
                    )
                )

    def _check(self, receipt: Receipt) -> None:
        if receipt.problems and receipt.problem is not None:  # without an answer the connection was lost, which is told
            self._forward(
                FeedTrouble(
                    f"the broker {self._url} does not let us hear {self._topic}: {receipt.problem}",
                    "its access list must allow this user to read the topic",
                )
            )


def _feed(topic: str, payload: bytes, *, retained: bool) -> Feed:
    order = Feed(topic, payload[: MAX_PAYLOAD_BYTES + 1].decode(errors="replace"), retained)
    if len(payload) > _BEGINNING and len(format_line(order)) > _MAX_ORDER_BYTES:
        # Full of what JSON escapes or UTF-8 has not: no row, and its beginning is enough to tell.
        return replace(order, payload=order.payload[:_BEGINNING])
    return order


def subscription_settings(source: TopicSource, mqtt: MqttConfig | None) -> BrokerSettings:
    """Of the broker that a topic is heard from: its own, or that of [mqtt].

    Raises:
        LinkError: the password file cannot be read.
    """
    if source.url is not None:
        own = MqttConfig(url=source.url, username=source.username, password_file=source.password_file)
        return read_settings(own)
    if mqtt is None:
        raise LinkError(f"the topic {source.topic} needs [mqtt], or a url of its own")
    return read_settings(mqtt)
