"""A broker that behaves badly on purpose: MQTT 3.1.1 as far as a fetch needs it, with one mischief at a time."""

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from random import Random
from threading import Thread
from typing import Literal

from tests.sim.broker import free_port

Mischief = Literal[
    "none", "late", "twice", "disordered", "lossy", "closing", "cutting", "garbling", "amnesiac", "refusing", "deaf"
]
_SHORT_S = 0.3


@dataclass
class HostileBroker:
    """Serves `retained` on `port`. `done` counts how often it has misbehaved."""

    retained: dict[str, bytes]
    mischief: Mischief
    port: int = field(default_factory=free_port)
    done: int = 0
    chance: Random = field(default_factory=lambda: Random(2026))

    async def serve(self, started: "SimpleQueue[Callable[[], object]]") -> None:
        """Until what it puts into `started` is called, on any thread."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._talk, "127.0.0.1", self.port):
            started.put(lambda: loop.call_soon_threadsafe(stop.set))
            await stop.wait()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await _Session(self, reader, writer).run()
        finally:
            writer.close()

    def strike(self, share: float = 1.0) -> bool:
        """Whether to misbehave now."""
        struck = self.chance.random() < share
        self.done += struck
        return struck


class _Session:
    def __init__(self, broker: HostileBroker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._broker = broker
        self._reader = reader
        self._writer = writer
        self._subscribed: set[str] = set()
        self._given = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while True:
            kind, body = await self._packet()
            match kind & 0xF0:
                case 0x10:
                    if body[6] != 4:  # of MQTT 5 it knows nothing
                        self._send(0x20, b"\x00\x01")
                        return
                    if self._broker.mischief == "closing" and self._broker.done < 3 and self._broker.strike():
                        return
                    self._send(0x20, b"\x00\x00")
                case 0x80:
                    self._subscribe(body)
                case 0xA0:
                    self._send(0xB0, body[:2])
                case 0x30:
                    self._publish(kind, body)
                case 0xC0:
                    self._send(0xD0, b"")
                case 0xE0:
                    return
                case _:
                    pass

    def _subscribe(self, body: bytes) -> None:
        topics, place = [], 2
        while place < len(body):
            (length,) = struct.unpack_from(">H", body, place)
            topics.append(body[place + 2 : place + 2 + length].decode())
            place += 3 + length
        broker = self._broker
        refuses = broker.mischief == "refusing" and any("/blob/" in topic for topic in topics) and broker.done < 2
        if refuses and broker.strike():
            self._send(0x90, body[:2] + b"\x80" * len(topics))
            return
        self._subscribed |= set(topics)
        self._send(0x90, body[:2] + bytes(len(topics)))
        if broker.mischief == "deaf" and broker.done < 2 and any("/blob/" in topic for topic in topics):
            broker.done += 1
            return
        given = [topic for topic in topics if topic in broker.retained]
        if broker.mischief == "disordered" and len(given) > 1:
            broker.done += 1
            broker.chance.shuffle(given)
        for topic in given:
            self._give(topic, broker.retained[topic])

    def _give(self, topic: str, payload: bytes) -> None:
        broker = self._broker
        blob = "/blob/" in topic
        match broker.mischief:
            case "lossy" if blob and broker.strike(0.15):
                return
            case "late" if blob and broker.strike(0.5):
                self._later(broker.chance.uniform(0, _SHORT_S), topic, payload)
                return
            case "disordered" if blob and broker.strike(0.3):
                self._later(0.02, topic, payload)  # behind an echo that was sent after it
                return
            case "twice" if broker.strike(0.5):
                self._deliver(topic, payload)
            case "garbling" if blob and broker.strike(0.3):
                self._deliver(topic, broker.chance.randbytes(len(payload)))
            case "cutting" if blob and broker.done < 5 and self._given >= 3 and broker.strike():
                self._writer.transport.abort()
                return
            case "amnesiac" if blob and self._given == 4 and broker.done == 0:
                broker.done = 1
                store, broker.retained = broker.retained, {}
                asyncio.get_running_loop().call_later(1.0, broker.retained.update, store)  # somebody seeds it
        self._given += 1
        self._deliver(topic, payload)

    def _publish(self, kind: int, body: bytes) -> None:
        (length,) = struct.unpack_from(">H", body)
        topic, rest = body[2 : 2 + length].decode(), 2 + length
        if kind & 0x06:
            self._send(0x40, body[rest : rest + 2])
            rest += 2
        if topic in self._subscribed:  # the device's own echo
            self._deliver(topic, body[rest:], retained=False)

    def _later(self, delay_s: float, topic: str, payload: bytes) -> None:
        async def wait() -> None:
            await asyncio.sleep(delay_s)
            self._deliver(topic, payload)

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _deliver(self, topic: str, payload: bytes, *, retained: bool = True) -> None:
        name = topic.encode()
        self._send(0x31 if retained else 0x30, struct.pack(">H", len(name)) + name + payload)

    def _send(self, head: int, body: bytes) -> None:
        length, size = b"", len(body)
        while True:
            size, low = divmod(size, 128)
            length += bytes([low | (0x80 if size else 0)])
            if not size:
                break
        if not self._writer.is_closing():
            self._writer.write(bytes([head]) + length + body)

    async def _packet(self) -> tuple[int, bytes]:
        kind = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return kind, await self._reader.readexactly(length)


@contextmanager
def run_hostile_broker(retained: dict[str, bytes], mischief: Mischief) -> Iterator[HostileBroker]:
    broker = HostileBroker(retained, mischief)
    started: SimpleQueue[Callable[[], object]] = SimpleQueue()
    thread = Thread(target=lambda: asyncio.run(broker.serve(started)), daemon=True)
    thread.start()
    stop = started.get(timeout=20)
    try:
        yield broker
    finally:
        stop()
        thread.join(20)
