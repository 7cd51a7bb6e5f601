"""Several models on one source, with real processes, a real broker and real models."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.release.archive import format_archive
from edge_agent.release.inputs import ImageInput
from edge_agent.release.outputs import OutputSpec
from examples.agent_process import AgentProcess
from examples.broken import with_wrong_answers
from tests.sim.artifact import make_members
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts, edgectl
from tests.system.test_main_job import push

pytestmark = pytest.mark.system

SIDE_BY_SIDE = """\
[device]
id = "bench-pi"
[mqtt]
url = "{url}"
[trust]
root = "keys/root.json"
[storage]
state_dir = "state"
[telemetry]
interval_s = 0.5
[pipeline.camera]
source = {{ kind = "folder", path = "{pictures}", repeat = true, max_fps = 40 }}
sinks = [{{ kind = "jsonl", path = "camera.jsonl" }}]
[pipeline.camera.stage.left]
model = "digits"
[pipeline.camera.stage.right]
model = "digits"
channel = "beta"
"""

CASCADE = """\
[storage]
state_dir = "state"
[pipeline.pets]
source = { kind = "folder", path = "pictures" }
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
    start = everything.index(inputs[0])
    expected = [everything[(start + offset) % len(everything)] for offset in range(len(inputs))]
    assert inputs == expected, "a frame was lost or answered twice"


@pytest.mark.shared_data
def test_what_one_model_finds_another_one_names(tmp_path: Path, shared_data: Path) -> None:
    models, labels = shared_data / "models", shared_data / "labels"
    finder = make_members(
        (models / "detection/coco_ssd_mobilenet_v1_metadata.tflite").read_bytes(),
        name="finder",
        task="detection",
        source=ImageInput(),
        output=OutputSpec(score_threshold=0.4, decoder="ssd_postprocess"),
        labels=(labels / "coco_labels.txt").read_bytes(),
    )
    namer = make_members(
        (models / "classification/mobilenet_v2_1.0_224_quant.tflite").read_bytes(),
        name="namer",
        task="classification",
        source=ImageInput(),
        output=OutputSpec(top_k=1),
        labels=(labels / "imagenet_labels.txt").read_bytes(),
    )
    for name, members in (("finder", finder), ("namer", namer)):
        (tmp_path / f"{name}-1.0.0.edge").write_bytes(format_archive(members))
    (tmp_path / "pictures").mkdir()
    for picture in ("cat.bmp", "bird.bmp", "pets.jpg"):
        shutil.copy(shared_data / "images" / picture, tmp_path / "pictures" / picture)
    with AgentProcess(tmp_path, CASCADE) as agent:
        agent.wait("three answers", lambda: len(agent.results("pets.jsonl")) == 3)
        results = {result["input"]: result["stages"] for result in map(json.loads, agent.results("pets.jsonl"))}
    cat = next(found for found in results["cat.bmp"]["find"]["results"] if found["label"] == "cat")
    bird = next(found for found in results["bird.bmp"]["find"]["results"] if found["label"] == "bird")
    assert "cat" in cat["stages"]["name"][0]["label"]
    assert "chickadee" in bird["stages"]["name"][0]["label"]
    assert "name" not in results["pets.jpg"], "dogs are nobody's to name"
    assert all("stages" not in found for found in results["pets.jpg"]["find"]["results"])
