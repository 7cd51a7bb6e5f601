"""A patch all the way: learned from a real agent's `reported`, made by `edgectl push`, applied by the agent, told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from converter.broker import Broker
from edge_agent.link.messages import EventReport, parse_event, parse_reported
from edge_agent.link.topics import Topics
from examples.agent_process import AgentProcess
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts, edgectl

pytestmark = pytest.mark.system

TOPICS = Topics()
DEVICE = "bench-pi"
WAIT_S = 60.0


@contextmanager
def hearing(broker: Mosquitto, topic: str) -> Iterator[Broker]:
    with Broker(broker.settings, TOPICS) as client:
        client.listen([topic])
        yield client


def wait_reported(broker: Mosquitto, version: str) -> None:
    """Return once the broker retains that the device runs this version."""
    with hearing(broker, TOPICS.reported(DEVICE)) as client:
        while (event := client.next_event(WAIT_S)) is not None:
            stages = parse_reported(event.payload).pipelines.get("camera", {})
            if any(stage.current is not None and stage.current.version == version for stage in stages.values()):
                return
    raise TimeoutError(version)


def next_staged(client: Broker) -> EventReport:
    while (message := client.next_event(WAIT_S)) is not None:
        event = parse_event(message.payload)
        if event.kind == "staged":
            return event
    raise TimeoutError


def test_a_better_release_reaches_the_agent_as_a_patch_of_the_one_it_has(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    edgectl(agent.folder, "push", str(artifacts["digits-1.0.0"]), "--broker", broker.url, "--keys", "keys")
    agent.wait_committed("camera", "1.0.0")
    wait_reported(broker, "1.0.0")
    with hearing(broker, TOPICS.event(DEVICE)) as client:
        done = edgectl(
            agent.folder, "push", str(artifacts["digits-2.0.0"]), "--broker", broker.url, "--keys", "keys", "--json"
        )
        pushed = json.loads(done.stdout)
        assert [patch["member"] for patch in pushed["patches"]][:1] == ["model.tflite"]
        assert pushed["patches"][0]["devices"] == 1
        staged = next_staged(client)

    assert staged.version == "2.0.0"
    assert "patched" in str(staged.detail)
    agent.wait_committed("camera", "2.0.0")
    edgectl(agent.folder, "gc", "--broker", broker.url)
    assert agent.version("camera") == "2.0.0"
