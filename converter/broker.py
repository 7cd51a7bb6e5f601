"""A command's connection to the broker: ask what is retained, read chunks, publish and be sure of it.

Every question ends with a barrier (our own nonce coming back), because MQTT never says that a topic holds nothing.
What is asked and published is left to `publish` and `fleet`.
"""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Self

from edge_agent.clock import SystemClock
from edge_agent.errors import LinkError
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.collector import Collector, Take
from edge_agent.link.events import Connected, Disconnected, LinkEvent, Receipt, Received
from edge_agent.link.messages import MAX_PACKET_BYTES
from edge_agent.link.mqtt import Link
from edge_agent.link.topics import Topics

WINDOW = 8  # chunks read at a time: hosted brokers allow as few as 10 subscriptions
_ANSWER_S = 15.0
_ACK_S = 120.0  # a full flight of chunks on a slow uplink
_IN_FLIGHT = 16
_PACKET_BYTES = 62_000  # a chunk that does not compress, with topic and headers


class Broker:
    """Connected from `__enter__` to `__exit__`; not thread-safe. A lost connection is a LinkError."""

    def __init__(self, settings: BrokerSettings, topics: Topics) -> None:
        self.settings = settings
        self.topics = topics
        self._participant = f"edgectl-{secrets.token_hex(4)}"
        self._echo = topics.echo(self._participant)
        self._blobs = topics.blob("")
        self._events: SimpleQueue[LinkEvent] = SimpleQueue()
        self._collector: Collector | None = None
        self._connack: Connected | None = None
        self._asking = Lock()  # a question and its barrier go out together
        self._clock = SystemClock()
        self._link = Link(settings, self._route, client_id=self._participant, most_bytes=MAX_PACKET_BYTES)

    def __enter__(self) -> Self:
        self._link.__enter__()
        try:
            self._link.connect_or_raise()
            self._await(self._link.subscribe([self._echo]), self._echo)
        except LinkError:
            self._link.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.__exit__(kind, error, trace)

    def check_can_publish(self) -> None:
        """Raise LinkError where the broker has said on connecting that releases cannot be kept on it."""
        connack = self._connack
        if connack is not None and not connack.retain_available:
            raise LinkError(
                f"the broker {self.settings.url} keeps no retained messages",
                hint="releases need them: retain_available",
            )
        if connack is not None and (connack.maximum_packet_bytes or _PACKET_BYTES) < _PACKET_BYTES:
            raise LinkError(
                f"the broker {self.settings.url} takes packets of {connack.maximum_packet_bytes} bytes at most; "
                f"chunks need {_PACKET_BYTES}",
                hint="raise its limit (mosquitto: max_packet_size)",
            )

    # --- asking -------------------------------------------------------------------------------------------------

    def retained(self, filters: Sequence[str], *, grace_s: float = 0.3) -> dict[str, bytes]:
        """Everything retained under `filters` (they stay subscribed): topic to payload, without empty ones.

        Returns at once when each of several exact topics has answered; else when the barrier is back and `grace_s`
        is over.

        Raises:
            LinkError: the barrier does not come back, so something may be missing: of a fleet that was seen in part
                nobody could tell.
        """
        nonce = secrets.token_hex(8).encode()
        # Before anything is acknowledged: behind a queue that overflows the nonce is lost as well, and so nobody takes
        # a part of what there is for all of it.
        with self._asking:
            subscribed = self._link.subscribe(filters)
            self._link.publish(self._echo, nonce)
        self._await(subscribed, ", ".join(filters))
        found: dict[str, bytes] = {}
        deadline_s, barred = self._clock.monotonic_s() + _ANSWER_S, False
        while not set(filters) <= set(found):
            event = self.next_event(deadline_s - self._clock.monotonic_s())
            if event is None:
                break
            if event.topic == self._echo and event.payload == nonce:
                deadline_s, barred = self._clock.monotonic_s() + grace_s, True
            elif event.topic != self._echo:
                found[event.topic] = event.payload
                if not barred:  # much takes its time on a slow link
                    deadline_s = self._clock.monotonic_s() + _ANSWER_S
        if not barred and not set(filters) <= set(found):
            some = f", after {len(found)} messages" if found else ""
            raise LinkError(
                f"the broker {self.settings.url} did not answer on {self._echo} within {_ANSWER_S:.0f} s{some}",
                hint="it drops what does not fit its queues (mosquitto: max_queued_messages 0 lifts the limit)"
                if found
                else "its access list must let this user read and write this topic (docs/mqtt-interface.md)",
            )
        return {topic: payload for topic, payload in found.items() if payload}

    def newest(self, topic: str) -> bytes | None:
        """The last payload that has come on a subscribed topic since it was asked for; None where none has."""
        newest = None
        while (event := self.next_event(0)) is not None:
            if event.topic == topic and event.payload:
                newest = event.payload
        return newest

    def read_chunks(self, digests: Sequence[str], *, grace_s: float) -> list[str]:
        """Read all these chunks once. Returns those that are not there, or not what their name says."""
        return self._collect(digests, lambda *_: None, grace_s)

    def fetch_chunks(self, digests: Sequence[str], *, grace_s: float = 0.3) -> dict[str, bytes]:
        """The plaintexts of these chunks, without those that are not there."""
        found: dict[str, bytes] = {}
        self._collect(list(dict.fromkeys(digests)), found.__setitem__, grace_s)
        return found

    def _collect(self, digests: Sequence[str], take: Take, grace_s: float) -> list[str]:
        if not digests:
            return []
        collector = Collector(
            self._link, self.topics, self._participant, digests, window=lambda: WINDOW, patient=False, grace_s=grace_s
        )
        self._collector = collector
        try:
            left = collector.run(take, cancelled=self._lost, trouble=lambda *_: None)
        finally:
            self._collector = None
        if self._lost():
            raise self._lost_error()
        return [digest for digest in digests if digest in left]

    def listen(self, filters: Sequence[str]) -> None:
        """Subscribe; what comes is given by `next_event`."""
        self._await(self._link.subscribe(filters), ", ".join(filters))

    def next_event(self, timeout_s: float) -> Received | None:
        """The next message (not a chunk); None when none has come in time."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline_s - self._clock.monotonic_s()))
            except Empty:
                return None
            if isinstance(event, Received):
                return event
            if isinstance(event, Disconnected):
                raise self._lost_error(event.reason)

    # --- publishing ---------------------------------------------------------------------------------------------

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """One retained message, acknowledged."""
        self._await(self._link.publish(topic, payload, retain=True), topic)

    def publish(self, topic: str, payload: bytes) -> None:
        """One message that the broker does not keep, acknowledged."""
        self._await(self._link.publish(topic, payload), topic)

    def publish_chunks(self, chunks: Iterable[tuple[str, bytes]], sent: Callable[[int], None]) -> None:
        """Retained payloads by digest, a bounded number on their way; `sent(bytes)` after each acknowledgement."""
        flight: deque[tuple[Receipt, str, int]] = deque()
        for digest, payload in chunks:
            topic = self.topics.blob(digest)
            flight.append((self._link.publish(topic, payload, retain=True), topic, len(payload)))
            if len(flight) >= _IN_FLIGHT:
                self._land(flight, sent)
        while flight:
            self._land(flight, sent)

    def _land(self, flight: deque[tuple[Receipt, str, int]], sent: Callable[[int], None]) -> None:
        receipt, topic, size_bytes = flight.popleft()
        self._await(receipt, topic)
        sent(size_bytes)

    def _await(self, receipt: Receipt, topic: str) -> None:
        if not receipt.wait(_ACK_S):
            raise LinkError(f"the broker {self.settings.url} did not acknowledge {topic} within {_ACK_S:.0f} s")
        if receipt.problem is None:
            return
        if self._lost():
            raise self._lost_error()
        raise LinkError(
            f"the broker {self.settings.url} refuses {topic}: {receipt.problem}",
            hint="its access list must allow it to this user (docs/mqtt-interface.md)",
        )

    def _lost(self) -> bool:
        return not self._link.connected

    def _lost_error(self, reason: str = "") -> LinkError:
        return LinkError(
            f"the connection to the broker {self.settings.url} was lost{f': {reason}' if reason else ''}",
            hint="run it again: what has arrived is not sent twice. If it happens each time, see the broker's log "
            "for a limit on packet size or retained messages",
        )

    def _route(self, event: LinkEvent) -> None:
        """On the network thread: only hands on. Chunks that are collected do not pile up in the queue."""
        if isinstance(event, Received):
            with self._asking:  # a message is acknowledged when this returns
                pass
        if isinstance(event, Connected) and self._connack is None:
            self._connack = event
        collector = self._collector
        if collector is not None:
            collector.offer(event)
            if isinstance(event, Received) and event.topic.startswith(self._blobs):
                return
        self._events.put(event)
