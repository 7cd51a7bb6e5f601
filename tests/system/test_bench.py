"""`edgectl bench`: a real device measures a release that it will never serve."""

import json

import pytest

from edge_agent.link.topics import Topics
from examples.agent_process import AgentProcess
from tests.sim.broker import Mosquitto
from tests.system.artifacts import DIGITS, Artifacts, edgectl
from tests.system.test_patch import hearing

pytestmark = pytest.mark.system

TOPICS = Topics()


def test_a_device_measures_a_candidate_and_serves_on(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    where = ("--broker", broker.url, "--keys", "keys")
    edgectl(agent.folder, "push", str(artifacts["digits-1.0.0"]), *where)
    agent.wait_committed("camera", "1.0.0")
    for _ in range(2):  # the second time from what the device remembers
        done = edgectl(agent.folder, "bench", str(artifacts["digits-2.0.0"]), "--device", "bench-pi", "--json", *where)
        report = json.loads(done.stdout)
        assert (report["outcome"], report["version"]) == ("measured", "2.0.0")
        assert 0 < report["measured"]["p50_ms"] <= report["measured"]["p95_ms"]
        assert report["measured"]["golden_vectors"] > 0
    assert agent.version("camera") == "1.0.0"
    assert len(list((agent.folder / "state" / "releases").iterdir())) == 1
    with hearing(broker, TOPICS.release("digits", "bench")) as client:
        assert client.next_event(0.5) is None  # the document is gone again


def test_who_cannot_measure_it_is_told_at_once(agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts) -> None:
    where = ("--broker", broker.url, "--keys", "keys")
    edgectl(agent.folder, "push", str(artifacts["digits-1.0.0"]), *where)
    agent.wait_committed("camera", "1.0.0")
    nobody = edgectl(agent.folder, "bench", str(artifacts["digits-2.0.0"]), "--device", "attic", *where, expect=1)
    assert "there is no device 'attic'" in nobody.stderr
    other = edgectl(agent.folder, "bench", str(artifacts["linescan-1.0.0"]), "--device", "bench-pi", *where, expect=1)
    assert "serves no model 'linescan'; it serves digits" in other.stderr
    with hearing(broker, TOPICS.release("linescan", "bench")) as client:
        assert client.next_event(0.5) is None


def test_a_search_takes_the_latencies_that_a_device_has_measured(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    where = ("--broker", broker.url, "--keys", "keys")
    edgectl(agent.folder, "push", str(artifacts["digits-1.0.0"]), *where)
    agent.wait_committed("camera", "1.0.0")
    model, data = str(DIGITS / "digits_v1.tflite"), str(artifacts.folder / "calibration")
    what = ("--auto", "--calibrate", data, "--color", "gray", "--mean", "0", "--std", "255", "--no-report")
    done = edgectl(
        agent.folder, "convert", model, "-o", "digits-3.0.0.edge", *what, "--target", "bench-pi", "--json", *where
    )
    candidates = json.loads(done.stdout)["candidates"]
    assert {candidate["where"] for candidate in candidates} == {"bench-pi"}
    assert all(candidate["latency_ms"] > 0 for candidate in candidates)
    assert [candidate["chosen"] for candidate in candidates].count(True) == 1
    assert agent.version("camera") == "1.0.0"

    nobody = ("--target", "bench-pi", "--keys", "keys")
    asked = edgectl(agent.folder, "convert", model, "-o", "digits-4.0.0.edge", *what, *nobody, expect=2)
    assert "over a broker, and none was named" in asked.stderr
