"""Several models on one source, with real processes, a real broker and real models."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge_agent.cli import cli
from edge_agent.release.archive import format_archive
from edge_agent.release.inputs import ImageInput
from edge_agent.release.manifest import Limits
from edge_agent.release.outputs import OutputSpec
from examples.agent_process import CONFIG_HEAD, AgentProcess
from examples.broken import with_wrong_answers
from tests.sim.artifact import make_members
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts, edgectl
from tests.system.frames import dropped_frames, missing_frames
from tests.system.test_main_job import push

pytestmark = pytest.mark.system

SIDE_BY_SIDE = (
    CONFIG_HEAD
    + """\
[telemetry]
interval_s = 0.5
[pipeline.camera]
source = {{ kind = "folder", path = "{pictures}", repeat = true, max_fps = 15 }}
sinks = [{{ kind = "jsonl", path = "camera.jsonl" }}]
[pipeline.camera.stage.left]
model = "digits"
[pipeline.camera.stage.right]
model = "digits"
channel = "beta"
"""
)

CASCADE = """\
[storage]
state_dir = "state"
[pipeline.pets]
source = { kind = "folder", path = "pictures", repeat = true }
sinks = [{ kind = "jsonl", path = "pets.jsonl" }]
[pipeline.pets.stage.find]
model = "finder"
initial = "finder-1.0.0.edge"
[pipeline.pets.stage.name]
model = "namer"
initial = "namer-1.0.0.edge"
crops_of = "find"
crops = { labels = ["cat", "bird"], margin = 0.1 }
"""


@pytest.fixture
def agent(tmp_path: Path, broker: Mosquitto, artifacts: Artifacts) -> Iterator[AgentProcess]:
    edgectl(tmp_path, "keys", "init", "keys")
    with AgentProcess(tmp_path, SIDE_BY_SIDE.format(url=broker.url, pictures=artifacts.pictures)) as running:
        yield running


def answers(agent: AgentProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in agent.results("camera.jsonl")]


def test_each_stage_follows_its_own_channel_tries_and_commits_or_refuses_by_itself(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    with dropped_frames(broker, "bench-pi", "camera") as dropped:
        push(agent, broker, artifacts["digits-1.0.0"])
        agent.wait_committed("camera", "1.0.0", "left")
        assert agent.stage("camera", "right")["phase"] == "idle"
        assert {tuple(result["stages"]) for result in answers(agent)} == {("left",)}

        beta = ("--broker", broker.url, "--keys", "keys", "--channel", "beta")
        edgectl(agent.folder, "push", str(artifacts["digits-2.0.0"]), *beta)
        agent.wait_committed("camera", "2.0.0", "right")
        agent.wait("answers of both", lambda: len(answers(agent)[-1]["stages"]) == 2)
        last = answers(agent)[-1]["stages"]
        assert (last["left"]["version"], last["right"]["version"]) == ("1.0.0", "2.0.0")

        broken = agent.folder / "digits-9.0.0.edge"
        with_wrong_answers(artifacts["digits-1.0.0"], broken, version="9.0.0")
        edgectl(agent.folder, "push", str(broken), *beta)
        agent.wait("the refusal", lambda: agent.last("camera", "right").get("version") == "9.0.0")
        assert agent.last("camera", "right")["reason"] == "golden_mismatch"
        assert (agent.version("camera", "left"), agent.version("camera", "right")) == ("1.0.0", "2.0.0")
        assert agent.last("camera", "left")["result"] == "committed"

        inputs = [result["input"] for result in answers(agent)]
        everything = sorted(path.name for path in artifacts.pictures.iterdir())
        assert missing_frames(inputs, everything) <= dropped.count(), "a frame was lost"


def finder(shared_data: Path, version: str = "1.0.0") -> dict[str, bytes]:
    return make_members(
        (shared_data / "models/detection/coco_ssd_mobilenet_v1_metadata.tflite").read_bytes(),
        name="finder",
        version=version,
        task="detection",
        source=ImageInput(),
        output=OutputSpec(score_threshold=0.4, decoder="ssd_postprocess"),
        labels=(shared_data / "labels/coco_labels.txt").read_bytes(),
        limits=Limits(trial_frames=3, trial_s=0.2),
    )


def namer(shared_data: Path, name: str = "namer") -> dict[str, bytes]:
    return make_members(
        (shared_data / "models/classification/mobilenet_v2_1.0_224_quant.tflite").read_bytes(),
        name=name,
        task="classification",
        source=ImageInput(),
        output=OutputSpec(top_k=1),
        labels=(shared_data / "labels/imagenet_labels.txt").read_bytes(),
        limits=Limits(trial_frames=3, trial_s=0.2),
    )


def lay_out(folder: Path, shared_data: Path, **releases: dict[str, bytes]) -> None:
    """Artifacts and pictures as CASCADE wants them."""
    for name, members in releases.items():
        (folder / f"{name}-1.0.0.edge").write_bytes(format_archive(members))
    (folder / "pictures").mkdir()
    for picture in ("cat.bmp", "bird.bmp", "pets.jpg"):
        shutil.copy(shared_data / "images" / picture, folder / "pictures" / picture)


@pytest.mark.shared_data
def test_what_one_model_finds_another_one_names(tmp_path: Path, shared_data: Path) -> None:
    lay_out(tmp_path, shared_data, finder=finder(shared_data), namer=namer(shared_data))
    with AgentProcess(tmp_path, CASCADE) as agent:

        def named() -> list[dict[str, Any]]:
            """What has been answered since both models serve: which of them is loaded first is a matter of chance."""
            results = [json.loads(line) for line in agent.results("pets.jsonl")]
            first = next((at for at, result in enumerate(results) if "name" in result["stages"]), len(results))
            return results[first:]

        agent.wait("three answers of both", lambda: len(named()) >= 3)
        results = {result["input"]: result["stages"] for result in named()}
    cat = next(found for found in results["cat.bmp"]["find"]["results"] if found["label"] == "cat")
    bird = next(found for found in results["bird.bmp"]["find"]["results"] if found["label"] == "bird")
    assert "cat" in cat["stages"]["name"][0]["label"]
    assert "chickadee" in bird["stages"]["name"][0]["label"]
    assert "name" not in results["pets.jpg"], "dogs are nobody's to name"
    assert all("stages" not in found for found in results["pets.jpg"]["find"]["results"])


@pytest.mark.shared_data
def test_a_trial_on_crops_of_a_classifier_waits_and_says_why_until_a_detector_comes(
    tmp_path: Path, broker: Mosquitto, shared_data: Path
) -> None:
    edgectl(tmp_path, "keys", "init", "keys")
    lay_out(tmp_path, shared_data, finder=namer(shared_data, "finder"), namer=namer(shared_data))
    link = f'[mqtt]\nurl = "{broker.url}"\n[trust]\nroot = "keys/root.json"\n'
    with AgentProcess(tmp_path, link + CASCADE) as agent:
        agent.wait_committed("pets", "1.0.0", "find")
        agent.wait("a problem", lambda: "problem" in agent.stage("pets", "name"))
        waiting = agent.stage("pets", "name")
        assert waiting["phase"] == "trial"
        assert waiting["problem"] == {
            "reason": "source",
            "detail": (
                "its crops come from stage find, whose release 1.0.0 is a classification model and gives no boxes"
            ),
            "hint": "push a detector there, or remove crops_of",
        }
        assert "problem" not in agent.stage("pets", "find")
        status = CliRunner().invoke(cli, ["status", "-c", str(agent.config)])
        assert "gives no boxes (push a detector there, or remove crops_of)" in status.output

        detector = tmp_path / "finder-2.0.0.edge"
        detector.write_bytes(format_archive(finder(shared_data, "2.0.0")))
        push(agent, broker, detector)
        agent.wait_committed("pets", "2.0.0", "find")
        agent.wait_committed("pets", "1.0.0", "name")
        assert "problem" not in agent.stage("pets", "name")
        assert agent.stage("pets", "name")["rejected"] == []
