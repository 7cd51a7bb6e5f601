"""Records of earlier agents: read, upgraded, written once, nothing lost; and an agent that is older than its record."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.disk import Disk
from edge_agent.errors import EdgeError, Reason, StorageError
from edge_agent.release.document import Lifts
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.update.journal import ForeignRecordError, Journal
from edge_agent.update.machine import ANY_TOPIC, Fetching, Idle, Lifted, Outcome, Record, Rejection, Staged, Trial
from edge_agent.update.upgrade import SCHEMA, STEPS, upgrade
from tests.sim.device import SimDevice
from tests.sim.disk import SimDisk
from tests.sim.records import format_schema_1, format_tree
from tests.sim.releases import SimTransport, make_release

RECORDS = Path(__file__).parent / "records"
A, B, C, D = (digit * 64 for digit in "abcd")
FILE = "records/porch/main.json"
# What the agent of schema 1 that has written `records/schema-1/` knew, and how many orders it had carried out.
SCHEMA_1 = {
    "new": (Record(), 0),
    "idle": (Record(A, B, Idle(), (), Outcome(A, "committed", detail="12 ms")), 0),
    "fetching": (
        Record(
            A, B, Fetching(C, 3), (Rejection(D, Reason.TOO_SLOW), Rejection(B, Reason.INCOMPATIBLE)),
            Outcome(D, "rejected", Reason.TOO_SLOW, "31 ms"),
        ), 1795219200,
    ),
    "staged": (Record(A, None, Staged(C), (Rejection(D, Reason.TOO_SLOW),), Outcome(B, "withdrawn")), 7),
    "trial": (
        Record(
            A, B, Trial(C, 2), (Rejection(D, Reason.TOO_SLOW),),
            Outcome(D, "rolled_back", Reason.TRIAL_ERRORS, "3 of 60"),
        ), 1795219200,
    ),
}  # fmt: skip
OLDER, CURRENT, NEW = make_release("0"), make_release("1"), make_release("2")


def on_disk(content: bytes) -> Disk:
    disk = Disk(SimDisk())
    disk.write_atomic(FILE, content)
    return disk


def test_there_is_a_way_from_every_schema_to_todays() -> None:
    assert sorted(STEPS) == list(range(1, SCHEMA))
    assert sorted(path.name for path in RECORDS.iterdir()) == [f"schema-{number}" for number in range(1, SCHEMA)]


def test_every_record_that_an_earlier_agent_has_written_is_looked_at() -> None:
    assert sorted(path.stem for path in (RECORDS / "schema-1").iterdir()) == sorted(SCHEMA_1)


@pytest.mark.parametrize("name", SCHEMA_1)
def test_a_record_of_schema_1_says_after_the_upgrade_all_that_it_said(name: str) -> None:
    content = (RECORDS / "schema-1" / f"{name}.json").read_bytes()
    expected, number = SCHEMA_1[name]

    record = Journal(on_disk(content), "porch", "main").read()

    assert record == replace(expected, lifted=(Lifted(ANY_TOPIC, number),) if number else ())
    assert record.lifted_for("birds/stable") == number
    assert format_schema_1(expected, lifted=number) == content  # the tests' own is what that agent wrote


def test_a_record_of_before_there_were_orders_to_lift_rejections_is_read() -> None:
    content = format_tree({"schema": 1, "current": A, "phase": {"kind": "idle"}})

    assert Journal(on_disk(content), "porch", "main").read() == Record(A)


@given(tree=st.dictionaries(st.sampled_from(["current", "phase", "rejected", "x"]), st.text()), lifted=st.integers(0))
def test_an_upgrade_changes_nothing_else(tree: dict[str, str], lifted: int) -> None:
    before = {**tree, "schema": 1, "lifted": lifted}
    after = dict(upgrade(before))

    assert after.pop("schema") == SCHEMA
    assert after.pop("lifted") == ([{"topic": ANY_TOPIC, "number": lifted}] if lifted else [])
    assert after == tree
    assert before == {**tree, "schema": 1, "lifted": lifted}


def test_an_upgraded_record_is_written_once() -> None:
    simulated = SimDisk()
    disk = Disk(simulated)
    disk.write_atomic(FILE, (RECORDS / "schema-1" / "trial.json").read_bytes())
    before, writes = disk.read(FILE), [0, 0]
    for start in range(2):
        porch = Journal(disk, "porch", "main")
        record = porch.read()
        assert start or disk.read(FILE) == before  # reading is no writing
        for _ in range(2):
            content, operations = disk.read(FILE), simulated.operations
            porch.settle()
            writes[start] += content != disk.read(FILE)
            assert disk.read(FILE) != content or simulated.operations <= operations + 1  # one sync of the directory

    assert writes == [1, 0]
    assert json.loads(disk.read(FILE))["record"]["schema"] == SCHEMA
    assert record == Journal(disk, "porch", "main").read()


def test_a_record_that_cannot_be_upgraded_for_want_of_room_stays_as_it_is_and_is_upgraded_later() -> None:
    content = (RECORDS / "schema-1" / "trial.json").read_bytes()
    simulated = SimDisk()
    disk = Disk(simulated)
    disk.write_atomic(FILE, content)
    capacity_bytes = simulated.capacity_bytes
    simulated.capacity_bytes = capacity_bytes - simulated.free_bytes() + 10
    porch = Journal(disk, "porch", "main")
    porch.read()

    with pytest.raises(StorageError):
        porch.settle()

    assert disk.read(FILE) == content
    simulated.capacity_bytes = capacity_bytes
    porch.settle()
    assert json.loads(disk.read(FILE))["record"]["schema"] == SCHEMA


# --- a whole agent ------------------------------------------------------------------------------------------


def device_with(*, schema: int, **more: object) -> SimDevice:
    """Has committed OLDER, then CURRENT, and rejected NEW; then the record is written in another schema."""
    device = SimDevice(SimTransport(OLDER, CURRENT, NEW)).boot()
    device.run(OLDER.target)
    device.run(CURRENT.target)
    device.unproven.add(NEW.digest)
    device.run(NEW.target)
    device.unproven.clear()
    if schema == 1:
        content = format_schema_1(replace(device.record, lifted=()), lifted=5)
    else:
        tree = {"current": CURRENT.digest, "previous": OLDER.digest, "phase": "afloat"}
        content = format_tree({**tree, "schema": schema, **more})
    Disk(device.disk).write_atomic(FILE, content)
    device.lose_process()
    return device


def test_an_agent_goes_on_from_a_record_of_schema_1_with_its_rejections_and_orders() -> None:
    device = device_with(schema=1).boot()
    record = device.run(replace(NEW.target, lifts=Lifts(5, (NEW.digest,))))  # carried out already

    assert (record.current, record.previous, record.refuses(NEW.digest)) == (CURRENT.digest, OLDER.digest, True)
    assert device.server.serving == CURRENT.digest
    assert json.loads(Disk(device.disk).read(FILE))["record"]["schema"] == SCHEMA
    assert device.run(replace(NEW.target, lifts=Lifts(6, (NEW.digest,)))).current == NEW.digest


def test_an_agent_that_is_older_than_its_record_serves_what_was_committed_and_leaves_the_record_alone() -> None:
    device = device_with(schema=SCHEMA + 1)
    content = Disk(device.disk).read(FILE)
    files = device.files()
    for _ in range(2):
        device.boot().run(replace(NEW.target, lifts=Lifts(9, (NEW.digest,))))
        request = device.updater.roll_back()
        device.run()

        assert device.server.serving == CURRENT.digest
        assert device.server.served == [CURRENT.digest]
        assert device.status.record.lifted == ()  # an order that cannot be remembered is not carried out
        assert device.status.problem is not None
        assert (device.status.problem.reason, bool(device.status.problem.hint)) == (Reason.INCOMPATIBLE, True)
        with pytest.raises(ForeignRecordError):
            request.result(timeout=0)
        device.lose_process()
    assert Disk(device.disk).read(FILE) == content
    assert device.files() == files


def test_an_agent_that_is_older_than_its_record_removes_no_release_that_the_record_names_anywhere() -> None:
    device = device_with(schema=SCHEMA + 1, parked=[{"release": NEW.digest}])
    for member, content in NEW.members.items():
        Disk(device.disk).write_atomic(f"releases/{NEW.digest}/{member}", content)
        Disk(device.disk).write_atomic(f"releases/{'e' * 64}/{member}", content)
    device.desired = None

    device.boot().run()

    installed = {name for name, _ in device.disk.entries("releases")}
    assert installed == {CURRENT.digest, OLDER.digest, NEW.digest}


def test_an_agent_that_is_older_than_its_record_serves_the_release_before_where_the_current_one_has_rotten() -> None:
    device = device_with(schema=SCHEMA + 1)
    content = Disk(device.disk).read(FILE)
    model = f"releases/{CURRENT.digest}/{MODEL_FILE}"
    device.disk.write(model, 0, bytes([device.disk.read(model, 0, 1)[0] ^ 1]))

    device.boot().run(NEW.target)

    assert device.server.serving == OLDER.digest
    assert Disk(device.disk).read(FILE) == content


def test_a_foreign_record_is_a_matter_for_the_operator() -> None:
    journal = Journal(on_disk(format_tree({"schema": SCHEMA + 1, "current": A})), "porch", "main")
    journal.read()

    assert isinstance(journal.foreign, EdgeError)
    assert str(journal.foreign) == f"{FILE} has schema {SCHEMA + 1}; this agent reads 1 to {SCHEMA}"
