"""Messages of devices: what is written is read back, and nothing from outside hurts the reader."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.messages import (
    MAX_PAYLOAD_BYTES,
    AgentReport,
    EventReport,
    HardwareReport,
    MessageError,
    OutcomeReport,
    PipelineTelemetry,
    ProblemReport,
    RejectionReport,
    ReleaseReport,
    Reported,
    StageReport,
    Telemetry,
    decode,
    encode,
    format_ack,
    format_event,
    format_reported,
    format_telemetry,
    parse_ack,
    parse_availability,
    parse_event,
    parse_reported,
    parse_telemetry,
)

REPORTED = Reported(
    agent=AgentReport("0.1.0", "3.11.7", "ai-edge-litert 2.3.0"),
    hardware=HardwareReport(machine="aarch64", cpus=4),
    labels=("porch",),
    pipelines={
        "birds": {
            "main": StageReport(
                model="bird-finder",
                channel="stable",
                phase="trial",
                starts=1,
                current=ReleaseReport("a" * 64, "1.0"),
                candidate=ReleaseReport("b" * 64),
                last=OutcomeReport("c" * 64, "rejected", reason="golden_mismatch"),
                rejected=(RejectionReport("c" * 64, "golden_mismatch"),),
                problem=ProblemReport("disk_full", "no space", "free some"),
                p95_ms=12.5,
            )
        }
    },
    at_s=1.5,
)
TELEMETRY = Telemetry(
    stream="t1",
    seq=7,
    at_s=1.0,
    uptime_s=2.0,
    pipelines={
        "birds": PipelineTelemetry(
            digest="a" * 64,
            frames={"in": 10, "out": 9, "dropped": 1, "failed": 0},
            latency_ms={"invoke": {"count": 9, "p95": 6.5}},
        )
    },
    resources={"cpu_share": 0.5, "throttled": ["under_voltage"]},
)


def test_every_message_is_read_back_as_it_was_written() -> None:
    event = EventReport(stream="event-1", seq=1, at_s=2.0, kind="rejected", pipeline="birds", reason="too_slow")
    assert parse_reported(format_reported(REPORTED)) == REPORTED
    assert parse_telemetry(format_telemetry(TELEMETRY)) == TELEMETRY
    assert parse_event(format_event(event)) == event
    assert parse_ack(format_ack({"t1": 7})) == {"t1": 7}
    assert (parse_availability(b"online"), parse_availability(b"offline")) == (True, False)


def test_a_newer_device_may_say_more_than_this_laptop_knows() -> None:
    tree = json.loads(format_reported(REPORTED))
    tree["moon_phase"] = {"full": True}
    tree["pipelines"]["birds"]["main"]["phase"] = "meditating"
    tree["schema"] = 9
    read = parse_reported(json.dumps(tree).encode())
    assert read.pipelines["birds"]["main"].phase == "meditating"
    assert read.agent == REPORTED.agent


def test_reported_stays_readable_json_and_long_telemetry_is_compressed() -> None:
    many = Reported(REPORTED.agent, pipelines={f"p{number}": REPORTED.pipelines["birds"] for number in range(10)})
    assert format_reported(many)[:1] == b"{"
    assert len(format_reported(many)) > 1_000
    long = Telemetry("t", 1, 0.0, 0.0, pipelines={f"p{number}": TELEMETRY.pipelines["birds"] for number in range(10)})
    assert format_telemetry(long)[:1] == b"\x78"
    assert parse_telemetry(format_telemetry(long)) == long


def test_a_message_that_cannot_be_sent_is_not_made() -> None:
    incompressible = "".join(f"{hash((number, 'x')):x}" for number in range(20_000))
    with pytest.raises(MessageError, match="at most 60000"):
        encode({"text": incompressible})


def test_a_small_payload_that_inflates_without_end_is_refused() -> None:
    bomb = zlib.compress(b" " * 50_000_000)
    assert len(bomb) < MAX_PAYLOAD_BYTES
    with pytest.raises(MessageError, match="inflates to more than"):
        decode(bomb)


def test_all_that_is_wrong_with_a_report_is_told_at_once() -> None:
    tree = json.loads(format_reported(REPORTED))
    tree["agent"]["version"] = 1
    tree["labels"] = "porch"
    with pytest.raises(MessageError) as caught:
        parse_reported(json.dumps(tree).encode())
    assert "agent.version" in str(caught.value)
    assert "labels" in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.binary() | JSON.map(lambda tree: json.dumps(tree).encode()) | st.binary().map(zlib.compress))
def test_only_our_error_comes_out_of_any_payload(payload: bytes) -> None:
    for parse in (parse_reported, parse_telemetry, parse_event, parse_ack, parse_availability):
        try:
            parse(payload)
        except MessageError:
            continue


@given(st.dictionaries(st.sampled_from(["agent", "hardware", "labels", "pipelines", "schema", "at_s"]), JSON))
def test_only_our_error_comes_out_of_a_report_of_wrong_types(tree: dict[str, object]) -> None:
    try:
        parse_reported(json.dumps(tree).encode())
    except MessageError:
        return
