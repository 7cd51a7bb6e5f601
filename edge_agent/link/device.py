"""The device's side of the wire protocol: what it subscribes to, says of itself, and hands on (docs/mqtt-interface.md).

Events reach `inbox` on the network thread: it must only put them somewhere. Whether a release document is believed
is left to `release.trust`; what `reported` says, to the service.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Self

from edge_agent.link.broker import BrokerSettings
from edge_agent.link.collector import Collector, Take, Tell
from edge_agent.link.events import Connected, Disconnected, Failed, LinkEvent, Receipt, Received, Will
from edge_agent.link.messages import MAX_PACKET_BYTES, OFFLINE, ONLINE
from edge_agent.link.mqtt import Link
from edge_agent.link.pace import Pace
from edge_agent.link.standing import Standing
from edge_agent.link.topics import Topics

_FAREWELL_S = 2.0
_MAX_BACKLOG = 64  # results on their way; a link slower than the results drops them instead of filling the memory


@dataclass(frozen=True, slots=True)
class ReleaseDocument:
    """What is retained for a channel we follow. Not yet verified."""

    model: str
    channel: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """A collector's high-water marks."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The broker does not let us hear these topics (none: it lets us hear all again). They are asked for again."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SamplesAsked:
    """Somebody wants samples; not yet read."""

    payload: bytes


DeviceEvent = Connected | Disconnected | Failed | ReleaseDocument | Ack | SubscriptionRefused | SamplesAsked


class DeviceLink:
    """A device on a broker from `__enter__` to `__exit__`. Every method may be called from any thread."""

    def __init__(
        self,
        settings: BrokerSettings,
        topics: Topics,
        device_id: str,
        followed: Iterable[tuple[str, str]],
        inbox: Callable[[DeviceEvent], None],
        *,
        hears_asks: bool = False,
        window: int = 8,
        pace: Pace | None = None,
        backoff_s: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        self._topics = topics
        self._device_id = device_id
        self._inbox = inbox
        self._window = window
        self._pace = pace
        self._followed = {topics.release(model, channel): (model, channel) for model, channel in followed}
        self._availability = topics.availability(device_id)
        self._ack = topics.ack(device_id)
        self._ask = topics.ask(device_id)
        self._collectors: tuple[Collector, ...] = ()
        self._collectors_changing = Lock()
        self._link = Link(
            settings,
            self._route,
            client_id=f"edge-{device_id}",
            will=Will(self._availability, OFFLINE),
            backoff_s=backoff_s,
            most_bytes=MAX_PACKET_BYTES,
        )
        standing = [topics.echo(device_id), self._ack, *([self._ask] if hears_asks else []), *self._followed]
        self._standing = Standing(self._link, standing, lambda refused: inbox(SubscriptionRefused(refused)))

    def __enter__(self) -> Self:
        self._link.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._link.connected:  # a clean stop takes the will back, so it is said here
            self._link.publish(self._availability, OFFLINE, retain=True).wait(_FAREWELL_S)
        self._standing.close()
        self._link.__exit__(kind, error, trace)

    @property
    def connected(self) -> bool:
        return self._link.connected

    def publish_reported(self, payload: bytes) -> Receipt:
        """Retained. Say it again after each `Connected`: the broker may have forgotten."""
        return self._link.publish(self._topics.reported(self._device_id), payload, retain=True)

    def publish_event(self, payload: bytes, then: Callable[[Receipt], None] | None = None) -> Receipt:
        """The receipt (and `then`, which must only enqueue) tells of the PUBACK; a delivery is a collector's `Ack`."""
        return self._link.publish(self._topics.event(self._device_id), payload, then=then)

    def publish_telemetry(self, payload: bytes, then: Callable[[Receipt], None] | None = None) -> Receipt:
        """As `publish_event`."""
        return self._link.publish(self._topics.telemetry(self._device_id), payload, then=then)

    def publish_bench(self, payload: bytes) -> Receipt:
        """QoS 1, not retained: whoever asks listens, and may ask again."""
        return self._link.publish(self._topics.bench(self._device_id), payload)

    def publish_sample(self, payload: bytes) -> Receipt:
        """QoS 1, not retained: whoever asked listens."""
        return self._link.publish(self._topics.sample(self._device_id), payload)

    def publish_result(self, pipeline: str, payload: bytes) -> bool:
        """QoS 0; says whether it was handed over: offline, or when the link does not keep up, it is dropped."""
        if self._link.backlog > _MAX_BACKLOG:
            return False
        receipt = self._link.publish(self._topics.result(self._device_id, pipeline), payload, qos=0)
        return not receipt.settled or receipt.ok

    def publish_trigger(self, name: str, payload: bytes) -> bool:
        """QoS 1, not retained; says whether it was handed over: offline, it is dropped."""
        if self._link.backlog > _MAX_BACKLOG:
            return False
        receipt = self._link.publish(self._topics.trigger(self._device_id, name), payload)
        return not receipt.settled or receipt.ok

    def collect(self, digests: Sequence[str], take: Take, *, cancelled: Callable[[], bool], trouble: Tell) -> None:
        """Get these chunks: blocking, until all are taken or `cancelled()`; waits while the link is down.

        `take(digest, plaintext)` and `trouble(reason, detail)` run on the caller's thread. Several may run at once;
        they share the window.
        """
        collector = Collector(self._link, self._topics, self._device_id, digests, window=self._share, pace=self._pace)
        self._change_collectors(lambda present: (*present, collector))
        try:
            collector.run(take, cancelled=cancelled, trouble=trouble)
        finally:
            self._change_collectors(lambda present: tuple(other for other in present if other is not collector))

    def _share(self) -> int:
        return self._window // max(1, len(self._collectors))

    def _change_collectors(self, change: Callable[[tuple[Collector, ...]], tuple[Collector, ...]]) -> None:
        with self._collectors_changing:
            self._collectors = change(self._collectors)

    # --- on the network threads: only hand on -----------------------------------------------------------------

    def _route(self, event: LinkEvent) -> None:
        match event:
            case Received(topic, payload, _) if topic in self._followed:
                if payload:  # an empty one clears the channel: nothing new is wanted, nothing is taken away
                    self._inbox(ReleaseDocument(*self._followed[topic], payload))
            case Received(topic, payload, _) if topic == self._ack:
                self._inbox(Ack(payload))
            case Received(topic, payload, retained) if topic == self._ask:
                if not retained:  # that was asked at another time, and perhaps by nobody who is still there
                    self._inbox(SamplesAsked(payload))
            case Received():
                self._offer(event)
            case Connected():
                self._link.publish(self._availability, ONLINE, retain=True)
                self._inbox(event)  # before anything that another network thread hears on this connection
                self._standing.connected()
                self._offer(event)
            case Disconnected():
                self._offer(event)
                self._inbox(event)
            case Failed():
                self._inbox(event)

    def _offer(self, event: LinkEvent) -> None:
        for collector in self._collectors:
            collector.offer(event)
