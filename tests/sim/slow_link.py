"""A slow link on loopback: a TCP proxy that delays and throttles each direction (`python -m tests.sim.slow_link`).

A user-space stand-in for a real line, which all connections share: bytes leave it at its rate and arrive its delay
later; nothing is lost. Up to a quarter of a MiB queues in front of it, as in a router.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.sim.broker import await_port, free_port

_QUEUE_BYTES = 262_144
_PIECE_BYTES = 8_192


@contextmanager
def slow_link(port: int, *, rtt_s: float, bytes_per_s: float) -> Iterator[int]:
    """Gives the port at which `port` is reached over the link."""
    own = free_port()
    command = [sys.executable, "-m", "tests.sim.slow_link", str(own), str(port), str(rtt_s / 2), str(bytes_per_s)]
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent.parent) as process:
        try:
            await_port(own, process)
            yield own
        finally:
            process.kill()


class _Line:
    """One direction."""

    def __init__(self, delay_s: float, bytes_per_s: float) -> None:
        self.delay_s = delay_s
        self.rate = bytes_per_s
        self._free_s = 0.0

    def send(self, size_bytes: int, now_s: float) -> float:
        """When so many bytes have left it, behind all before them."""
        self._free_s = max(self._free_s, now_s) + size_bytes / self.rate
        return self._free_s


async def _run(own: int, other: int, delay_s: float, bytes_per_s: float) -> None:
    there, back = _Line(delay_s, bytes_per_s), _Line(delay_s, bytes_per_s)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", other)
            await asyncio.gather(_carry(reader, there_writer, there), _carry(there_reader, writer, back))

    server = await asyncio.start_server(serve, "127.0.0.1", own)
    await server.serve_forever()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line) -> None:
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def take() -> None:
        while True:
            piece = await reader.read(_PIECE_BYTES)
            now_s = loop.time()
            left_s = line.send(len(piece), now_s)
            pieces.put_nowait((left_s + line.delay_s, piece))
            if not piece:
                return
            await asyncio.sleep(max(0.0, left_s - now_s - _QUEUE_BYTES / line.rate))

    async def give() -> None:
        while True:
            due_s, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()

    with suppress(OSError):
        await asyncio.gather(take(), give())


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
