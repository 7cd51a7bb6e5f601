"""Samples, all the way: a real agent keeps what it sees, a laptop pulls it back and makes a model of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.inference.samples.folder import RESULTS, is_sample
from edge_agent.link.topics import Topics
from examples.agent_process import CONFIG_HEAD, AgentProcess
from tests.sim.broker import Mosquitto
from tests.system.artifacts import DIGITS, Artifacts, edgectl
from tests.system.test_patch import hearing

pytestmark = pytest.mark.system

TOPICS = Topics()
SAMPLES = '{{ kind = "samples", folder = "{folder}", min_interval_s = 0.0, max_count = 9000{more} }}'
CONFIG = (
    CONFIG_HEAD
    + """\
[pipeline.camera]
model = "digits"
source = {{ kind = "folder", path = "{pictures}", repeat = true, max_fps = 15 }}
sinks = [{{ kind = "jsonl", path = "camera.jsonl" }}, {camera}]
[pipeline.scanner]
model = "linescan"
source = {{ kind = "csv", path = "{rows}", repeat = true, rate_hz = 80 }}
sinks = [{scanner}]
"""
)


@pytest.fixture
def agent(tmp_path: Path, broker: Mosquitto, artifacts: Artifacts) -> Iterator[AgentProcess]:
    """One whose pictures may be sent, and whose rows may not."""
    edgectl(tmp_path, "keys", "init", "keys")
    text = CONFIG.format(
        url=broker.url,
        pictures=artifacts.pictures,
        rows=artifacts.rows,
        camera=SAMPLES.format(folder="seen", more=", publish = true, max_bytes_per_s = 1000000"),
        scanner=SAMPLES.format(folder="scanned", more=""),
    )
    with AgentProcess(tmp_path, text) as running:
        for name in ("digits", "linescan"):
            artifact = str(artifacts[f"{name}-1.0.0"])
            edgectl(tmp_path, "push", artifact, "--broker", broker.url, "--keys", "keys")
        running.wait_committed("camera", "1.0.0")
        running.wait_committed("scanner", "1.0.0")
        yield running


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_sample(path.name)) if folder.is_dir() else []


def test_what_a_device_has_seen_is_pulled_back_and_makes_and_judges_a_model(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    seen, scanned = agent.folder / "seen", agent.folder / "scanned"
    agent.wait("samples", lambda: len(kept(seen)) >= 30 and len(kept(scanned)) >= 5)
    assert {path.stat().st_mode & 0o777 for path in (seen, *kept(seen), seen / RESULTS)} == {0o700, 0o600}
    with hearing(broker, TOPICS.sample("bench-pi")) as client:
        assert client.next_event(0.5) is None  # nobody has asked

    where = ("--broker", broker.url)
    done = edgectl(agent.folder, "samples", "--into", "pulled", "--count", "25", "--json", *where)
    (told,) = map(json.loads, done.stdout.splitlines())
    assert (told["device"], told["pipeline"], told["added"]) == ("bench-pi", "camera", 25)
    pulled = agent.folder / told["folder"]
    originals = {path.read_bytes() for path in artifacts.pictures.rglob("*") if path.is_file()}
    assert {path.read_bytes() for path in kept(pulled)} <= originals  # byte for byte
    assert sorted(path.name for path in (agent.folder / "pulled/bench-pi").iterdir()) == ["camera"]  # and no rows
    lines = [json.loads(line) for line in (pulled / RESULTS).read_text().splitlines()]
    assert [line["input"] for line in lines] == [path.name for path in kept(pulled)]

    model = str(DIGITS / "digits_v2.tflite")
    recipe = str(artifacts.folder / "camera.toml")
    what = (
        model,
        "-o",
        "digits-3.0.0.edge",
        "--recipe",
        recipe,
        "--calibrate",
        told["folder"],
        "--no-report",
        "--json",
    )
    edgectl(agent.folder, "convert", *what)
    judged = edgectl(agent.folder, "evaluate", str(artifacts["digits-1.0.0"]), told["folder"], "--json")
    tree = json.loads(judged.stdout)
    assert tree["samples"] == 25
    assert [*tree["values"].values()] == [1.0]  # it is given what it was given there, and says the same
    assert "what a device said" in judged.stdout + judged.stderr

    # The rows never left the device, but they are of the same use there.
    edgectl(
        agent.folder, "convert", str(DIGITS / "linescan_v1.tflite"), "-o", "linescan-2.0.0.edge", "--recipe",
        str(artifacts.folder / "scanner.toml"), "--calibrate", "scanned", "--no-report",
    )  # fmt: skip
    answered = (agent.folder / "camera.jsonl").read_text().splitlines()
    assert len(answered) >= 25
    assert agent.version("camera") == "1.0.0"
