"""What goes wrong in the field, with real processes: it is said, it heals, and what served goes on serving."""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.release.archive import format_archive, read_artifact
from edge_agent.release.inputs import SignalInput
from edge_agent.release.manifest import MANIFEST_FILE, MODEL_FILE, FileEntry, format_manifest
from examples.agent_process import AgentProcess
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts, edgectl
from tests.system.test_main_job import push
from tests.update.hostile import Damager
from tests.update.test_hostile_models import REFUSALS

pytestmark = pytest.mark.system
ALONE = """\
[mqtt]
url = "{url}"
[trust]
root = "keys/root.json"
[storage]
state_dir = "state"
[pipeline.camera]
model = "digits"
initial = "{initial}"
source = {{ kind = "folder", path = "{pictures}", repeat = true, max_fps = 15 }}
sinks = [{{ kind = "jsonl", path = "camera.jsonl" }}]
"""
SENSOR = """\
[storage]
state_dir = "state"
[pipeline.sensor]
model = "linescan"
initial = "{initial}"
source = {{ kind = "csv", path = "rows.csv", repeat = true, rate_hz = 400 }}
sinks = [{{ kind = "jsonl", path = "sensor.jsonl" }}]
"""


def with_model(good: Path, bad: Path, model: bytes, *, version: str) -> Path:
    """A whole, consistent artifact whose model is whatever these bytes are."""
    artifact = read_artifact(good)
    entry = FileEntry(hashlib.sha256(model).hexdigest(), len(model))
    files = {**artifact.manifest.files, MODEL_FILE: entry}
    manifest = format_manifest(replace(artifact.manifest, version=version, files=files))
    bad.write_bytes(format_archive({**artifact.members, MODEL_FILE: model, MANIFEST_FILE: manifest}))
    return bad


def problem(agent: AgentProcess, pipeline: str) -> dict[str, Any]:
    return dict(agent.stage(pipeline).get("problem") or {})


def await_answers(agent: AgentProcess, sink: str) -> None:
    before = len(agent.results(sink))
    agent.wait("more answers", lambda: len(agent.results(sink)) > before + 5)


@pytest.mark.shared_data
def test_bad_models_in_signed_releases_are_refused_for_what_they_are_and_the_good_one_serves(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts, shared_data: Path
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    bad = shared_data / "bad_models"
    expected = {
        "9.0.0": (b"<!doctype html><html>not found</html>", "not_a_model", "HTML"),
        "9.0.1": ((bad / "git_lfs_pointer.tflite").read_bytes(), "not_a_model", "Git LFS"),
        "9.0.2": ((bad / "whitespace_tokenizer_flex.tflite").read_bytes(), "unsupported_operator", "Flex"),
    }
    for version, (model, reason, words) in expected.items():
        release = with_model(artifacts["digits-1.0.0"], agent.folder / f"digits-{version}.edge", model, version=version)
        push(agent, broker, release)
        agent.wait("the refusal", lambda version=version: agent.last("camera").get("version") == version)  # type: ignore[misc]
        last = agent.last("camera")
        assert (last["result"], last["reason"]) == ("rejected", reason)
        assert words in last["detail"]
        assert str(agent.state) not in last["detail"]
    await_answers(agent, "camera.jsonl")
    assert {json.loads(line)["version"] for line in agent.results("camera.jsonl")} == {"1.0.0"}
    assert len(list((agent.state / "releases").iterdir())) == 1
    assert list((agent.state / "staging").iterdir()) == []
    assert "Traceback" not in agent.log()


def test_damaged_models_in_signed_releases_are_refused_or_prove_themselves_and_the_worker_lives_on(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    """A handful through the whole agent; the thousand are in tests/update/test_hostile_models.py."""
    good = artifacts["digits-1.0.0"]
    push(agent, broker, good)
    agent.wait_committed("camera", "1.0.0")
    damager = Damager(read_artifact(good).members[MODEL_FILE])
    workers, kept = _children(agent), ["1.0.0"]
    for number in range(5):
        version = f"9.0.{number}"
        _, model = damager.damaged(number, seed=1)
        push(agent, broker, with_model(good, agent.folder / f"digits-{version}.edge", model, version=version))
        agent.wait("a verdict", lambda version=version: agent.last("camera").get("version") == version)  # type: ignore[misc]
        last = agent.last("camera")
        if last["result"] == "committed":  # then its golden vectors have passed: the damage does not matter
            kept.append(version)
            continue
        assert last["result"] == "rejected"
        assert last["reason"] in REFUSALS
        assert agent.version("camera") == kept[-1]
    assert len(kept) < 6
    await_answers(agent, "camera.jsonl")
    lines = [json.loads(line) for line in agent.results("camera.jsonl")]
    assert {line["version"] for line in lines} <= set(kept)
    assert _children(agent) == workers
    assert "Traceback" not in agent.log()


def test_a_worker_that_is_killed_is_started_again(agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    (worker,) = _children(agent)
    os.kill(worker, signal.SIGKILL)
    agent.wait("the problem", lambda: problem(agent, "camera").get("reason") == "crash_loop")
    assert "SIGKILL" in problem(agent, "camera")["detail"]
    await_answers(agent, "camera.jsonl")
    agent.wait("the problem to be over", lambda: problem(agent, "camera") == {})
    assert agent.version("camera") == "1.0.0"
    assert agent.stage("camera")["rejected"] == []


def test_a_release_that_rots_while_it_serves_is_fetched_again(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    digest = agent.stage("camera")["current"]["digest"]
    model = agent.state / "releases" / digest / MODEL_FILE
    rotten = model.read_bytes()[:1000]
    model.unlink()  # the worker's mapping must not be cut off under it
    model.write_bytes(rotten)
    (worker,) = _children(agent)
    os.kill(worker, signal.SIGKILL)
    agent.wait("the rot to be found", lambda: agent.last("camera").get("reason") == "rotten")
    agent.wait("it to be whole again", lambda: agent.last("camera").get("result") == "committed")
    assert agent.version("camera") == "1.0.0"
    assert agent.stage("camera")["rejected"] == []
    await_answers(agent, "camera.jsonl")


def test_an_acknowledgement_that_is_nonsense_does_not_end_the_agent(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    for nonsense in (b'{"streams": {"a": 1e400}}', b'{"streams": {"a": %d}}' % 10**30, b"[" * 50_000, b"\xff"):
        _retain(broker, "edge/v1/device/bench-pi/ack", nonsense)
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")


def test_a_broker_that_was_set_back_is_a_replay_and_the_next_push_is_followed(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    topic = "edge/v1/release/digits/stable"
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-C", "1", "-W", "10", "-N"]
    old = subprocess.run(command, capture_output=True, check=True).stdout
    push(agent, broker, artifacts["digits-2.0.0"])
    agent.wait_committed("camera", "2.0.0")
    _retain(broker, topic, old)
    agent.wait("the refusal", lambda: problem(agent, "camera").get("reason") == "replayed")
    assert agent.version("camera") == "2.0.0"
    third = with_model(
        artifacts["digits-1.0.0"],
        agent.folder / "digits-3.0.0.edge",
        read_artifact(artifacts["digits-1.0.0"]).members[MODEL_FILE],
        version="3.0.0",
    )
    push(agent, broker, third)
    agent.wait_committed("camera", "3.0.0")
    assert problem(agent, "camera") == {}


def test_a_broker_that_refuses_us_is_named_and_the_initial_release_serves(tmp_path: Path, artifacts: Artifacts) -> None:
    edgectl(tmp_path, "keys", "init", "keys")
    config = ALONE.format(url="mqtt://127.0.0.1:1", initial=artifacts["digits-1.0.0"], pictures=artifacts.pictures)
    with AgentProcess(tmp_path, config) as agent:
        agent.wait_committed("camera", "1.0.0")
        agent.wait("the problem", lambda: problem(agent, "camera").get("reason") == "link")
        assert "nothing listens there" in problem(agent, "camera")["detail"]
        assert problem(agent, "camera")["hint"]
        await_answers(agent, "camera.jsonl")


def test_a_misspelled_column_is_trouble_of_the_source_and_no_rejection(tmp_path: Path, artifacts: Artifacts) -> None:
    good = read_artifact(artifacts["linescan-1.0.0"])
    header, _, rows = artifacts.rows.read_text().partition("\n")
    (tmp_path / "rows.csv").write_text(f"{header.replace('diode_0', 'diod_0')}\n{rows}")
    assert isinstance(good.manifest.input, SignalInput)
    spec = replace(good.manifest.input, channels=tuple(header.split(",")))
    initial = tmp_path / "linescan-1.0.0.edge"
    initial.write_bytes(
        format_archive({**good.members, MANIFEST_FILE: format_manifest(replace(good.manifest, input=spec))})
    )
    with AgentProcess(tmp_path, SENSOR.format(initial=initial)) as agent:
        agent.wait("the problem", lambda: problem(agent, "sensor").get("reason") == "source")
        assert "no column diode_0 (did you mean diod_0?)" in problem(agent, "sensor")["detail"]
        assert agent.stage("sensor")["rejected"] == []
        (tmp_path / "rows.csv").write_text(f"{header}\n{rows}")
        agent.wait_committed("sensor", "1.0.0")
        await_answers(agent, "sensor.jsonl")
        assert problem(agent, "sensor") == {}


@pytest.fixture
def small_state(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a file system of 12 MB."""
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(state)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield state
    subprocess.run(["umount", "-l", str(state)], check=True)


def test_a_full_disk_stops_the_update_and_a_restart_on_it_still_serves(
    small_state: Path, agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    ballast = small_state / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(12 << 20))
    push(agent, broker, artifacts["digits-2.0.0"])
    agent.wait("the problem", lambda: problem(agent, "camera").get("reason") == "disk_full")
    agent.kill()
    agent.start()
    agent.wait("it to serve", lambda: agent.version("camera") == "1.0.0")
    await_answers(agent, "camera.jsonl")
    agent.stop()
    ballast.unlink()
    agent.start()
    agent.wait_committed("camera", "2.0.0")


def _children(agent: AgentProcess) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(agent.pid)], capture_output=True, check=True)
    lines = listed.stdout.decode().splitlines()
    return [int(line.split()[0]) for line in lines if "edge_agent.inference.worker" in line]


def _retain(broker: Mosquitto, topic: str, payload: bytes) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-r", "-q", "1", "-s"]
    subprocess.run(command, input=payload, check=True)
