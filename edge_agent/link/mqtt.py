"""The link to the broker: MQTT 5, else 3.1.1, connected again by itself with full jitter.

Nothing is kept for later: what could not be sent fails its `Receipt`, and whoever wanted it sent knows best whether
it still matters. What topics mean is left to `device` and to the laptop; paho, to `connection`.
"""

import random
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Literal, Self

from edge_agent.clock import SystemClock
from edge_agent.errors import LinkError
from edge_agent.link import broker
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.connection import Connection, Protocol, Word
from edge_agent.link.events import Connected, Disconnected, Failed, LinkEvent, Receipt, Will
from edge_agent.link.topics import MAX_FILTERS

_SETTLED_S = 10.0  # a connection that lasted this long was a good one: back off from the start again
_LOOK_S = 5.0  # how often the link looks whether paho is still there by itself
_CLOSE_S = 1.0
_MQTT5_ANSWER_S = 4.0  # some 3.1.1 brokers (amqtt) wait for ever for the rest of an MQTT 5 CONNECT that has a will
_PROTOCOLS: tuple[Protocol, ...] = ("5", "3.1.1")
_UNSUPPORTED_PROTOCOL = "Unsupported protocol version"

# By broker, what it answered to last: waiting for the answer to an MQTT 5 CONNECT costs seconds, and a command has
# several links.
_SPOKEN: dict[str, Protocol] = {}


class Link:
    """A connection that is kept up from `__enter__` to `__exit__`. Every method may be called from any thread.

    `inbox` is called on the network thread with every event: it must only put it somewhere. Of a packet larger than
    `most_bytes` only the beginning is kept in memory and handed on; a broker that speaks MQTT 5 does not send it.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        inbox: Callable[[LinkEvent], None],
        *,
        client_id: str,
        will: Will | None = None,
        backoff_s: tuple[float, float] = (1.0, 60.0),
        most_bytes: int | None = None,
    ) -> None:
        self.settings = settings
        self._inbox = inbox
        self._client_id = client_id
        self._will = will
        self._backoff_s = backoff_s
        self._most_bytes = most_bytes
        self._clock = SystemClock()
        self._spoken: Protocol = _SPOKEN.get(settings.url, "5")  # what is tried first
        self._stopping = Event()
        self._first = Event()  # set by the first outcome: connected, or the reason why not
        self._failure: LinkError | None = None
        self._words: SimpleQueue[Word] = SimpleQueue()  # from paho's thread and from callers to our own
        self._connection: Connection | None = None
        self._count = 0
        self._thread = Thread(target=self._run, name=f"link-{client_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stopping.set()
        self._words.put(Word(0, stop=True))
        self._thread.join(2 * _CLOSE_S + 1)  # a name server or a dead host may hold it; it is a daemon and ends itself

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def connection(self) -> int | None:
        """The number of the present connection."""
        current = self._connection
        return None if current is None else current.number

    @property
    def backlog(self) -> int:
        """Messages handed over and not yet answered (QoS 0: not yet written)."""
        current = self._connection
        return 0 if current is None else current.backlog

    def connect_or_raise(self, timeout_s: float = 30.0) -> None:
        """Wait for the first connection; for commands, which had better fail than wait.

        Raises:
            LinkError: unreachable, refused, or a TLS failure, with what was tried and what to try.
        """
        if not self._first.wait(timeout_s):
            raise broker.unreachable(self.settings, TimeoutError())
        if self._failure is not None:
            raise self._failure

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: Literal[0, 1] = 1,
        retain: bool = False,
        then: Callable[[Receipt], None] | None = None,
    ) -> Receipt:
        """Hand a message over. Offline, the receipt is settled with a problem at once and nothing is kept."""
        receipt = Receipt(then)
        current = self._connection
        if current is None:
            receipt.settle("there is no connection")
        else:
            current.publish(topic, payload, qos, retain, receipt)
        return receipt

    def subscribe(
        self, topics: Sequence[str], *, qos: Literal[0, 1] = 1, then: Callable[[Receipt], None] | None = None
    ) -> Receipt:
        """Ask for at most `MAX_FILTERS` topics; `receipt.problems` tells about each."""
        assert 0 < len(topics) <= MAX_FILTERS
        receipt = Receipt(then)
        current = self._connection
        if current is None:
            receipt.settle("there is no connection")
        else:
            current.subscribe(topics, qos, receipt)
        return receipt

    def unsubscribe(self, topics: Sequence[str]) -> None:
        current = self._connection
        if current is not None and topics:
            current.unsubscribe(topics)

    def reconnect(self) -> None:
        """Give this connection up and make another: the broker is there and does not answer."""
        current = self._connection
        if current is not None:
            self._words.put(Word(current.number, ended="we gave it up: the broker did not answer"))

    # --- the link's own thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            try:
                connection, connack = self._open()
            except LinkError as error:
                attempt += 1
                retry_in_s = self._jitter_s(attempt)
                self._settle_first(error)
                if not self._stopping.is_set():
                    self._inbox(Failed(error, retry_in_s))
                self._stopping.wait(retry_in_s)
                continue
            began_s = self._clock.monotonic_s()
            self._keep(connection, connack)
            attempt = 1 if self._clock.monotonic_s() - began_s >= _SETTLED_S else attempt + 1
            self._stopping.wait(self._jitter_s(attempt))

    def _keep(self, connection: Connection, connack: Connected) -> None:
        """Serve one connection until it ends."""
        self._connection = connection
        self._inbox(connack)
        self._settle_first(None)
        reason = self._await_end(connection)
        self._connection = None
        connection.close()
        self._inbox(Disconnected(connection.number, reason))

    def _await_end(self, connection: Connection) -> str:
        while True:
            try:
                word = self._words.get(timeout=_LOOK_S)
            except Empty:
                if connection.lost:  # paho can lose its socket without a callback
                    return "the connection was lost"
                continue
            if word.stop:
                return "we closed it"
            if word.connection == connection.number and word.ended is not None:
                return word.ended

    def _open(self) -> tuple[Connection, Connected]:
        """One attempt: MQTT 5, and 3.1.1 where the broker knows no better."""
        error = LinkError("no attempt was made")
        for protocol in sorted(_PROTOCOLS, key=lambda protocol: protocol != self._spoken):
            if self._stopping.is_set():
                break
            self._count += 1
            connection = Connection(
                self._count,
                self.settings,
                self._client_id,
                protocol,
                inbox=self._inbox,
                tell=self._words.put,
                most_bytes=self._most_bytes,
            )
            try:
                connection.open(self._will)
                word = self._await_connack(connection, _MQTT5_ANSWER_S if protocol == "5" else broker.CONNECT_TIMEOUT_S)
            except LinkError:
                connection.close()
                raise
            if word.connack is not None:
                self._spoken = _SPOKEN[self.settings.url] = protocol
                return connection, word.connack
            connection.close()
            if word.refusal not in (None, _UNSUPPORTED_PROTOCOL):
                raise broker.refused(self.settings, str(word.refusal))
            error = broker.closed_early(self.settings, word.refusal or word.ended or "no reason given")
        raise error

    def _await_connack(self, connection: Connection, timeout_s: float) -> Word:
        deadline_s = self._clock.monotonic_s() + timeout_s
        while True:
            try:
                word = self._words.get(timeout=max(0.0, deadline_s - self._clock.monotonic_s()))
            except Empty:
                if timeout_s < broker.CONNECT_TIMEOUT_S:
                    return Word(connection.number, ended="no answer to an MQTT 5 CONNECT")
                raise broker.unreachable(self.settings, TimeoutError()) from None
            if word.stop:
                raise LinkError("stopped while connecting")
            if word.connection == connection.number:
                return word

    def _settle_first(self, failure: LinkError | None) -> None:
        if not self._first.is_set():
            self._failure = failure
            self._first.set()

    def _jitter_s(self, attempt: int) -> float:
        """Full jitter, so that a fleet whose broker was away does not come back as one."""
        first_s, longest_s = self._backoff_s
        return random.uniform(0, min(longest_s, first_s * 2 ** min(attempt - 1, 16)))  # noqa: S311  # no secret
