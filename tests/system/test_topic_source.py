"""A sensor's messages over a real broker to a real agent: answered, also once the broker has been away."""

import csv
import json
from pathlib import Path

import pytest

from edge_agent.link.mqtt import Link
from examples.agent_process import AgentProcess
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts
from tests.system.test_bad_input import problem

pytestmark = pytest.mark.system
TOPIC = """\
[storage]
state_dir = "state"
[pipeline.sensor]
model = "linescan"
initial = "{initial}"
source = {{ kind = "topic", topic = "scanner/line", fields = {{ {fields} }}, url = "{url}" }}
sinks = [{{ kind = "jsonl", path = "sensor.jsonl" }}]
"""


def test_a_topic_is_answered_and_heard_again_after_its_broker_was_away(
    tmp_path: Path, broker: Mosquitto, artifacts: Artifacts
) -> None:
    with artifacts.rows.open() as file:
        header, *rows = csv.reader(line for line in file if line.strip() and line[0] != "#")
    names = [name.partition("[")[0] for name in header]
    lines = [json.dumps({"line": dict(zip(names, map(float, row), strict=True))}).encode() for row in rows[:80]]
    fields = ", ".join(f'{name} = "line.{name}"' for name in names)
    config = TOPIC.format(initial=artifacts["linescan-1.0.0"], url=broker.url, fields=fields)

    def publish() -> None:  # mosquitto_pub -l was seen to wait for ever
        with Link(broker.settings, lambda _: None, client_id="scanner") as link:
            link.connect_or_raise(30)
            receipts = [link.publish("scanner/line", line) for line in lines]
            assert all(receipt.wait(30) for receipt in receipts)

    def answered() -> bool:
        publish()
        return len(agent.results("sensor.jsonl")) > before

    with AgentProcess(tmp_path, config) as agent:
        before = 0
        agent.wait("answers", answered)
        broker.stop()
        agent.wait(
            "trouble", lambda: "lost" in str(problem(agent, "sensor")) or "reach" in str(problem(agent, "sensor"))
        )
        broker.start()
        before = len(agent.results("sensor.jsonl"))
        agent.wait("answers", answered)
