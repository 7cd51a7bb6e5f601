"""What benchmarks of pulling share: a release of noise on a broker, and the device's own way to get it."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from random import Random

from converter.broker import Broker
from converter.publish.parcel import Parcel, wrap
from converter.publish.sending import send_chunks
from edge_agent.disk import open_disk
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.device import DeviceEvent, DeviceLink
from edge_agent.link.events import Connected
from edge_agent.link.topics import Topics
from edge_agent.release.archive import read_artifact
from edge_agent.update.fetch import fetch_release
from edge_agent.update.store import ReleaseStore
from edge_agent.update.transport import ChunkTransport
from tests.sim.artifact import make_members, pack

TOPICS = Topics()


def publish_noise(folder: Path, settings: BrokerSettings, size_bytes: int) -> Parcel:
    """A model of so many bytes that do not compress; its chunks are on the broker."""
    artifact = read_artifact(pack(make_members(Random(size_bytes).randbytes(size_bytes)), folder / "m-1.0.0.edge"))
    parcel = wrap(artifact, "stable", datetime.now(UTC))
    with Broker(settings, TOPICS) as writer, Broker(settings, TOPICS) as reader:
        send_chunks(parcel.chunks, writer, reader, lambda _done, _total: None)
    return parcel


def pull_s(parcel: Parcel, settings: BrokerSettings, state: Path) -> float:
    """Seconds from the first question to the last byte on the disk, in a store in `state`."""
    events: SimpleQueue[DeviceEvent] = SimpleQueue()
    store = ReleaseStore(open_disk(state), state)
    with DeviceLink(settings, TOPICS, "bench", [], events.put) as link:
        while not isinstance(events.get(timeout=60), Connected):
            pass
        return fetch_s(parcel, store, link)


def fetch_s(parcel: Parcel, store: ReleaseStore, transport: ChunkTransport) -> float:
    """The same, over any transport."""
    os.sync()
    began_s = time.monotonic()
    report = fetch_release(parcel.target, store, transport, cancelled=lambda: False, trouble=print)
    took_s = time.monotonic() - began_s
    assert report is not None
    assert store.holds(parcel.target.digest)
    return took_s
