"""Pull of a 20 MB artifact, against bare paho subscribers that take the same retained bytes from the same mosquitto.

Ours asks for chunks by name, a few at a time, inflates, hashes and writes them, checks the whole artifact against its
digest and its manifest, and syncs it to the disk. Of three bare ones, one asks by name too, with the same window, and
keeps what it gets (inflated, hashed, in a file, synced): `window_ratio`. Two ask for everything at once with a
wildcard: one keeps it, one throws it away. `ratio` is against the one that keeps; `discarding_ratio` is against the
other, and inflating and hashing alone take about as long as all of that one. All run in turn, several times.
"""

import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any, BinaryIO

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.pull import TOPICS, publish_noise, pull_s
from converter.publish.parcel import Parcel
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.topics import MAX_FILTERS
from tests.sim.broker import run_mosquitto

_ROUNDS = 15
_MODEL_BYTES = 20_000_000


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary, run_mosquitto(Path(temporary)) as broker:
        folder = Path(temporary)
        parcel = publish_noise(folder, broker.settings, _MODEL_BYTES)
        discarding, keeping, windowed, ours = [], [], [], []
        for number in range(_ROUNDS):
            discarding.append(_bare_s(parcel, broker.settings, None))
            keeping.append(_bare_s(parcel, broker.settings, folder / f"bare-{number}"))
            windowed.append(_windowed_s(parcel, broker.settings, folder / f"windowed-{number}"))
            ours.append(pull_s(parcel, broker.settings, folder / f"state-{number}"))
    figures = {
        "discarding_s": round(statistics.median(discarding), 3),
        "keeping_s": round(statistics.median(keeping), 3),
        "windowed_s": round(statistics.median(windowed), 3),
        "ours_s": round(statistics.median(ours), 3),
        "ratio": _ratio(keeping, ours),
        "window_ratio": _ratio(windowed, ours),
        "discarding_ratio": _ratio(discarding, ours),
    }
    print(json.dumps({"benchmark": "fetch", "megabytes": _MODEL_BYTES / 1e6, **figures}))
    print(f"{'':24}{'20 MB, s':>10}{'MB/s':>10}", file=sys.stderr)
    for name in ("discarding", "keeping", "windowed", "ours"):
        seconds = figures[f"{name}_s"]
        print(f"{name:24}{seconds:>10}{_MODEL_BYTES / 1e6 / seconds:>10.0f}", file=sys.stderr)
    print(f"ratio {figures['ratio']}, against discarding {figures['discarding_ratio']}", file=sys.stderr)
    return figures


def _ratio(limits: list[float], mine: list[float]) -> float:
    """Median of the ratios of neighbors in time."""
    return round(statistics.median(limit / own for limit, own in zip(limits, mine, strict=True)), 3)


def _bare_s(parcel: Parcel, settings: BrokerSettings, keep: Path | None) -> float:
    with _subscriber(settings) as (client, arrived):
        began_s = time.monotonic()
        client.subscribe(TOPICS.blob("+"), 0)
        with open(keep or os.devnull, "wb") as file:
            for _ in parcel.chunks:
                _, payload = arrived.get(timeout=60)
                if keep:
                    _keep(parcel, payload, file)
            if keep:
                _sync(file)
        return time.monotonic() - began_s


def _windowed_s(parcel: Parcel, settings: BrokerSettings, keep: Path) -> float:
    """Eight chunks are asked for at a time; for each one that comes the next is."""
    with _subscriber(settings) as (client, arrived):
        began_s = time.monotonic()
        waiting = [TOPICS.blob(digest) for digest in parcel.chunks]
        for topic in waiting[:MAX_FILTERS]:
            client.subscribe(topic, 0)
        del waiting[:MAX_FILTERS]
        with open(keep, "wb") as file:
            for _ in parcel.chunks:
                topic, payload = arrived.get(timeout=60)
                client.unsubscribe(topic)
                if waiting:
                    client.subscribe(waiting.pop(0), 0)
                _keep(parcel, payload, file)
            _sync(file)
        return time.monotonic() - began_s


@contextmanager
def _subscriber(settings: BrokerSettings) -> Iterator[tuple[paho.Client, SimpleQueue[tuple[str, bytes]]]]:
    arrived: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_socket_open = _without_delay
    client.on_message = lambda _client, _user, message: arrived.put((message.topic, bytes(message.payload)))
    client.connect(settings.host, settings.port)
    client.loop_start()
    os.sync()  # what the one before left to be written is not ours
    try:
        yield client, arrived
    finally:
        client.disconnect()
        client.loop_stop()


def _without_delay(_client: paho.Client, _user: object, opened: Any) -> None:
    opened.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)


def _keep(parcel: Parcel, payload: bytes, file: BinaryIO) -> None:
    plaintext = zlib.decompress(payload)
    assert hashlib.sha256(plaintext).hexdigest() in parcel.chunks
    file.write(plaintext)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


if __name__ == "__main__":
    main()
