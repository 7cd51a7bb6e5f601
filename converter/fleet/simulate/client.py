"""A small MQTT 3.1.1 client for thousands of connections in one process (OASIS MQTT 3.1.1, chapters 2 and 3).

paho costs a thread a client and ends at 339 of them, where `select` ends; here a client is one asyncio protocol. It
knows what a simulated device needs and no more: clean sessions, a will, QoS 0 and 1, exact answers to SUBSCRIBE. Real
devices and `edgectl` talk through `edge_agent.link`.
"""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_MAX_PACKET_BYTES = 1_000_000  # sixteen times the largest payload of the protocol: more is an attack or a mistake
_CONNECT, _CONNACK, _PUBLISH, _PUBACK = 0x10, 0x20, 0x30, 0x40
_SUBSCRIBE, _SUBACK, _UNSUBSCRIBE, _UNSUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = (
    0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0,
)  # fmt: skip
_REFUSED = 0x80  # in a SUBACK
_CLEAN_SESSION, _WILL, _WILL_QOS_1, _WILL_RETAIN, _PASSWORD, _USER = 0x02, 0x04, 0x08, 0x20, 0x40, 0x80


@dataclass(frozen=True, slots=True)
class Identity:
    """Who connects. The will is retained, QoS 1."""

    client_id: str
    will_topic: str
    will_payload: bytes
    username: str | None = None
    password: str | None = None
    keepalive_s: int = 30


class Listener(Protocol):
    """What a client tells, on the loop."""

    def connected(self) -> None: ...

    def received(self, topic: str, payload: bytes) -> None: ...

    def granted(self, number: int, problems: tuple[str | None, ...]) -> None:
        """The answer to the SUBSCRIBE of this number: a problem for each filter that was refused."""

    def lost(self, why: str) -> None:
        """The connection is over, or never was; once."""


class Client(asyncio.Protocol):
    """One connection. Everything is for the loop's thread; what is sent after it was lost goes nowhere."""

    def __init__(self, identity: Identity, listener: Listener) -> None:
        self._identity = identity
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._waiting = bytearray()
        self._number = 0
        self._why = "the broker closed the connection"
        self._open = False
        self._heard_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._pulse: asyncio.TimerHandle | None = None

    # --- sending ------------------------------------------------------------------------------------------------

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        number = struct.pack(">H", self._next_number()) if qos else b""
        self._send(_PUBLISH | qos << 1 | retain, _text(topic) + number + payload)

    def subscribe(self, topics: Sequence[str], *, qos: int) -> int:
        """Its number comes back in `Listener.granted`."""
        number = self._next_number()
        self._send(_SUBSCRIBE, struct.pack(">H", number) + b"".join(_text(topic) + bytes([qos]) for topic in topics))
        return number

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self._send(_UNSUBSCRIBE, struct.pack(">H", self._next_number()) + b"".join(_text(topic) for topic in topics))

    def close(self) -> None:
        """In good order: the broker sends no will."""
        self._why = "closed"
        self._send(_DISCONNECT, b"")
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: str) -> None:
        """As if the cable were pulled."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._heard_s = self._loop.time()
        self._send(_CONNECT, _connect_body(self._identity))
        self._beat()

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        self._waiting += data
        start = 0
        while (found := _packet_at(self._waiting, start)) is not None:
            kind, begin, end = found
            if end - begin > _MAX_PACKET_BYTES:
                self.abort(f"a packet of {end - begin} bytes, more than the {_MAX_PACKET_BYTES} that are read")
                return
            if end > len(self._waiting):
                break
            self._take(kind, bytes(memoryview(self._waiting)[begin:end]))
            start = end
        del self._waiting[:start]

    def connection_lost(self, error: Exception | None) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        self._transport = None
        self._listener.lost(str(error) if error else self._why)

    # --- packets ------------------------------------------------------------------------------------------------

    def _take(self, kind: int, body: bytes) -> None:
        try:
            self._understand(kind, body)
        except (IndexError, struct.error, UnicodeDecodeError):
            self.abort("the broker sent a packet that cannot be read")

    def _understand(self, kind: int, body: bytes) -> None:
        match kind & 0xF0:
            case 0x20:
                if body[1] != 0:
                    self.abort(f"the broker refuses the connection (code {body[1]})")
                else:
                    self._open = True
                    self._listener.connected()
            case 0x30 if self._open:
                self._take_publish(kind, body)
            case 0x90 if self._open:
                (number,) = struct.unpack_from(">H", body)
                problems = tuple("refused" if code >= _REFUSED else None for code in body[2:])
                self._listener.granted(number, problems)
            case _:
                pass  # PUBACK, UNSUBACK, PINGRESP: nobody waits for them

    def _take_publish(self, kind: int, body: bytes) -> None:
        (length,) = struct.unpack_from(">H", body)
        topic, rest = body[2 : 2 + length].decode(), 2 + length
        if rest > len(body):
            raise IndexError
        if kind & 0x06:
            self._send(_PUBACK, body[rest : rest + 2])
            rest += 2
        self._listener.received(topic, body[rest:])

    def _beat(self) -> None:
        keepalive_s = self._identity.keepalive_s
        if self._loop.time() - self._heard_s > 1.5 * keepalive_s:
            self.abort(f"nothing was heard for {1.5 * keepalive_s:.0f} s")
            return
        if self._open:
            self._send(_PINGREQ, b"")
        self._pulse = self._loop.call_later(keepalive_s / 2, self._beat)

    def _next_number(self) -> int:
        self._number = self._number % 65_535 + 1
        return self._number

    def _send(self, head: int, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(bytes([head]) + _length(len(body)) + body)


def _connect_body(identity: Identity) -> bytes:
    flags = _CLEAN_SESSION | _WILL | _WILL_QOS_1 | _WILL_RETAIN
    fields = [_text(identity.client_id), _text(identity.will_topic), _sized(identity.will_payload)]
    if identity.username is not None:
        flags |= _USER
        fields.append(_text(identity.username))
        if identity.password is not None:
            flags |= _PASSWORD
            fields.append(_text(identity.password))
    return _text("MQTT") + bytes([4, flags]) + struct.pack(">H", identity.keepalive_s) + b"".join(fields)


def _packet_at(waiting: bytearray, start: int) -> tuple[int, int, int] | None:
    """First byte, begin and end of the body of the packet at `start`; None while its length is not there yet."""
    length, place = 0, start + 1
    for shift in (0, 7, 14, 21):
        if place >= len(waiting):
            return None
        byte = waiting[place]
        length |= (byte & 0x7F) << shift
        place += 1
        if not byte & 0x80:
            return waiting[start], place, place + length
    return waiting[start], place, place + _MAX_PACKET_BYTES + 1  # five bytes of length are no MQTT


def _length(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, low = divmod(size, 128)
        encoded.append(low | (0x80 if size else 0))
        if not size:
            return bytes(encoded)


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content
