"""The main job with real processes, a real mosquitto and real models: what the README promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.inference.process import read_pss_bytes
from examples.agent_process import AgentProcess
from examples.broken import with_wrong_answers
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts, edgectl, with_trial
from tests.system.frames import dropped_frames, missing_frames

pytestmark = pytest.mark.system

_LONGER_THAN_A_PUSH_S = 10.0  # a trial that is under way when the agent is killed, however busy the machine


def push(agent: AgentProcess, broker: Mosquitto, artifact: Path, *, keys: str = "keys") -> int:
    """Publish on `stable`; returns the bytes of chunks that were sent."""
    done = edgectl(agent.folder, "push", str(artifact), "--broker", broker.url, "--keys", keys, "--json")
    return int(json.loads(done.stdout)["sent"]["bytes_sent"])


def test_a_pushed_release_is_proved_and_committed_and_answers(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    assert agent.stage("camera")["phase"] == "idle"
    assert agent.results("camera.jsonl") == []
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    agent.wait("results", lambda: len(agent.results("camera.jsonl")) > 40)
    results = [json.loads(line) for line in agent.results("camera.jsonl")]
    right = [result for result in results if f"is_{result['results'][0]['label']}." in result["input"]]
    assert len(right) / len(results) > 0.8
    assert {result["version"] for result in results} == {"1.0.0"}


def test_a_better_release_replaces_it_and_only_missing_chunks_travel(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    with dropped_frames(broker, "bench-pi", "camera") as dropped:
        first = push(agent, broker, artifacts["digits-1.0.0"])
        agent.wait_committed("camera", "1.0.0")
        second = push(agent, broker, artifacts["digits-2.0.0"])
        agent.wait_committed("camera", "2.0.0")
        assert 0 < second < first / 2
        assert push(agent, broker, artifacts["digits-2.0.0"]) == 0
        inputs = [json.loads(line)["input"] for line in agent.results("camera.jsonl")]
        everything = sorted(path.name for path in artifacts.pictures.iterdir())
        assert missing_frames(inputs, everything) <= dropped.count(), "a frame was lost over the switch"


def test_a_release_with_wrong_answers_is_refused_and_the_old_one_goes_on_serving(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    broken = agent.folder / "digits-9.0.0.edge"
    with_wrong_answers(artifacts["digits-1.0.0"], broken, version="9.0.0")
    push(agent, broker, broken)
    agent.wait("the refusal", lambda: agent.last("camera").get("version") == "9.0.0")
    assert (agent.last("camera")["result"], agent.last("camera")["reason"]) == ("rejected", "golden_mismatch")
    assert agent.version("camera") == "1.0.0"
    before = len(agent.results("camera.jsonl"))
    agent.wait("more answers of the old one", lambda: len(agent.results("camera.jsonl")) > before + 5)
    assert {json.loads(line)["version"] for line in agent.results("camera.jsonl")} == {"1.0.0"}
    assert len(list((agent.state / "releases").iterdir())) == 1, "the refused release is still on the disk"


def test_a_release_signed_by_nobody_we_know_is_not_followed(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    edgectl(agent.folder, "keys", "init", "others")
    forged = _document_of(artifacts["digits-2.0.0"], agent, keys="others")
    _retain(broker, "edge/v1/release/digits/stable", forged)
    agent.wait("the refusal", lambda: (agent.stage("camera").get("problem") or {}).get("reason") == "signature")
    assert agent.version("camera") == "1.0.0"
    assert agent.stage("camera")["phase"] == "idle"
    assert agent.stage("camera").get("rejected", []) == [], "a forgery must not get a good digest rejected"


def test_killed_in_the_middle_of_an_update_it_recovers(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    slow = agent.folder / "digits-2.0.0.edge"
    with_trial(artifacts["digits-2.0.0"], slow, trial_s=_LONGER_THAN_A_PUSH_S)
    push(agent, broker, slow)
    agent.wait("the trial", lambda: agent.stage("camera")["phase"] == "trial")
    agent.kill()
    agent.start()
    assert agent.version("camera") == "1.0.0", "it was committed before its trial was over"
    agent.wait_committed("camera", "2.0.0")
    assert agent.stage("camera")["previous"]["version"] == "1.0.0"


def test_without_its_broker_it_starts_and_serves_and_goes_on_when_the_broker_is_back(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    agent.stop()
    broker.stop(kill=True)
    before = len(agent.results("camera.jsonl"))
    agent.start()
    agent.wait("answers without a broker", lambda: len(agent.results("camera.jsonl")) > before + 5)
    assert agent.version("camera") == "1.0.0"
    broker.start()
    push(agent, broker, artifacts["digits-2.0.0"])
    agent.wait_committed("camera", "2.0.0")


def test_a_corrupt_record_is_set_aside_and_what_is_desired_is_staged_from_the_disk(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    agent.stop()
    broker.stop()
    record = agent.state / "records" / "camera" / "main.json"
    record.write_bytes(record.read_bytes().replace(b"current", b"curry__"))
    agent.start()
    agent.wait_committed("camera", "1.0.0")
    assert len(list(record.parent.glob("main.json.corrupt-*"))) == 1


def test_rollback_goes_back_and_does_not_take_the_release_again(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    for version in ("1.0.0", "2.0.0"):
        push(agent, broker, artifacts[f"digits-{version}"])
        agent.wait_committed("camera", version)
    command = [sys.executable, "-m", "edge_agent.cli", "rollback", "camera", "-c", str(agent.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "digits 1.0.0" in done.stdout
    assert agent.version("camera") == "1.0.0"
    assert (agent.last("camera")["result"], agent.last("camera")["reason"]) == ("rolled_back", "operator")
    agent.stop()
    agent.start()
    agent.wait("it to serve", lambda: agent.version("camera") == "1.0.0")
    assert agent.stage("camera")["phase"] == "idle"


def test_the_supervisor_is_light(agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    mapped = Path(f"/proc/{agent.pid}/maps").read_text()
    assert not [name for name in ("numpy", "ai_edge_litert", "tflite_runtime", "PIL") if f"/{name}/" in mapped]
    assert (read_pss_bytes(agent.pid) or 0) <= 30 * 1024 * 1024


def test_the_supervisors_modules_need_neither_numpy_nor_the_interpreter() -> None:
    program = "import sys, edge_agent.cli, edge_agent.service.compose; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "PIL", "ai_edge_litert", "tflite_runtime", "flatbuffers", "tuf", "cryptography"}


def test_the_fleet_sees_it(agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    agent.wait("latency", lambda: agent.stage("camera").get("p95_ms") is not None)

    def seen() -> dict[str, object]:
        device = json.loads(edgectl(agent.folder, "devices", "--broker", broker.url, "--json").stdout)
        return dict(device)

    device = seen()
    assert (device["id"], device["online"]) == ("bench-pi", True)
    agent.kill()
    agent.wait("the last will", lambda: seen()["online"] is False)


def _document_of(artifact: Path, agent: AgentProcess, *, keys: str) -> bytes:
    """The release document that the owner of other keys would publish, taken from a broker of their own."""
    from tests.sim.broker import run_mosquitto

    folder = agent.folder / "their-broker"
    folder.mkdir()
    with run_mosquitto(folder) as theirs:
        push(agent, theirs, artifact, keys=keys)
        return _retained(theirs, "edge/v1/release/digits/stable")


def _retained(broker: Mosquitto, topic: str) -> bytes:
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-C", "1", "-W", "10", "-N"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _retain(broker: Mosquitto, topic: str, payload: bytes) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-r", "-q", "1", "-s"]
    subprocess.run(command, input=payload, check=True)
