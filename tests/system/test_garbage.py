"""Garbage on every topic that a real agent hears, while it serves and while it updates: nothing changes."""

import json
import subprocess
from random import Random

import pytest

from examples.agent_process import AgentProcess
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts
from tests.system.test_main_job import push

pytestmark = pytest.mark.system

_TOPICS = (
    "edge/v1/release/digits/stable", "edge/v1/device/bench-pi/ack", "edge/v1/device/bench-pi/echo",
    "edge/v1/device/bench-pi/desired", "edge/v1/device/bench-pi/cmd/x",
)  # fmt: skip


def _publish(broker: Mosquitto, topic: str, payload: bytes, *, retain: bool) -> None:
    command = [
        "mosquitto_pub",
        "-h",
        "127.0.0.1",
        "-p",
        str(broker.port),
        "-t",
        topic,
        "-q",
        "1",
        "-s" if payload else "-n",
    ]
    subprocess.run([*command, *(["-r"] if retain else [])], input=payload, check=True)


def _payloads(chance: Random) -> list[bytes]:
    """Bytes of chance, JSON that is no message, deep nesting, a zlib bomb's beginning, and nothing at all."""
    return [
        chance.randbytes(chance.randint(1, 2_000)),
        b"\xff" * 70_000,
        json.dumps({"schema": 1, "streams": {"x": -1}, "timestamp.json": 7, "digests": None}).encode(),
        b"[" * 50_000,
        b"\x78\x9c" + b"\x00" * 200,
        b"null",
        b"",
    ]


def test_garbage_on_every_topic_changes_nothing_and_the_next_release_comes(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    push(agent, broker, artifacts["digits-1.0.0"])
    agent.wait_committed("camera", "1.0.0")
    before, pid = agent.stage("camera"), agent.pid
    chance = Random(2026)
    for topic in _TOPICS:
        for payload in _payloads(chance):
            _publish(broker, topic, payload, retain=not topic.endswith(("echo", "x")))
    count = len(agent.results("camera.jsonl"))
    agent.wait("more answers", lambda: len(agent.results("camera.jsonl")) > count + 5)
    after = agent.stage("camera")
    assert {name: after.get(name) for name in ("current", "previous", "phase", "rejected", "last")} == {
        name: before.get(name) for name in ("current", "previous", "phase", "rejected", "last")
    }
    assert agent.pid == pid
    assert "Traceback" not in agent.log()
    push(agent, broker, artifacts["digits-2.0.0"])
    agent.wait_committed("camera", "2.0.0")
    assert agent.pid == pid
