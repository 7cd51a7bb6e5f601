"""The simulator's own MQTT client against bytes: how it reads a stream in any pieces, and what it gives up at."""

import asyncio
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.fleet.simulate.client import Client, Identity

_IDENTITY = Identity("sim-1", "edge/v1/device/sim-1/availability", b"offline", "me", "secret")
_CONNACK = b"\x20\x02\x00\x00"


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def connected(self) -> None:
        self.heard.append("connected")

    def received(self, topic: str, payload: bytes) -> None:
        self.heard.append((topic, payload))

    def granted(self, number: int, problems: tuple[str | None, ...]) -> None:
        self.heard.append((number, problems))

    def lost(self, why: str) -> None:
        self.heard.append(f"lost: {why}")


class Wire(asyncio.Transport):
    """A transport without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def talk(*pieces: bytes, do: Callable[[Client], object] = lambda client: None) -> tuple[Ear, Wire]:
    async def run() -> tuple[Ear, Wire]:
        ear, wire = Ear(), Wire()
        client = Client(_IDENTITY, ear)
        client.connection_made(wire)
        for piece in pieces:
            client.data_received(piece)
        do(client)
        client.connection_lost(None)
        return ear, wire

    return asyncio.run(run())


def publish(topic: str, payload: bytes, qos: int = 0) -> bytes:
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + (b"\x00\x07" if qos else b"") + payload
    length, size = b"", len(body)
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([0x30 | qos << 1]) + length + body


def test_it_says_who_it_is_and_what_is_to_be_said_when_it_vanishes() -> None:
    _, wire = talk()
    assert wire.sent[0] == 0x10
    assert wire.sent[2:].startswith(b"\x00\x04MQTT\x04\xee\x00\x1e\x00\x05sim-1")
    assert wire.sent.endswith(b"\x00\x07offline\x00\x02me\x00\x06secret")


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 40))
def test_the_pieces_in_which_packets_come_do_not_matter(payloads: list[bytes], step: int) -> None:
    stream = _CONNACK + b"".join(publish("a/b", payload) for payload in payloads)
    ear, _ = talk(*(stream[start : start + step] for start in range(0, len(stream), step)))
    assert ear.heard[:-1] == ["connected", *(("a/b", payload) for payload in payloads)]


def test_qos_1_is_acknowledged_and_answers_name_their_question() -> None:
    ear, wire = talk(_CONNACK, publish("a", b"x", qos=1), b"\x90\x04\x00\x01\x00\x80")
    assert wire.sent.endswith(b"\x40\x02\x00\x07")
    assert ear.heard[:-1] == ["connected", ("a", b"x"), (1, (None, "refused"))]


def test_a_refused_connection_is_none() -> None:
    ear, wire = talk(b"\x20\x02\x00\x05", publish("a", b"x"))
    assert wire.aborted
    assert ear.heard == ["lost: the broker refuses the connection (code 5)"]


@pytest.mark.parametrize(
    "stream", [b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff\xff\xff\xff", b"\x30\x02\x00\x09", b"\x30\x00", b"\x90\x01\x00"]
)
def test_what_is_no_mqtt_or_too_much_ends_the_connection(stream: bytes) -> None:
    ear, wire = talk(_CONNACK, stream)
    assert ear.heard[0] == "connected"
    assert wire.aborted or ear.heard[1:] == ["lost: the broker closed the connection"]


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_whatever_comes_raises_nothing_and_keeps_no_more_than_one_packet(stream: bytes) -> None:
    ear, _ = talk(_CONNACK, stream)
    assert str(ear.heard[-1]).startswith("lost: ")
