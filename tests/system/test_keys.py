"""Keys change while a real agent sleeps: it follows, and what the old ones sign counts no more."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from examples.agent_process import AgentProcess
from tests.sim.broker import Mosquitto, run_mosquitto
from tests.system.artifacts import Artifacts, edgectl

pytestmark = pytest.mark.system
TOPIC = "edge/v1/release/digits/stable"


def push(folder: Path, broker: Mosquitto, artifact: Path, *more: str, keys: str = "keys") -> None:
    edgectl(folder, "push", str(artifact), "--broker", broker.url, "--keys", keys, *more)


def test_an_agent_that_slept_through_two_rotations_follows_and_a_revoked_key_counts_no_more(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    folder = agent.folder
    push(folder, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    agent.stop()
    shutil.copytree(folder / "keys", folder / "stolen")
    edgectl(folder, "keys", "rotate", "targets", "--stolen", "--keys", "keys")
    edgectl(folder, "keys", "rotate", "root", "--keys", "keys")
    push(folder, broker, artifacts["digits-2.0.0"])

    agent.start()
    agent.wait_committed("camera", "2.0.0")
    forged = _signed_by(folder, "stolen", artifacts["digits-1.0.0"])
    _retain(broker, forged)
    agent.wait("the refusal", lambda: (agent.stage("camera").get("problem") or {}).get("reason") == "signature")
    assert agent.version("camera") == "2.0.0"
    assert agent.stage("camera")["phase"] == "idle"

    push(folder, broker, artifacts["digits-2.0.0"], "--replace-foreign")  # is this release already, freshly signed
    agent.wait("trust again", lambda: agent.stage("camera").get("problem") is None)
    assert agent.version("camera") == "2.0.0"


def test_refresh_brings_a_new_root_to_an_agent_that_runs_and_it_keeps_it_over_a_restart(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    folder = agent.folder
    push(folder, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    edgectl(folder, "keys", "rotate", "online", "--keys", "keys")
    said = edgectl(folder, "refresh", "--broker", broker.url, "--keys", "keys", "--json")
    assert json.loads(said.stdout)["state"] == "signed"
    kept = agent.state / "trust" / "digits.stable.json"
    agent.wait("the new root", lambda: "2.root.json" in kept.read_text(encoding="utf-8"))
    agent.kill()
    agent.start()
    push(folder, broker, artifacts["digits-2.0.0"])
    agent.wait_committed("camera", "2.0.0")


def test_a_release_for_another_class_of_device_is_refused_in_words(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent.folder, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    push(agent.folder, broker, artifacts["digits-2.0.0"], "--device-class", "pi5")
    agent.wait("the refusal", lambda: (agent.stage("camera").get("problem") or {}).get("reason") == "wrong_target")
    assert (
        "signed for devices of class 'pi5', and this device has no class" in agent.stage("camera")["problem"]["detail"]
    )
    assert agent.version("camera") == "1.0.0"
    agent.stop()
    agent.config.write_text(agent.config.read_text().replace("[device]\n", '[device]\nclass = "pi5"\n'))
    agent.start()
    agent.wait_committed("camera", "2.0.0")


def _signed_by(folder: Path, keys: str, artifact: Path) -> bytes:
    """What the holder of other keys would publish, taken from a broker of their own."""
    (folder / "their-broker").mkdir()
    with run_mosquitto(folder / "their-broker") as theirs:
        push(folder, theirs, artifact, keys=keys)
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(theirs.port), "-t", TOPIC, "-C", "1", "-W", "10", "-N"]
        return subprocess.run(command, capture_output=True, check=True).stdout


def _retain(broker: Mosquitto, payload: bytes) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", TOPIC, "-r", "-q", "1", "-s"]
    subprocess.run(command, input=payload, check=True)
