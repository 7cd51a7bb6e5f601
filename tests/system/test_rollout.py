"""A rollout on three real agents with a real broker: canary, widen, halt, revert, reject and retry."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from converter.broker import Broker
from converter.publish.keys import read_keys
from converter.publish.orders import Publisher
from edge_agent.config.agent import read_config
from edge_agent.link.topics import Topics
from edge_agent.release.archive import format_archive, read_artifact
from edge_agent.release.document import Target
from edge_agent.release.manifest import MANIFEST_FILE, format_manifest
from edge_agent.release.rollout import place_of
from edge_agent.service.local import read_status
from examples.agent_process import AgentProcess
from examples.broken import with_wrong_answers
from tests.sim.broker import Mosquitto
from tests.sim.fleet import SimFleet
from tests.sim.releases import make_release
from tests.system.artifacts import Artifacts, edgectl

pytestmark = pytest.mark.system

CONFIG = """\
[device]
id = "{name}"
labels = ["{label}"]
[mqtt]
url = "{url}"
[trust]
root = "../keys/root.json"
[storage]
state_dir = "state"
[pipeline.camera]
model = "digits"
source = {{ kind = "folder", path = "{pictures}", repeat = true, max_fps = 10 }}
"""
CANARY = "desk-pi"


class Fleet:
    """Three agents and the laptop that publishes to them."""

    def __init__(self, folder: Path, broker: Mosquitto, agents: dict[str, AgentProcess]) -> None:
        self.folder = folder
        self.broker = broker
        self.agents = agents

    def edgectl(self, *arguments: str, expect: int = 0) -> str:
        common = ("--broker", self.broker.url, *(() if arguments == ("devices",) else ("--keys", "keys")))
        done = edgectl(self.folder, *arguments, *common, expect=expect)
        return done.stdout + done.stderr

    def wait_said(self, words: str, *arguments: str) -> None:
        """Until a command says so: what an agent knows already may still be on its way to the broker."""
        self.agents[CANARY].wait(f"{arguments} to say {words}", lambda: words in self.edgectl(*arguments))

    def wait(self, name: str, what: str, is_so: Callable[[dict[str, object]], bool]) -> None:
        agent = self.agents[name]
        agent.wait(f"{name}: {what}", lambda: is_so(agent.stage("camera")))

    def wait_version(self, version: str, *names: str) -> None:
        """On all of them, unless some are named."""
        for name in names or self.agents:
            self.agents[name].wait_committed("camera", version)

    def wait_held(self, name: str, reason: str, version: str) -> None:
        def is_held(stage: dict[str, object]) -> bool:
            held = stage.get("held")
            return isinstance(held, dict) and (held["reason"], held["version"]) == (reason, version)

        self.wait(name, f"{version} held as {reason}", is_held)

    def versions(self) -> dict[str, str | None]:
        return {name: agent.version("camera") for name, agent in self.agents.items()}


@pytest.fixture
def fleet(tmp_path: Path, broker: Mosquitto, artifacts: Artifacts) -> Iterator[Fleet]:
    edgectl(tmp_path, "keys", "init", "keys")
    with ExitStack() as running:
        agents = {}
        for name in (CANARY, *_two_places(read_artifact(artifacts["digits-2.0.0"]).digest)):
            (tmp_path / name).mkdir()
            label = "lab" if name == CANARY else "outdoor"
            text = CONFIG.format(name=name, label=label, url=broker.url, pictures=artifacts.pictures)
            agents[name] = running.enter_context(AgentProcess(tmp_path / name, text))
        yield Fleet(tmp_path, broker, agents)


@pytest.mark.timeout(300)  # some thirty commands, a second of the laptop each
def test_canary_widen_halt_revert_and_retry_on_three_real_devices(fleet: Fleet, artifacts: Artifacts) -> None:
    first, second = artifacts["digits-1.0.0"], artifacts["digits-2.0.0"]
    earlier, later = (name for name in fleet.agents if name != CANARY)
    fleet.edgectl("push", str(first))
    fleet.wait_version("1.0.0")

    # the canary alone
    said = fleet.edgectl("push", str(second), "--percent", "0", "--canary-label", "lab")
    assert "1 of 3 known devices is in it" in said
    fleet.wait_version("2.0.0", CANARY)
    for name in (earlier, later):
        fleet.wait_held(name, "not_in_rollout", "2.0.0")
    fleet.wait_said("does not take 2.0.0 (not_in_rollout)", "devices")

    # wider, until one more has it
    percent = str(place_of(earlier, read_artifact(second).digest) + 1)
    assert "2 of 3 known devices are in it" in fleet.edgectl("rollout", "widen", percent, "digits")
    fleet.wait_version("2.0.0", earlier)
    fleet.wait_held(later, "not_in_rollout", "2.0.0")

    # halted: who has it keeps it, also over a restart; who has not does not begin
    fleet.edgectl("rollout", "halt", "digits")
    fleet.wait_held(later, "halted", "2.0.0")
    fleet.agents[earlier].stop()
    fleet.agents[earlier].start()
    fleet.wait_version("2.0.0", earlier)
    assert fleet.versions() == {CANARY: "2.0.0", earlier: "2.0.0", later: "1.0.0"}
    fleet.agents[later].stop()
    stopped = read_status(read_config(fleet.agents[later].config))["pipelines"]["camera"]["main"]
    assert (stopped["held"]["reason"], stopped["held"]["version"]) == ("halted", "2.0.0")
    fleet.agents[later].start()
    assert "is halted" in fleet.edgectl("rollout", "run", "digits", "--soak", "0s", expect=3)

    # taken back, with nothing but the document; then an older push is no order
    fleet.edgectl("release", "revert", "digits")
    fleet.wait_version("1.0.0")
    older = fleet.folder / "digits-0.9.0.edge"
    with_version(first, older, "0.9.0")
    assert "edgectl release revert digits" in fleet.edgectl("push", str(older), expect=1)

    # a release that all of them reject, tried once more by order, and rejected again
    broken = fleet.folder / "digits-3.0.0.edge"
    with_wrong_answers(first, broken, version="3.0.0")
    fleet.edgectl("push", str(broken))
    for name in fleet.agents:
        fleet.wait_held(name, "rejected_before", "3.0.0")
    fleet.wait_said("3 of 3 devices (100.0 %) rejected", "rollout", "status", "digits")
    assert "failed>2%: 3 of 3 devices" in fleet.edgectl("rollout", "run", "digits", expect=3)
    fleet.edgectl("rollout", "widen", "100", "digits")
    number = json.loads(fleet.edgectl("release", "retry", "digits", "--json"))["document"]
    for name in fleet.agents:
        fleet.wait(name, "the order carried out", lambda stage: stage.get("lifted") == number)
        fleet.wait_held(name, "rejected_before", "3.0.0")
    assert set(fleet.versions().values()) == {"1.0.0"}


@pytest.mark.timeout(300)
def test_a_rollout_program_that_is_killed_again_and_again_goes_on_to_the_end(tmp_path: Path, broker: Mosquitto) -> None:
    """SIGKILL at every line that it says: after a look, before the next document is signed."""
    edgectl(tmp_path, "keys", "init", "keys")
    old, new = make_release("1.0.0"), make_release("1.1.0")
    fleet, topics = SimFleet([f"pi-{number}" for number in range(10)], old, new), Topics()
    publisher = Publisher("birds", "stable", read_keys(tmp_path / "keys"), lambda: Broker(broker.settings, topics))
    common = ("--broker", broker.url, "--keys", "keys")

    def target() -> Target:
        with publisher.connect() as laptop:
            return publisher.read(laptop).target

    def turn() -> None:
        fleet.hear(target())
        with publisher.connect() as laptop:
            fleet.report(laptop)

    for release, share in ((old, "100"), (new, "0")):
        file = release.write(tmp_path / f"birds-{release.target.version}.edge")
        edgectl(tmp_path, "push", str(file), "--percent", share, "--canary-device", "pi-3", *common)
        turn()
    percents = [0]
    command = [
        sys.executable,
        "-c",
        _HASTY,
        "rollout",
        "run",
        "birds",
        "--stages",
        "30,60,100",
        "--soak",
        "2s",
        *common,
    ]
    for kills in itertools.count():
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
            assert running.stderr is not None
            said = running.stderr.readline()
            if kills % 2:
                said += running.stderr.readline()  # so that every second one gets further
            running.kill()
        assert b"error" not in said, said
        turn()
        if target().rollout.percent != percents[-1]:
            percents.append(target().rollout.percent)
        if percents[-1] == 100 and fleet.serving() == dict.fromkeys(fleet.devices, "1.1.0"):
            break
    assert percents == [0, 30, 60, 100], "a stage was left out, or gone back to"
    assert kills >= 3


_HASTY = "import converter.fleet.drive as drive; drive.LOOK_S = 0.2; import converter.cli; converter.cli.main()"


def _two_places(digest: str) -> tuple[str, str]:
    """Two devices of which one comes first in the rollout of a release; its digest is another on each machine."""
    one = "attic-pi"
    other = next(
        name for name in map("porch-pi-{}".format, itertools.count()) if place_of(name, digest) != place_of(one, digest)
    )
    return (one, other) if place_of(one, digest) < place_of(other, digest) else (other, one)


def with_version(good: Path, other: Path, version: str) -> None:
    """Write `other`, the artifact `good` under another version."""
    artifact = read_artifact(good)
    manifest = replace(artifact.manifest, version=version)
    other.write_bytes(format_archive({**artifact.members, MANIFEST_FILE: format_manifest(manifest)}))
