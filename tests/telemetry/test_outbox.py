"""The durable spool: bounded, in order, freed only by whoever has it, and never in the way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import Reason, StorageError
from edge_agent.telemetry.outbox import Outbox


def payloads(outbox: Outbox, limit: int = 1000) -> list[bytes]:
    return [record.payload for record in outbox.unsent(limit)]


def test_records_come_out_in_order_numbered_in_their_stream(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", capacity=100) as outbox:
        assert [
            outbox.append("telemetry", b"t1"),
            outbox.append("event", b"e1"),
            outbox.append("telemetry", b"t2"),
        ] == [
            1,
            1,
            2,
        ]
        records = outbox.unsent(10)
    assert [record.payload for record in records] == [b"t1", b"e1", b"t2"]
    assert [record.seq for record in records] == [1, 1, 2]
    assert [record.stream.partition("-")[0] for record in records] == ["telemetry", "event", "telemetry"]


def test_a_record_is_handed_out_once_until_the_connection_is_a_new_one(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", capacity=100) as outbox:
        for number in range(5):
            outbox.append("telemetry", b"%d" % number)
        assert payloads(outbox, 3) == [b"0", b"1", b"2"]
        assert payloads(outbox, 3) == [b"3", b"4"]
        assert payloads(outbox, 3) == []
        outbox.append("telemetry", b"5")
        outbox.rewind()
        outbox.append("telemetry", b"6")
        again = outbox.unsent(100)
    assert [record.payload for record in again] == [b"0", b"1", b"2", b"3", b"4", b"5", b"6"]
    assert [record.historical for record in again] == [True] * 6 + [False]


def test_a_puback_frees_where_nobody_acknowledges(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", capacity=100) as outbox:
        for number in range(3):
            outbox.append("telemetry", b"%d" % number)
        first, *_ = outbox.unsent(10)
        outbox.pubacked(first)
        outbox.rewind()
        assert payloads(outbox) == [b"1", b"2"]


def test_once_a_collector_has_acknowledged_only_it_frees(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path, capacity=100) as outbox:
        for number in range(4):
            outbox.append("telemetry", b"%d" % number)
        records = outbox.unsent(10)
        outbox.acknowledged(records[0].stream, 2)
        for record in records:
            outbox.pubacked(record)
        outbox.rewind()
        assert payloads(outbox) == [b"2", b"3"]
    with Outbox(path, capacity=100) as outbox:  # also after a start
        for record in outbox.unsent(10):
            outbox.pubacked(record)
        assert outbox.count() == 2
        outbox.acknowledged(records[0].stream, 4)
        assert outbox.count() == 0


def test_an_acknowledgement_of_another_stream_frees_nothing(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", capacity=100) as outbox:
        outbox.append("telemetry", b"1")
        outbox.acknowledged("telemetry-00000000", 1_000)
        outbox.acknowledged("telemetry", 1_000)
        assert outbox.count() == 1


def test_when_it_is_full_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", capacity=10) as outbox:
        for number in range(25):
            outbox.append("telemetry", b"%d" % number)
        assert outbox.count() == 10
        assert outbox.lost == 15
        assert payloads(outbox) == [b"%d" % number for number in range(15, 25)]


def test_a_start_keeps_what_was_there_and_never_gives_its_numbers_again(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path, capacity=100) as outbox:
        outbox.append("telemetry", b"before")
    with Outbox(path, capacity=100) as outbox:
        outbox.append("telemetry", b"after")
        records = outbox.unsent(10)
    assert [record.payload for record in records] == [b"before", b"after"]
    assert [record.historical for record in records] == [True, False]
    assert len({(record.stream, record.seq) for record in records}) == 2


def test_a_killed_process_loses_no_record_it_had_appended(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    script = f"""
from pathlib import Path
from edge_agent.telemetry.outbox import Outbox
outbox = Outbox(Path({str(path)!r}), capacity=100_000)
while True:
    print(outbox.append("telemetry", b"x" * 200), flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(200):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    last = rest[-1] if rest else last
    with Outbox(path, capacity=100_000) as outbox:
        assert outbox.set_aside is None
        seqs = [record.seq for record in outbox.unsent(1_000_000)]
    assert seqs[:last] == list(range(1, last + 1))


@pytest.mark.parametrize("content", [b"this is no database " * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_database_is_set_aside_and_a_new_one_begun(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(content)
    with Outbox(path, capacity=100) as outbox:
        assert outbox.append("telemetry", b"1") == 1
        assert payloads(outbox) == [b"1"]
        assert outbox.set_aside == tmp_path / "outbox.db.damaged"
    assert (tmp_path / "outbox.db.damaged").read_bytes() == content


def test_a_database_that_is_damaged_while_it_is_open_costs_its_records_only(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path, capacity=10_000) as outbox:
        for number in range(2000):
            outbox.append("telemetry", b"%d" % number + b"x" * 5000)  # more than SQLite keeps in memory
    with Outbox(path, capacity=10_000) as outbox:
        size_bytes = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size_bytes - 4096))
        records = outbox.unsent(10_000)
        outbox.append("telemetry", b"new")
        assert outbox.set_aside is not None
        assert b"new" in [record.payload for record in [*records, *outbox.unsent(10)]]


def test_a_disk_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        Outbox(tmp_path / "missing" / "outbox.db", capacity=10)
    assert caught.value.reason is Reason.DISK_FAILED
    assert caught.value.hint


def test_a_full_disk_is_told_and_heals(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path, capacity=1_000_000) as outbox:
        outbox.append("telemetry", b"first")
        outbox._do(lambda database: database.execute("PRAGMA max_page_count = 12"))  # as a full disk does: SQLITE_FULL
        with pytest.raises(StorageError) as caught:
            all(outbox.append("telemetry", b"x" * 1000) for _ in range(1000))
        assert caught.value.reason is Reason.DISK_FULL
        before = outbox.count()
        outbox._do(lambda database: database.execute("PRAGMA max_page_count = 100000"))
        assert outbox.append("telemetry", b"again") == before + 1  # no number was lost on the way
        assert outbox.set_aside is None
