"""A pipeline whose source is an MQTT topic: real agent, real broker, real model."""

import json
import subprocess
from pathlib import Path

import pytest

from examples.agent_process import AgentProcess
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts

pytestmark = pytest.mark.system

CONFIG = """\
[storage]
state_dir = "state"
[pipeline.scanner]
model = "linescan"
initial = "{artifact}"
source = {{ kind = "topic", topic = "zigbee2mqtt/scanner", url = "{url}", fields = {{ {fields} }} }}
sinks = [{{ kind = "jsonl", path = "scanner.jsonl" }}]
"""


def test_json_messages_become_windows_and_are_answered(tmp_path: Path, broker: Mosquitto, artifacts: Artifacts) -> None:
    fields = ", ".join(f'c{number} = "light.d{number}"' for number in range(8))
    config = CONFIG.format(artifact=artifacts["linescan-1.0.0"], url=broker.url, fields=fields)
    with AgentProcess(tmp_path, config) as agent:
        agent.wait("the model to be on trial", lambda: agent.stage("scanner")["phase"] == "trial")
        rows = [{"light": {f"d{number}": (row + number) % 16 for number in range(8)}} for row in range(8)]

        lines = "\n".join([*map(json.dumps, rows), "not json"])

        def committed() -> bool:
            publish(broker, "zigbee2mqtt/scanner", lines)
            return agent.version("scanner") == "1.0.0"

        agent.wait("the trial of its live rows to be passed", committed)
    result = json.loads(agent.results("scanner.jsonl")[0])
    assert result["task"] == "signal_classification"
    assert result["results"][0]["label"] in [str(digit) for digit in range(10)]


def publish(broker: Mosquitto, topic: str, lines: str) -> None:
    """A message a line."""
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-l"]
    subprocess.run(command, input=lines, text=True, check=True)
