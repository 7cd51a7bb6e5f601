"""What the laptop shows of the fleet, from messages and from a real broker."""

import json
import re
import signal
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from converter.broker import Broker
from converter.commands.fleet import devices as devices_command
from converter.fleet.devices import format_table, gather, look
from converter.fleet.watch import Watcher, watch
from edge_agent.errors import LinkError
from edge_agent.link.events import Receipt, Received
from edge_agent.link.messages import (
    AgentReport,
    EventReport,
    HeldReport,
    OutcomeReport,
    PipelineTelemetry,
    ProblemReport,
    ReleaseReport,
    Reported,
    StageReport,
    Telemetry,
    format_event,
    format_reported,
    format_telemetry,
)
from edge_agent.link.mqtt import Link
from edge_agent.link.topics import Topics
from tests.sim.broker import Mosquitto, free_port, run_mosquitto
from tests.sim.interrupting import running_edgectl

TOPICS = Topics()
SERVING = StageReport(
    "birds", "stable", "idle",
    current=ReleaseReport("a" * 64, "2.0"),
    last=OutcomeReport("b" * 64, "rejected", "3.0", "golden_mismatch"),
    p95_ms=12.34,
)  # fmt: skip
FETCHING = StageReport(
    "birds", "stable", "fetching", attempt=2,
    candidate=ReleaseReport("c" * 64),
    problem=ProblemReport("missing_chunk", "3 chunks are not on the broker", "edgectl seed"),
)  # fmt: skip


def report(**pipelines: StageReport) -> bytes:
    stages = {name: {"main": stage} for name, stage in pipelines.items()}
    return format_reported(Reported(AgentReport("0.1.0", "3.11"), pipelines=stages))


def retained() -> dict[str, bytes]:
    return {
        TOPICS.availability("porch"): b"online",
        TOPICS.reported("porch"): report(finder=SERVING, namer=FETCHING),
        TOPICS.availability("attic"): b"offline",
        TOPICS.reported("cellar"): b"\xff not a report",
    }


def test_the_table_shows_who_is_there_what_runs_and_how_the_last_update_ended() -> None:
    lines = format_table(gather(retained(), TOPICS)).splitlines()
    assert len(lines) == 5
    attic, cellar, finder, namer = (re.split(" {2,}", line) for line in lines[1:])
    assert attic[:2] == ["attic", "offline"]
    assert "reported: a payload that is neither JSON nor zlib of it" in "  ".join(cellar)
    assert "birds 2.0" in finder
    assert "rejected 3.0 (golden_mismatch)" in finder
    assert "12.3 ms" in finder
    assert any("fetching cccccccccccc (missing_chunk: 3 chunks" in cell for cell in namer)


def test_the_table_shows_what_a_device_does_not_take_and_why() -> None:
    held = HeldReport("d" * 64, "4.0", "not_in_rollout", "it is for 5 % of the devices")
    found = gather({TOPICS.reported("porch"): report(finder=replace(SERVING, held=held))}, TOPICS)

    assert "idle, does not take 4.0 (not_in_rollout)" in format_table(found)


def test_the_command_lists_what_the_broker_retains(mosquitto: Mosquitto) -> None:
    with Broker(mosquitto.settings, TOPICS) as broker:
        assert look(broker) == []
        for topic, payload in retained().items():
            broker.publish_retained(topic, payload)
    table = CliRunner().invoke(devices_command, ["--broker", mosquitto.url])
    assert table.exit_code == 0, table.output
    assert table.stdout.splitlines()[0].split() == [
        "DEVICE", "STATE", "PIPELINE", "RELEASE", "PHASE", "LAST", "UPDATE", "P95"
    ]  # fmt: skip
    lines = CliRunner().invoke(devices_command, ["--broker", mosquitto.url, "--json"]).stdout.splitlines()
    trees = {tree["id"]: tree for tree in map(json.loads, lines)}
    assert (trees["attic"]["online"], trees["porch"]["online"], trees["cellar"]["online"]) == (False, True, None)
    assert trees["porch"]["reported"]["pipelines"]["finder"]["main"]["current"]["version"] == "2.0"


def test_a_fleet_of_which_the_broker_drops_a_part_is_an_error_and_no_smaller_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollout would be judged by the devices that are left; also where this command is slow to ask."""
    monkeypatch.setattr("converter.broker._ANSWER_S", 2.0)
    publish = Link.publish

    def publish_slowly(self: Link, topic: str, *rest: Any, **more: Any) -> Receipt:
        if topic.endswith("/echo"):
            Event().wait(0.5)  # by now all that fits the broker's queue has come
        return publish(self, topic, *rest, **more)

    with run_mosquitto(tmp_path, "max_queued_messages 10", "max_inflight_messages 10") as mosquitto:
        with Broker(mosquitto.settings, TOPICS) as broker:
            for number in range(200):
                broker.publish_retained(TOPICS.reported(f"pi-{number}"), report(finder=SERVING))
        monkeypatch.setattr(Link, "publish", publish_slowly)
        with Broker(mosquitto.settings, TOPICS) as broker, pytest.raises(LinkError, match="did not answer") as caught:
            look(broker)
    assert "max_queued_messages 0" in str(caught.value.hint)


def test_an_unreachable_broker_is_an_error_not_an_empty_fleet() -> None:
    result = CliRunner().invoke(devices_command, ["--broker", f"mqtt://127.0.0.1:{free_port()}"])
    assert isinstance(result.exception, LinkError)


def received(topic: str, payload: bytes) -> Received:
    return Received(topic, payload, retained=False)


def test_only_changes_become_lines() -> None:
    watcher = Watcher(TOPICS)
    online, reported = TOPICS.availability("porch"), TOPICS.reported("porch")
    assert [line.text for line in watcher.lines(received(online, b"online"))] == ["is online"]
    assert watcher.lines(received(online, b"online")) == []
    assert len(watcher.lines(received(reported, report(finder=SERVING)))) == 1
    assert watcher.lines(received(reported, report(finder=SERVING))) == []
    (line,) = watcher.lines(received(reported, report(finder=SERVING, namer=FETCHING)))
    assert line.content["pipeline"] == "namer"
    assert [line.text for line in watcher.lines(received(online, b"offline"))] == ["is offline"]


def test_a_device_on_which_nothing_is_installed_yet_says_so_in_words() -> None:
    nothing = StageReport("birds", "stable", "idle")
    (line,) = Watcher(TOPICS).lines(received(TOPICS.reported("porch"), report(finder=nothing)))
    assert line.text == "finder: birds (none yet), idle"


def test_events_and_latency_are_lines_that_a_person_and_a_script_can_read() -> None:
    watcher = Watcher(TOPICS)
    event = EventReport(
        "event-1",
        1,
        2.0,
        "rolled_back",
        "finder",
        digest="d" * 64,
        version="3.0",
        reason="too_slow",
        detail="p95 90 ms",
    )
    (line,) = watcher.lines(received(TOPICS.event("porch"), format_event(event)))
    assert line.text == "rolled back - finder 3.0 - too_slow: p95 90 ms"
    tree = json.loads(line.to_json(datetime(2026, 11, 21, tzinfo=UTC)))
    assert (tree["device"], tree["kind"], tree["event"]["reason"]) == ("porch", "event", "too_slow")
    figures = PipelineTelemetry(frames={"in": 10, "out": 9, "dropped": 1}, latency_ms={"invoke": {"p95": 6.55}})
    telemetry = Telemetry("t", 1, 0.0, 0.0, pipelines={"finder": figures})
    (line,) = watcher.lines(received(TOPICS.telemetry("porch"), format_telemetry(telemetry)))
    assert line.text == "finder: 9 of 10 frames, 1 dropped; p95 ms: invoke 6.5"


@given(st.sampled_from(["availability", "reported", "event", "telemetry", "ack", "x/y"]), st.binary())
def test_whatever_a_device_sends_the_watch_goes_on(what: str, payload: bytes) -> None:
    for line in Watcher(TOPICS).lines(received(f"edge/v1/device/porch/{what}", payload)):
        assert line.kind in {"availability", "problem"}


def test_the_watch_begins_with_what_is_known_and_follows_one_device_alone(mosquitto: Mosquitto) -> None:
    with Broker(mosquitto.settings, TOPICS) as device, Broker(mosquitto.settings, TOPICS) as laptop:
        device.publish_retained(TOPICS.availability("porch"), b"online")
        lines = watch(laptop, "porch")
        assert next(lines).text == "is online"
        device.publish_retained(TOPICS.availability("attic"), b"online")
        device.publish_retained(TOPICS.availability("porch"), b"offline")
        assert next(lines).text == "is offline"


def test_the_watch_command_ends_by_ctrl_c(mosquitto: Mosquitto) -> None:
    with Broker(mosquitto.settings, TOPICS) as device:
        device.publish_retained(TOPICS.availability("porch"), b"online")
    with running_edgectl("watch", "--json", "--broker", mosquitto.url, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["online"] is True
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
