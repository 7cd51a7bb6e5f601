"""What tests of publishing share: artifacts of noise, and a look at what a broker retains."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pytest

from converter.broker import Broker
from converter.publish import sending
from converter.publish.catalog import Catalog, read_catalog
from converter.publish.keys import Keys
from converter.publish.parcel import wrap
from converter.publish.push import NO_PATCHES, PatchFrom, Pushed, push
from converter.publish.seals import ReleaseSeal
from converter.publish.sending import Progress
from edge_agent.link.messages import AgentReport, ReleaseReport, Reported, StageReport, format_reported
from edge_agent.link.topics import Topics
from edge_agent.release import trust, verify_child
from edge_agent.release.archive import Artifact, read_artifact
from edge_agent.release.chunks import CHUNK_BYTES
from tests.sim.artifact import make_members, pack
from tests.sim.broker import Mosquitto
from tests.sim.releases import noise

TOPICS = Topics()


def publish_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long look for rivals, and documents are checked here instead of in the child (see tests/release)."""
    monkeypatch.setattr(sending, "RIVAL_S", 0.1)
    monkeypatch.setattr(trust, "_ask_child", lambda request: verify_child.answer(json.loads(json.dumps(request))))


def model(version: str, size_bytes: int = 3 * CHUNK_BYTES) -> bytes:
    return noise(size_bytes, version)


def artifact(directory: Path, version: str, content: bytes | None = None, *, name: str = "birds") -> Artifact:
    members = make_members(model(version) if content is None else content, name=name, version=version)
    return read_artifact(pack(members, directory / f"{name}-{version}.edge"))


def quiet(_done_bytes: int, _total_bytes: int) -> None:
    pass


def publish(
    broker: Mosquitto,
    what: Artifact,
    keys: Keys,
    *,
    channel: str = "stable",
    progress: Progress = quiet,
    patch_from: PatchFrom = NO_PATCHES,
    seal: ReleaseSeal | None = None,
    unencrypted: bool = False,
    now: datetime | None = None,
) -> Pushed:
    return push(
        what,
        channel,
        keys,
        lambda: Broker(broker.settings, TOPICS),
        progress=progress,
        patch_from=patch_from,
        seal=seal,
        unencrypted=unencrypted,
        now=now,
    )


def chunks_of(what: Artifact, seal: ReleaseSeal | None = None) -> set[str]:
    """Every chunk of it and of its index; encrypted, of its keyring and inventory too."""
    return set(wrap(what, "stable", datetime.fromisoformat("2026-01-01T00:00:00Z"), seal=seal).chunks)


def absent(broker: Mosquitto, digests: Iterable[str]) -> set[str]:
    with Broker(broker.settings, TOPICS) as client:
        return set(client.read_chunks(sorted(digests), grace_s=0.5))


def catalog_of(broker: Mosquitto) -> Catalog:
    with Broker(broker.settings, TOPICS) as client:
        return read_catalog(client)


def report(broker: Mosquitto, device: str, current: Artifact, previous: Artifact | None = None) -> None:
    """Say as a device that it runs `current`."""
    stage = StageReport(
        model=current.manifest.name,
        channel="stable",
        phase="idle",
        current=ReleaseReport(current.digest, current.manifest.version),
        previous=ReleaseReport(previous.digest, previous.manifest.version) if previous else None,
    )
    reported = Reported(AgentReport("0.1.0", "3.11"), pipelines={"porch": {"main": stage}})
    retain(broker, TOPICS.reported(device), format_reported(reported))


def retain(broker: Mosquitto, topic: str, payload: bytes) -> None:
    with Broker(broker.settings, TOPICS) as client:
        client.publish_retained(topic, payload)
