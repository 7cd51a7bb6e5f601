"""The record on the disk: read back, refused, set aside."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.disk import Disk
from edge_agent.errors import ConfigError, Reason, StorageError
from edge_agent.update import journal
from edge_agent.update.journal import CorruptRecordError, ForeignRecordError, Journal, format_record, parse_record
from edge_agent.update.machine import Fetching, Idle, Lifted, Outcome, Record, Rejection, Staged, Trial
from edge_agent.update.upgrade import SCHEMA
from tests.sim.disk import SimDisk

A, B, C = "a" * 64, "b" * 64, "c" * 64
FULL = Record(A, B, Trial(C, 2), (Rejection(B, Reason.TOO_SLOW),), Outcome(B, "rolled_back", Reason.TOO_SLOW, "12 ms"))
_DIGESTS = st.sampled_from([A, B, C])
_RECORDS = st.builds(
    Record,
    st.none() | _DIGESTS,
    st.none() | _DIGESTS,
    st.one_of(
        st.just(Idle()),
        st.builds(Fetching, _DIGESTS, st.integers(1, 99)),
        st.builds(Staged, _DIGESTS),
        st.builds(Trial, _DIGESTS, st.integers(0, 3)),
    ),
    st.lists(st.builds(Rejection, _DIGESTS, st.sampled_from(Reason)), max_size=3).map(tuple),
    st.none()
    | st.builds(
        Outcome, _DIGESTS, st.sampled_from(["committed", "rejected"]), st.none() | st.sampled_from(Reason), st.text()
    ),
    st.lists(st.builds(Lifted, st.sampled_from(["", "birds/stable", "birds/beta"]), st.integers(0, 2**40))).map(tuple),
)


@pytest.fixture
def disk() -> Disk:
    return Disk(SimDisk())


@given(record=_RECORDS)
def test_a_record_reads_back_as_it_was_written(record: Record) -> None:
    assert parse_record(format_record(record)) == record


def test_each_stage_of_each_pipeline_has_a_record_of_its_own(disk: Disk) -> None:
    Journal(disk, "birds", "find").write(FULL)

    assert Journal(disk, "birds", "find").read() == FULL
    assert Journal(disk, "birds", "name").read() == Record()
    assert Journal(disk, "cats", "find").read() == Record()
    assert disk.names("records/birds") == ["find.json"]


def test_an_endless_detail_is_cut() -> None:
    outcome = Outcome(A, "rejected", Reason.PROBE_CRASHED, "x" * 100_000)

    assert len(format_record(replace(FULL, last=outcome))) < 5000


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes_that_are_no_record_are_corrupt(content: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        parse_record(content)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_what_the_record_says(position: int, bit: int) -> None:
    content = bytearray(format_record(FULL))
    content[position % len(content)] ^= 1 << bit
    with suppress(CorruptRecordError):
        assert parse_record(bytes(content)) == FULL  # in white space


@given(length=st.integers(0, 10_000))
def test_a_torn_record_is_corrupt(length: int) -> None:
    content = format_record(FULL).rstrip()
    with pytest.raises(CorruptRecordError):
        parse_record(content[: length % len(content)])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda child: st.lists(child) | st.dictionaries(st.text(), child),
)
_TREES = st.fixed_dictionaries(
    {"schema": st.sampled_from([1, 2]) | _JSON},
    optional={
        "current": _JSON,
        "phase": _JSON | st.fixed_dictionaries({"kind": st.just("fetching") | _JSON, "digest": _JSON}),
        "rejected": _JSON | st.lists(st.fixed_dictionaries({"digest": st.just(A), "reason": _JSON})),
        "lifted": _JSON | st.lists(st.fixed_dictionaries({"topic": _JSON, "number": st.integers() | _JSON})),
        "last": _JSON | st.fixed_dictionaries({"digest": st.just(A), "result": _JSON, "detail": _JSON}),
    },
)


@settings(max_examples=50, deadline=None)
@given(tree=_TREES)
def test_a_whole_record_is_understood_or_a_matter_for_the_operator(tree: dict[str, object]) -> None:
    envelope = {"sha256": journal._checksum(tree), "record": tree}
    with suppress(CorruptRecordError, ConfigError):
        assert isinstance(parse_record(json.dumps(envelope).encode()), Record)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": SCHEMA + 1},
        {"schema": SCHEMA + 1, "phase": "afloat", "kept": {"for later": [C]}},
        {"schema": 0},
        {"schema": "2"},
        {"phase": {"kind": "flying"}},
        {"rejected": [{"digest": A, "reason": "boredom"}]},
        {"lifted": 7},
    ],
)
def test_a_record_of_another_version_of_the_agent_is_not_wiped_and_tells_what_may_serve(
    disk: Disk, wrong: dict[str, object]
) -> None:
    tree = {"schema": SCHEMA, "current": A, "previous": B, "phase": {"kind": "idle"}, **wrong}
    content = json.dumps({"sha256": journal._checksum(tree), "record": tree}).encode()
    disk.write_atomic("records/birds/main.json", content)
    birds = Journal(disk, "birds", "main")

    assert birds.read() == Record(A, B)
    assert birds.foreign is not None
    assert birds.foreign.hint
    assert birds.foreign.digests == {A, B} | ({C} if "kept" in wrong else set())
    birds.settle()
    with pytest.raises(ForeignRecordError):
        birds.write(Record(C))
    assert disk.names("records/birds") == ["main.json"]
    assert disk.read("records/birds/main.json") == content


@pytest.mark.parametrize("current", ["../../etc", 5, {"digest": A}, None])
def test_nothing_serves_of_a_foreign_record_that_does_not_even_say_what(disk: Disk, current: object) -> None:
    tree = {"schema": SCHEMA + 1, "current": current, "previous": B}
    content = json.dumps({"sha256": journal._checksum(tree), "record": tree}).encode()
    disk.write_atomic("records/birds/main.json", content)

    assert Journal(disk, "birds", "main").read() == Record()


def test_a_corrupt_record_is_set_aside_and_the_agent_goes_on(disk: Disk) -> None:
    disk.write_atomic("records/birds/main.json", b"\0" * 300)
    birds = Journal(disk, "birds", "main")

    assert birds.read() == Record()
    assert birds.set_aside == "records/birds/main.json.corrupt-1"
    assert disk.read("records/birds/main.json.corrupt-1") == b"\0" * 300
    birds.write(FULL)
    assert Journal(disk, "birds", "main").read() == FULL


def test_corrupt_records_do_not_pile_up(disk: Disk) -> None:
    for number in range(6):
        disk.write_atomic("records/birds/main.json", b"%d" % number)
        assert Journal(disk, "birds", "main").read() == Record()

    assert disk.names("records/birds") == [f"main.json.corrupt-{number}" for number in (1, 2, 3)]


def test_a_record_that_cannot_be_read_is_set_aside_too() -> None:
    simulated = SimDisk()
    disk = Disk(simulated)
    Journal(disk, "birds", "main").write(FULL)
    simulated.unreadable = {"records/birds/main.json"}

    assert Journal(disk, "birds", "main").read() == Record()
    assert disk.names("records/birds") == ["main.json.corrupt-1"]


def test_a_write_that_fails_leaves_the_old_record() -> None:
    simulated = SimDisk()
    disk = Disk(simulated)
    birds = Journal(disk, "birds", "main")
    birds.write(Record(A))
    simulated.capacity_bytes = simulated.capacity_bytes - simulated.free_bytes() + 10

    with pytest.raises(StorageError):
        birds.write(FULL)

    assert Journal(disk, "birds", "main").read() == Record(A)
