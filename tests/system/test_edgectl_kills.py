"""A real `edgectl`, killed with SIGKILL while it changes keys, pushes to a real broker and collects garbage there.

How often is said by EDGE_DEPLOY_EDGECTL_KILLS. Half of the kills come at a random moment of a run, half soon after the
run has begun to change something. After each, keys and broker must be of use as they are; run again, the command
completes.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from converter.broker import Broker
from converter.publish import roots
from converter.publish.keys import KeyDirectory, Keys, read_keys
from converter.publish.repository import read_document
from edge_agent.clock import SystemClock
from edge_agent.release import trust
from edge_agent.release.archive import Artifact
from edge_agent.release.chunks import CHUNK_BYTES
from edge_agent.release.document import Target
from tests.converter.publishing import TOPICS, absent, artifact, chunks_of, model, publish, publish_quickly
from tests.sim.broker import Mosquitto
from tests.sim.trusting import Device, ask_here, document
from tests.system.artifacts import edgectl, edgectl_environment

pytestmark = pytest.mark.system

_KILLS = int(os.environ.get("EDGE_DEPLOY_EDGECTL_KILLS", "20"))
_KILLS_IN_A_ROW = 3
_SOON_S = 0.01  # the writing of a few files
_PATIENCE_S = 60.0
_POLL_S = 0.002


@dataclass
class Killer:
    """Runs `edgectl` in `folder` and kills it. `seed` says when, as far as a machine that others use can be told."""

    folder: Path
    seed: int = 2026
    kills: int = 0  # that came before the command had ended
    _chance: Random = field(init=False)
    _longest_s: dict[str, float] = field(init=False, default_factory=dict)  # how long a command lives, learned

    def __post_init__(self) -> None:
        self._chance = Random(self.seed)

    def kill(self, *arguments: str, changed: Callable[[], object]) -> None:
        """Run the command once, and kill it, unless it ends before. `changed` gives another value once it has begun."""
        command = [sys.executable, "-m", "converter.cli", *arguments]
        before = changed()
        with subprocess.Popen(
            command, cwd=self.folder, env=edgectl_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            if self._chance.random() < 0.5:
                clock = SystemClock()
                deadline_s = clock.monotonic_s() + _PATIENCE_S
                while changed() == before and not _is_over(process, _POLL_S):
                    assert clock.monotonic_s() < deadline_s, f"{arguments} hangs"
                ended = _is_over(process, self._chance.uniform(0, _SOON_S))
            else:
                longest_s = self._longest_s.get(arguments[0], 1.0)
                ended = _is_over(process, self._chance.uniform(0, longest_s))
                self._longest_s[arguments[0]] = longest_s * (0.8 if ended else 1.2)
            if not ended:
                process.kill()
        self.kills += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL), f"{arguments} gave {process.returncode}"


def _is_over(process: "subprocess.Popen[bytes]", timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_of_use_wherever_a_change_of_them_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_ask_child", ask_here)
    edgectl(tmp_path, "keys", "init", "first")
    chance, killer, number = Random(7), Killer(tmp_path), 0
    while killer.kills < _KILLS // 2:
        number += 1
        assert number <= 10 * _KILLS, "the commands are over before they can be killed"
        keys = tmp_path / "keys"
        shutil.rmtree(keys, ignore_errors=True)
        shutil.copytree(tmp_path / "first", keys)
        before = read_keys(keys)
        for change in chance.sample(_CHANGES, 2):
            command = (*change, _make_key(keys)) if change == _REVOKE else change
            killer.kill(*command, "--keys", "keys", changed=lambda: sorted(os.listdir(keys)))  # noqa: B023  # at once
            _check_keys(keys, before)
            if not _is_done(keys, command):
                edgectl(tmp_path, *command, "--keys", "keys")
            _check_keys(keys, before)


_REVOKE = ("keys", "revoke")
_CHANGES = [
    _REVOKE, ("keys", "new", "online"), ("keys", "add", "targets"), ("keys", "add", "root"),
    ("keys", "rotate", "targets"), ("keys", "rotate", "online"), ("keys", "rotate", "root"),
]  # fmt: skip


def _make_key(keys: Path) -> str:
    """One more key, that can be revoked because another one is left for its job."""
    before = {key.keyid for key in KeyDirectory.at(keys).private_keys()}
    edgectl(keys.parent, "keys", "add", "targets", "--keys", keys.name)
    (made,) = {key.keyid for key in KeyDirectory.at(keys).private_keys()} - before
    return made


def _is_done(keys: Path, command: Sequence[str]) -> bool:
    """Whether a key was revoked before the kill: to revoke it again is an error."""
    return command[1] == "revoke" and all(
        command[2] not in roots.keyids(KeyDirectory.at(keys).chain()[-1], job) for job in roots.JOBS
    )


def _check_keys(keys: Path, before: Keys) -> None:
    """All files can be read, and a device that knows the first root only believes what is signed now."""
    directory = KeyDirectory.at(keys)
    directory.private_keys()
    now, device = datetime.now(UTC), Device(before.root, now=datetime.now(UTC))
    assert device.hear(document(before, "1", 1, now)).version == "1"
    assert device.hear(document(directory.keys(), "2", 2, now)).version == "2"
    assert directory.signers(directory.chain()[-1], "root")  # it can be changed again


# --- push and gc ------------------------------------------------------------------------------------------------------


@dataclass
class Channel:
    """What was pushed, and the broker that has it."""

    folder: Path
    broker: Mosquitto
    keys: Keys
    artifacts: dict[str, Artifact] = field(default_factory=dict)  # by digest, in their order

    def make(self) -> tuple[Artifact, Path]:
        """Another release; it shares a chunk with all others."""
        version = f"{len(self.artifacts) + 1}"
        made = artifact(self.folder, version, model("shared", CHUNK_BYTES) + model(version))
        self.artifacts[made.digest] = made
        return made, self.folder / f"birds-{version}.edge"

    def desired(self) -> Target:
        """What the document says, once its signatures are checked."""
        topic = TOPICS.release("birds", "stable")
        with Broker(self.broker.settings, TOPICS) as client:
            payload = client.retained([topic])[topic]
        return read_document(self.keys, payload, model="birds", channel="stable").target

    def is_whole(self) -> bool:
        """Whether all that the document names can be fetched: what it gives, and what a device may be sent back to."""
        target = self.desired()
        named = [target, *target.previous[:1]]
        return (
            absent(self.broker, {chunk for each in named for chunk in chunks_of(self.artifacts[each.digest])}) == set()
        )

    def lacking(self) -> dict[str, int]:
        """Version → how many of its own chunks are not on the broker."""
        shared = set.intersection(*map(chunks_of, self.artifacts.values()))
        return {
            each.manifest.version: len(absent(self.broker, chunks_of(each) - shared))
            for each in self.artifacts.values()
        }


@pytest.fixture
def channel(tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Channel:
    """Three releases have been pushed."""
    edgectl(tmp_path, "keys", "init", "keys")
    made = Channel(tmp_path, broker, read_keys(tmp_path / "keys"))
    with monkeypatch.context() as patch:
        publish_quickly(patch)
        for number in range(3):
            what, _ = made.make()
            publish(broker, what, made.keys, now=datetime.now(UTC) - timedelta(minutes=9 - number))
    return made


def test_all_that_a_document_names_can_be_fetched_wherever_a_push_or_a_collection_was_killed(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_ask_child", ask_here)
    killer = Killer(channel.folder)
    options, rounds = ("--broker", channel.broker.url), 0
    log = channel.broker.directory / "mosquitto.log"
    while killer.kills < _KILLS // 2:
        rounds += 1
        assert rounds <= 10 * _KILLS, "the commands are over before they can be killed"
        before = channel.desired()
        artifact, path = channel.make()
        push = ("push", path.name, *options, "--keys", "keys")
        for command, may_be in ((push, {before.digest, artifact.digest}), (("gc", *options), {artifact.digest})):
            for _ in range(_KILLS_IN_A_ROW):
                killer.kill(*command, changed=lambda: log.stat().st_size)
                assert channel.desired().digest in may_be
                assert channel.is_whole()
            edgectl(channel.folder, *command)
            assert channel.desired().digest == artifact.digest
            assert channel.is_whole()

    lacking, first = channel.lacking(), next(iter(channel.artifacts.values()))
    assert lacking[first.manifest.version] == len(chunks_of(first)) - 1  # garbage was collected after all
