"""A device that runs candidates in shadow: one that answers otherwise never answers for real."""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.release.archive import format_archive, read_artifact
from edge_agent.release.manifest import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, FileEntry, format_manifest
from examples.agent_process import AgentProcess
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts, edgectl
from tests.system.conftest import CONFIG
from tests.system.test_main_job import push
from tests.update.hostile import structure_of

pytestmark = pytest.mark.system
_LARGE_LAYER_BYTES = 1000
SHADOW = "[update]\nshadow_share = 0.5\nshadow_frames = 20\n"


def answering_otherwise(good: Path, bad: Path, *, version: str) -> Path:
    """The same model with its large layers inverted, and without the golden vectors that would find it out."""
    artifact = read_artifact(good)
    model = bytearray(artifact.members[MODEL_FILE])
    for before, after in pairwise([*structure_of(bytes(model)), len(model)]):
        if after - before > _LARGE_LAYER_BYTES:
            model[before + 1 : after] = bytes(0xFF - each for each in model[before + 1 : after])
    files = {name: each for name, each in artifact.manifest.files.items() if name != GOLDEN_FILE}
    files[MODEL_FILE] = FileEntry(hashlib.sha256(model).hexdigest(), len(model))
    manifest = format_manifest(replace(artifact.manifest, version=version, files=files))
    members = {name: content for name, content in artifact.members.items() if name in files}
    bad.write_bytes(format_archive({**members, MODEL_FILE: bytes(model), MANIFEST_FILE: manifest}))
    return bad


def test_a_candidate_is_compared_with_what_serves_before_it_may_answer(
    tmp_path: Path, broker: Mosquitto, artifacts: Artifacts
) -> None:
    edgectl(tmp_path, "keys", "init", "keys")
    with AgentProcess(tmp_path, CONFIG.format(url=broker.url, pictures=artifacts.pictures) + SHADOW) as agent:
        push(agent, broker, artifacts["digits-1.0.0"])
        agent.wait_committed("camera", "1.0.0")
        bad = answering_otherwise(artifacts["digits-1.0.0"], tmp_path / "digits-1.5.0.edge", version="1.5.0")
        push(agent, broker, bad)
        agent.wait("the refusal", lambda: agent.last("camera").get("version") == "1.5.0")
        last = agent.last("camera")
        assert (last["result"], last["reason"]) == ("rejected", "disagrees")
        assert "of 20 frames as the current release did" in last["detail"]
        push(agent, broker, artifacts["digits-2.0.0"])
        agent.wait_committed("camera", "2.0.0")
        assert "in shadow" in agent.last("camera")["detail"]
        versions = {json.loads(line)["version"] for line in agent.results("camera.jsonl")}
        assert versions <= {"1.0.0", "2.0.0"}
        assert "Traceback" not in agent.log()
