"""One MQTT connection: the only place that knows paho.

A fresh paho client for every connection, so that no state of an old one survives, and callbacks that do nothing but
hand a value on. Making connections, again and again, is left to `mqtt`.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.link import broker
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.events import Connected, LinkEvent, Receipt, Received, Will

Protocol = Literal["5", "3.1.1"]
_CLOSE_S = 1.0
_DROPPED_TOGETHER = 16_384
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only; lasts for the next ACKs, not for ever
_VERSIONS: dict[Protocol, MQTTProtocolVersion] = {
    "5": MQTTProtocolVersion.MQTTv5,
    "3.1.1": MQTTProtocolVersion.MQTTv311,
}


@dataclass(frozen=True, slots=True)
class Word:
    """How a CONNECT was answered, or that the connection has ended; or, from the link itself, that it is to stop."""

    connection: int
    connack: Connected | None = None
    refusal: str | None = None
    ended: str | None = None
    stop: bool = False


class Connection:
    """One paho client for one connection, never used again."""

    def __init__(
        self,
        number: int,
        settings: BrokerSettings,
        client_id: str,
        protocol: Protocol,
        *,
        inbox: Callable[[LinkEvent], None],
        tell: Callable[[Word], None],
        most_bytes: int | None = None,
    ) -> None:
        self.number = number
        self._settings = settings
        self._inbox = inbox
        self._tell = tell
        # What waits for an answer by message id. Whichever of the caller's thread and paho's comes second finds the
        # other's half by `setdefault`, which is atomic: a lock here would meet paho's own.
        self._pending: dict[int, Receipt | tuple[str | None, ...]] = {}
        self._ended = False
        self._protocol: Protocol = protocol
        self._most_bytes = most_bytes
        self._client = _BoundedClient(
            most_bytes,
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=_VERSIONS[protocol],
            clean_session=None if protocol == "5" else True,  # MQTT 5 says it in CONNECT
            reconnect_on_failure=False,
        )
        self._client.suppress_exceptions = True  # an exception in a callback would end paho's thread in silence
        self._client.connect_timeout = broker.CONNECT_TIMEOUT_S
        self._client.on_socket_open = self._on_socket_open
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_unsubscribe = self._on_unsubscribe

    @property
    def lost(self) -> bool:
        return not self._client.is_connected()

    @property
    def backlog(self) -> int:
        return len(self._pending)

    def open(self, will: Will | None) -> None:
        """Connect and send CONNECT; the answer comes as a word."""
        settings = self._settings
        if settings.tls:
            self._client.tls_set_context(broker.tls_context(settings))
        if settings.username is not None:
            self._client.username_pw_set(settings.username, settings.password)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        try:
            self._client.connect(
                settings.host, settings.port, settings.keepalive_s, properties=self._connect_properties()
            )
        except (OSError, ValueError) as error:
            raise broker.unreachable(settings, error) from error
        self._client.loop_start()

    def _connect_properties(self) -> Properties | None:
        """At MQTT 5 a broker that is told so does not even send what is larger."""
        if self._protocol != "5" or self._most_bytes is None:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
        properties.MaximumPacketSize = self._most_bytes
        return properties

    def close(self) -> None:
        """End it in order; a broker that no longer reads is cut off."""
        self._ended = True
        over = Event()
        self._client.on_disconnect = lambda *_: over.set()
        self._client.disconnect()
        if not over.wait(_CLOSE_S if self._client.socket() is not None else 0):
            open_socket = self._client.socket()
            if open_socket is not None:
                _shut(open_socket)
        self._client.loop_stop()
        # paho closes its inner sockets when it is deleted: at once, if we and it do not hold each other
        for callback in ("connect", "disconnect", "message", "publish", "subscribe", "unsubscribe", "socket_open"):
            setattr(self._client, f"on_{callback}", None)
        for waiting in list(self._pending.values()):
            if isinstance(waiting, Receipt) and not waiting.settled:
                waiting.settle("the connection was lost")
        self._pending.clear()

    def publish(self, topic: str, payload: bytes, qos: Literal[0, 1], retain: bool, receipt: Receipt) -> None:  # noqa: FBT001
        sent = self._client.publish(topic, payload, qos, retain)
        self._await(sent.rc, sent.mid, receipt)

    def subscribe(self, topics: Sequence[str], qos: Literal[0, 1], receipt: Receipt) -> None:
        code, number = self._client.subscribe([(topic, int(qos)) for topic in topics])
        self._await(code, number, receipt)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self._client.unsubscribe(list(topics))

    def _await(self, code: MQTTErrorCode, number: int | None, receipt: Receipt) -> None:
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or number is None:
            receipt.settle(paho.error_string(code))
            return
        there = self._pending.setdefault(number, receipt)
        if isinstance(there, tuple):  # the answer was faster
            self._pending.pop(number, None)
            _answer(receipt, there)
        elif self._ended and not receipt.settled:
            receipt.settle("the connection was lost")

    def _answered(self, number: int, problems: tuple[str | None, ...]) -> None:
        there = self._pending.setdefault(number, problems)
        if isinstance(there, Receipt):
            self._pending.pop(number, None)
            _answer(there, problems)

    # --- paho's callbacks, on paho's thread: each only hands a value on ---------------------------------------

    def _on_socket_open(self, _client: paho.Client, _user: Any, opened: Any) -> None:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # 29 → 246 MB/s

    def _on_connect(self, _client: paho.Client, _user: Any, _flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:  # a refused CONNACK is not "connected"
            self._tell(Word(self.number, refusal=str(reason)))
            return
        connack = Connected(
            self.number,
            self._protocol,
            retain_available=bool(getattr(properties, "RetainAvailable", 1)),
            maximum_packet_bytes=getattr(properties, "MaximumPacketSize", None),
        )
        self._tell(Word(self.number, connack=connack))

    def _on_disconnect(self, _client: paho.Client, _user: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._tell(Word(self.number, ended=str(reason).lower()))

    def _on_message(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        self._inbox(Received(message.topic, bytes(message.payload), message.retain))

    def _on_publish(self, client: paho.Client, _user: Any, number: int, reason: Any, _properties: Any) -> None:
        _acknowledge_at_once(client)
        self._answered(number, (str(reason).lower() if reason.is_failure else None,))

    def _on_subscribe(self, client: paho.Client, _user: Any, number: int, reasons: Any, _properties: Any) -> None:
        _acknowledge_at_once(client)
        self._answered(number, tuple(str(reason).lower() if reason.is_failure else None for reason in reasons))

    def _on_unsubscribe(self, client: paho.Client, _user: Any, _number: int, _reasons: Any, _properties: Any) -> None:
        _acknowledge_at_once(client)


class _BoundedClient(paho.Client):
    """Keeps no more than so many bytes of a packet, whatever comes: the rest of a larger one is read and dropped.

    MQTT's own limit is 256 MB, which paho would gather in memory. What is handed on of such a message is its beginning,
    which is larger than any reader of ours takes. paho has no public place for this; a test holds it to the ones used.
    """

    def __init__(self, most_bytes: int | None, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._most_bytes = most_bytes

    def _is_too_large(self) -> bool:
        return self._most_bytes is not None and self._in_packet["remaining_length"] > self._most_bytes

    def _sock_recv(self, bufsize: int) -> bytes:
        return super()._sock_recv(min(bufsize, _DROPPED_TOGETHER) if self._is_too_large() else bufsize)

    def _packet_read(self) -> MQTTErrorCode:
        code = super()._packet_read()  # returns after at most a hundred receives
        self._drop_surplus()
        return code

    def _packet_handle(self) -> MQTTErrorCode:
        self._drop_surplus()
        return super()._packet_handle()

    def _drop_surplus(self) -> None:
        if self._is_too_large():
            del self._in_packet["packet"][self._most_bytes :]


def _acknowledge_at_once(client: paho.Client) -> None:
    """Brokers keep Nagle on: what they send next waits for our TCP ACK of this answer, which Linux delays by 40 ms."""
    opened: Any = client.socket()
    if opened is not None and _QUICKACK is not None:
        opened.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def _answer(receipt: Receipt, problems: tuple[str | None, ...]) -> None:
    receipt.settle(next((problem for problem in problems if problem is not None), None), problems)


def _shut(opened: Any) -> None:
    try:
        opened.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is gone already, which is what was wanted
