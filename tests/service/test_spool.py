"""From the outbox to the broker: a few at a time, again when it was not heard, and nothing that stops the agent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import StorageError
from edge_agent.link.messages import format_ack
from edge_agent.service.spool import Spool
from edge_agent.telemetry.outbox import Outbox
from tests.sim.agent import SimSpoolBroker


class Bench:
    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder / "outbox.db", capacity=1000)
        self.broker = SimSpoolBroker()
        self.spool = Spool(self.outbox, self.broker.publish)

    def sent(self) -> list[int]:
        return [tree["n"] for _, tree in self.broker.sent]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.outbox.__exit__(None, None, None)


def test_nothing_is_sent_before_there_is_a_connection_and_then_it_is_historical(bench: Bench) -> None:
    bench.spool.add("telemetry", {"n": 1})
    bench.spool.flush()
    assert bench.broker.sent == []

    bench.spool.connected()
    bench.spool.add("event", {"n": 2})
    assert [(stream, tree["n"], tree["historical"]) for stream, tree in bench.broker.sent] == [
        ("telemetry", 1, True),
        ("event", 2, False),
    ]
    assert [tree["seq"] for _, tree in bench.broker.sent] == [1, 1]


def test_no_more_than_twenty_are_on_their_way(bench: Bench) -> None:
    bench.spool.connected()
    for number in range(50):
        bench.spool.add("telemetry", {"n": number})
    assert bench.sent() == list(range(20))

    for receipt in bench.broker.receipts[:5]:
        receipt.settle(None)
    bench.spool.flush()
    assert bench.sent() == list(range(25))
    assert bench.outbox.count() == 45


def test_what_the_broker_has_not_confirmed_is_sent_again_on_the_next_connection(bench: Bench) -> None:
    bench.spool.connected()
    for number in range(3):
        bench.spool.add("telemetry", {"n": number})
    confirmed, *lost = bench.broker.receipts
    confirmed.settle(None)
    for receipt in lost:
        receipt.settle("the connection has ended")
    bench.spool.disconnected()
    bench.spool.add("telemetry", {"n": 3})
    bench.spool.flush()
    assert bench.sent() == [0, 1, 2]

    bench.spool.connected()
    assert bench.sent() == [0, 1, 2, 1, 2, 3]
    assert [tree["historical"] for _, tree in bench.broker.sent[3:]] == [True, True, True]


def test_where_a_collector_acknowledges_only_its_word_frees(bench: Bench) -> None:
    bench.spool.connected()
    for number in range(4):
        bench.spool.add("telemetry", {"n": number})
    stream = bench.broker.sent[0][1]["stream"]
    bench.spool.acknowledged(format_ack({stream: 2}))
    assert bench.outbox.count() == 2

    for receipt in bench.broker.receipts:
        receipt.settle(None)
    bench.spool.flush()
    assert bench.outbox.count() == 2


def test_an_acknowledgement_of_another_stream_frees_nothing(bench: Bench) -> None:
    bench.spool.connected()
    bench.spool.add("telemetry", {"n": 1})
    bench.spool.acknowledged(format_ack({"telemetry-00000000": 9}))

    assert bench.outbox.count() == 1


@given(
    payload=st.binary(max_size=64)
    | st.builds(format_ack, st.dictionaries(st.text(), st.integers(), max_size=3))
    | st.sampled_from([b'{"streams": {"\\ud800": 1}}', b'{"streams": {"a": 1e400}}', b'{"streams": [{"seq": 1}]}'])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_acknowledgement_frees_what_it_does_not_name_or_stops_the_agent(bench: Bench, payload: bytes) -> None:
    held = bench.outbox.count()
    bench.spool.add("telemetry", {"n": 1})
    bench.spool.acknowledged(payload)

    assert bench.outbox.count() == held + 1


@pytest.mark.parametrize("payload", [b"no json", b"[1]", b'{"x": "' + bytes(range(65, 91)) * 1 + b'"'])
def test_a_record_that_can_never_be_sent_is_given_up_and_the_next_one_goes(bench: Bench, payload: bytes) -> None:
    bench.outbox.append("telemetry", payload)
    bench.spool.add("telemetry", {"n": 2})
    bench.spool.connected()

    assert bench.sent() == [2]
    assert bench.outbox.count() == 1


def test_a_message_too_large_to_be_sent_is_given_up(bench: Bench) -> None:
    noise = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(60_000))
    bench.spool.connected()
    bench.spool.add("event", {"n": 1, "detail": noise})
    bench.spool.add("event", {"n": 2})

    assert bench.sent() == [2]


def test_a_disk_that_fails_costs_the_message_and_not_the_agent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise StorageError("No space left on device")

    bench.spool.connected()
    with monkeypatch.context() as full:
        full.setattr(bench.outbox, "append", fail)
        full.setattr(bench.outbox, "unsent", fail)
        full.setattr(bench.outbox, "acknowledged", fail)
        bench.spool.add("telemetry", {"n": 1})
        bench.spool.acknowledged(format_ack({"telemetry-1": 1}))
    bench.spool.add("telemetry", {"n": 2})

    assert bench.sent() == [2]
    assert "a message of telemetry is lost" in caplog.text
