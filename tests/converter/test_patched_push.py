"""Patches against what the fleet really has: made of what is on the broker, told, and never in the way of a push."""

import json
from pathlib import Path
from queue import SimpleQueue

import pytest
from click.testing import CliRunner

from converter.commands.release import push as push_command
from converter.publish.bases import count_held
from converter.publish.keys import Keys, make_keys, read_keys
from converter.publish.patches import MAX_BASES, Base, make_patch, make_patches
from converter.publish.push import PatchFrom
from edge_agent.disk import open_disk
from edge_agent.link.device import DeviceEvent, DeviceLink
from edge_agent.link.events import Connected
from edge_agent.link.messages import AgentReport, ReleaseReport, Reported, StageReport
from edge_agent.release.archive import Artifact
from edge_agent.release.chunks import CHUNK_BYTES
from edge_agent.release.document import Target
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.release.trust import verify
from edge_agent.update.fetch import FetchReport, fetch_release
from edge_agent.update.patcher import patch_in_child
from edge_agent.update.store import ReleaseStore
from tests.converter.publishing import (
    TOPICS,
    artifact,
    catalog_of,
    chunks_of,
    model,
    publish,
    publish_quickly,
    report,
    retain,
)
from tests.sim.broker import Mosquitto
from tests.sim.releases import noise

FLEET = PatchFrom()
OLD = model("1", 10 * CHUNK_BYTES)


def nudged(content: bytes, byte: int = 1) -> bytes:
    """Every chunk changed, each a little."""
    changed = bytearray(content)
    for offset in range(0, len(changed), 9000):
        changed[offset] ^= byte
    return bytes(changed)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    publish_quickly(monkeypatch)
    make_keys(tmp_path / "keys")
    return read_keys(tmp_path / "keys")


class Fetcher:
    """A device on a real broker with a real disk."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        self._broker = broker
        self.store = ReleaseStore(open_disk(folder), folder)
        self.troubles: list[str] = []

    def get(self, target: Target) -> FetchReport:
        events: SimpleQueue[DeviceEvent] = SimpleQueue()
        with DeviceLink(self._broker.settings, TOPICS, "porch", [], events.put) as link:
            while not isinstance(events.get(timeout=30), Connected):
                pass
            found = fetch_release(
                target,
                self.store,
                link,
                cancelled=lambda: False,
                trouble=lambda _, detail: self.troubles.append(detail),
                patcher=patch_in_child,
            )
        assert found is not None
        assert self.store.is_sound(target.digest)
        return found


@pytest.fixture
def device(mosquitto: Mosquitto, tmp_path: Path) -> Fetcher:
    return Fetcher(mosquitto, tmp_path / "state")


def target_on(broker: Mosquitto, keys: Keys) -> Target:
    from converter.broker import Broker

    with Broker(broker.settings, TOPICS) as client:
        topic = TOPICS.release("birds", "stable")
        document = client.retained([topic])[topic]
    return verify(keys.root, None, document, model="birds", channel="stable", now_s=0, floor_s=0).target


def test_a_release_that_the_fleet_has_is_patched_from_what_the_broker_holds(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, device: Fetcher
) -> None:
    first, second = artifact(tmp_path, "1", OLD), artifact(tmp_path, "2", nudged(OLD))
    publish(mosquitto, first, keys)
    device.get(target_on(mosquitto, keys))
    report(mosquitto, "porch", first)
    pushed = publish(mosquitto, second, keys, patch_from=FLEET)

    assert [(patch.member, patch.base, patch.devices) for patch in pushed.patches] == [(MODEL_FILE, "1", 1)]
    assert pushed.patches[0].bytes < pushed.patches[0].instead_of_bytes / 20
    found = device.get(target_on(mosquitto, keys))
    assert found.patched_bytes == len(OLD)
    assert found.fetched_bytes < CHUNK_BYTES
    assert device.troubles == []


def test_a_device_with_another_release_gets_the_chunks(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, device: Fetcher
) -> None:
    first, second = artifact(tmp_path, "1", OLD), artifact(tmp_path, "2", nudged(OLD))
    publish(mosquitto, first, keys)
    report(mosquitto, "porch", first)
    publish(mosquitto, second, keys, patch_from=FLEET)
    found = device.get(target_on(mosquitto, keys))

    assert (found.patched_bytes, device.troubles) == (0, [])


def test_a_patch_whose_chunk_was_cleared_costs_only_itself(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, device: Fetcher
) -> None:
    first, second = artifact(tmp_path, "1", OLD), artifact(tmp_path, "2", nudged(OLD))
    publish(mosquitto, first, keys)
    device.get(target_on(mosquitto, keys))
    publish(mosquitto, second, keys, patch_from=PatchFrom(fleet=False, artifacts=(first,)))
    target = target_on(mosquitto, keys)
    retain(mosquitto, TOPICS.blob(target.patches[0].chunks[0]), b"")
    found = device.get(target)

    assert found.patched_bytes == 0
    assert ["its chunks are fetched instead" in detail for detail in device.troubles] == [True]


def test_what_the_broker_has_no_longer_can_be_given_as_a_file(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    first, second = artifact(tmp_path, "1", OLD), artifact(tmp_path, "2", nudged(OLD))
    report(mosquitto, "porch", first)  # and nobody has ever pushed it here
    told = publish(mosquitto, second, keys, patch_from=FLEET)
    assert told.patches == ()
    assert "not in the catalog; see --patch-from" in told.notes[0]

    third = artifact(tmp_path, "3", nudged(OLD, 3))
    told = publish(mosquitto, third, keys, patch_from=PatchFrom(artifacts=(first,)))
    assert [patch.base for patch in told.patches] == ["birds-1.edge"]
    assert chunks_of(first) - chunks_of(third)  # which were never sent


def test_a_model_that_has_nothing_to_do_with_the_old_one_gets_no_patch(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    first = artifact(tmp_path, "1", OLD)
    publish(mosquitto, first, keys)
    report(mosquitto, "porch", first)
    pushed = publish(mosquitto, artifact(tmp_path, "2", model("2", len(OLD))), keys, patch_from=FLEET)

    assert (pushed.published, pushed.patches) == (True, ())
    assert any("are not worth it" in note for note in pushed.notes)
    assert target_on(mosquitto, keys).patches == ()


def test_the_same_release_again_keeps_its_patches(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    first, second = artifact(tmp_path, "1", OLD), artifact(tmp_path, "2", nudged(OLD))
    publish(mosquitto, first, keys)
    publish(mosquitto, second, keys, patch_from=PatchFrom(fleet=False, artifacts=(first,)))
    patches = target_on(mosquitto, keys).patches
    again = publish(mosquitto, second, keys)

    assert len(patches) == 1
    assert (again.published, target_on(mosquitto, keys).patches) == (False, patches)
    assert catalog_of(mosquitto).releases[-1].patch_chunks == patches[0].chunks


def test_the_commonest_releases_of_the_channel_come_first() -> None:
    def device(channel: str, current: str | None, previous: str | None = None) -> Reported:
        def release(digest: str | None) -> ReleaseReport | None:
            return ReleaseReport(digest, f"v{digest}") if digest else None

        stage = StageReport("birds", channel, "idle", current=release(current), previous=release(previous))
        return Reported(AgentReport("1", "3"), pipelines={"porch": {"main": stage, "again": stage}})

    reports = [device("stable", "b", "a"), device("stable", "b", "c"), device("stable", "a", "c"), None]
    reports += [device("beta", "x")] * 5 + [device("stable", None)]

    found = [(held.digest, held.version, held.devices) for held in count_held(reports, "birds", "stable")]
    assert found == [("b", "vb", 2), ("a", "va", 1), ("c", "vc", 2)]


def test_patches_are_made_against_few_releases_and_the_rest_is_told(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    for number in range(MAX_BASES + 1):
        old = artifact(tmp_path, f"1.{number}", nudged(OLD, 16 + number))
        publish(mosquitto, old, keys)
        report(mosquitto, f"porch-{number}", old)
    pushed = publish(mosquitto, artifact(tmp_path, "2", nudged(OLD)), keys, patch_from=FLEET)

    assert len(pushed.patches) == MAX_BASES
    assert any(f"at most {MAX_BASES}" in note for note in pushed.notes)


def test_a_reported_that_nobody_can_read_is_no_obstacle(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    retain(mosquitto, TOPICS.reported("porch"), b"\x00garbage")

    assert publish(mosquitto, artifact(tmp_path, "1"), keys, patch_from=FLEET).published


def test_a_patch_says_what_it_saves() -> None:
    found = make_patch(MODEL_FILE, OLD, nudged(OLD[: 5 * CHUNK_BYTES]) + OLD[5 * CHUNK_BYTES :])
    assert not isinstance(found, str)
    patch, _ = found
    assert patch.replaces_plain_bytes == 5 * CHUNK_BYTES  # the others are in the base
    assert patch.replaces_bytes > patch.replaces_plain_bytes * 0.99


@pytest.mark.parametrize(
    ("base", "content", "words"),
    [
        (OLD, OLD + b"end", "its chunks are"),
        (b"", OLD, "at most 32 MB"),
        (OLD, noise(len(OLD), "another"), "not worth it"),
    ],
)
def test_a_patch_that_is_not_worth_it_is_not_made(base: bytes, content: bytes, words: str) -> None:
    found = make_patch(MODEL_FILE, base, content)
    assert isinstance(found, str)
    assert words in found


def test_the_same_base_in_two_releases_makes_one_patch() -> None:
    bases = [Base("1", 1, {MODEL_FILE: OLD}), Base("2", 1, {MODEL_FILE: OLD})]
    assert [made.base for made in make_patches({MODEL_FILE: nudged(OLD)}, bases).made] == ["1"]


def test_the_push_command_tells_of_patches(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    assert keys
    first, second = artifact(tmp_path, "1", OLD), artifact(tmp_path, "2", nudged(OLD))

    def run(what: Artifact, *more: object) -> str:
        arguments = ["--broker", mosquitto.url, what.path, "--keys", tmp_path / "keys", *more]
        result = CliRunner().invoke(push_command, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.stdout

    run(first)
    report(mosquitto, "porch", first)
    assert json.loads(run(second, "--no-patches", "--json"))["patches"] == []
    told = run(artifact(tmp_path, "3", nudged(OLD, 5)), "--patch-from", second.path)
    assert "model.tflite from 1, which 1 devices have" in told
    assert "model.tflite from birds-2.edge" in told
