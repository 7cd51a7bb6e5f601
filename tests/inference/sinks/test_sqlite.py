"""Results in a real SQLite database: all of them, no more than allowed, and damage put aside."""

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from edge_agent.config.sinks import SqliteSink as SqliteConfig
from edge_agent.inference.sinks.sqlite import SqliteSink
from edge_agent.inference.sinks.tree import ResultFormat
from tests.sim.results import answer, result, staged
from tests.sim.waiting import until


def open_sink(path: Path, max_rows: int = 1000, pipeline: str = "birds") -> SqliteSink:
    return SqliteSink(SqliteConfig("sqlite", path, max_rows), ResultFormat(pipeline, ("main",)))


def ask(path: Path, question: str) -> Sequence[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(question).fetchall()


def test_each_result_is_a_row_that_other_programs_can_ask_for(tmp_path: Path) -> None:
    path = tmp_path / "birds.db"
    sink = open_sink(path)
    sink.take(result("crow", "owl", score=0.75))
    sink.take(
        staged({"main": answer({"label": "celsius", "index": 0, "score": 1.0, "value": 20.5}, task="regression")})
    )
    sink.take(result(name="none.jpg"))
    sink.close()
    assert ask(path, "SELECT at_s, pipeline, input, label, score, value FROM result ORDER BY id") == [
        (1_750_000_000.25, "birds", "a.jpg", "crow", 0.75, None),
        (1_750_000_000.25, "birds", "a.jpg", "celsius", 1.0, 20.5),
        (1_750_000_000.25, "birds", "none.jpg", None, None, None),
    ]
    ((document,),) = ask(path, "SELECT document FROM result WHERE id = 1")
    assert json.loads(str(document)) == ResultFormat("birds", ("main",)).tree(result("crow", "owl", score=0.75))
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]
    assert (sink.dropped, sink.problem) == (0, None)


def test_rows_can_be_read_while_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "birds.db"
    sink = open_sink(path)
    sink.take(result("crow"))
    sink.flush()
    until(lambda: path.exists() and ask(path, "SELECT count(*) FROM sqlite_master WHERE name = 'result'") == [(1,)])
    until(lambda: ask(path, "SELECT count(*) FROM result") == [(1,)])
    sink.take(result("owl"))
    sink.flush()  # does not wait for the second to be over
    until(lambda: ask(path, "SELECT count(*) FROM result") == [(2,)])
    sink.close()


def test_the_oldest_rows_of_the_pipeline_go_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "all.db"
    other = open_sink(path, pipeline="cats")
    other.take(result("cat"))
    other.close()
    for first in (0, 6):  # and after a start what is there counts
        sink = open_sink(path, max_rows=4)
        for number in range(first, first + 6):
            sink.take(result("crow", name=f"{number:02}.jpg"))
        sink.close()
        assert sink.dropped == 0
    rows = ask(path, "SELECT pipeline, input FROM result ORDER BY id")
    assert rows == [("cats", "a.jpg"), *(("birds", f"{number:02}.jpg") for number in range(8, 12))]


def test_a_damaged_database_is_put_aside_and_a_new_one_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "birds.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    sink = open_sink(path)
    sink.take(result("crow"))
    sink.close()
    assert ask(path, "SELECT count(*) FROM result") == [(1,)]
    assert (tmp_path / "birds.db.damaged").read_bytes().startswith(b"this is no database")
    assert "put aside as birds.db.damaged" in caplog.text
    assert sink.dropped == 0


def test_a_database_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE result (id INTEGER PRIMARY KEY, at_s REAL, pipeline TEXT, secret TEXT NOT NULL)")
    sink = open_sink(path)
    sink.take(result("crow"))
    sink.close()
    assert sink.dropped == 1
    assert "other.db" in (sink.problem or "")
    assert ask(path, "SELECT * FROM result") == []
    assert [file.name for file in tmp_path.iterdir() if "damaged" in file.name] == []


def test_a_folder_that_comes_later_is_written_to_then(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "mounted" / "birds.db")
    sink.take(result("crow"))
    until(lambda: sink.dropped == 1)
    assert "unable to open" in (sink.problem or "")
    (tmp_path / "mounted").mkdir()
    sink.take(result("owl"))
    sink.close()
    assert ask(tmp_path / "mounted" / "birds.db", "SELECT label FROM result") == [("owl",)]
    assert (sink.dropped, sink.problem) == (1, None)


def test_somebody_who_locks_the_database_does_not_keep_the_loop_waiting(tmp_path: Path) -> None:
    path = tmp_path / "birds.db"
    sink = open_sink(path)
    sink.take(result("crow"))
    sink.flush()
    until(lambda: path.exists() and ask(path, "SELECT count(*) FROM sqlite_master WHERE name = 'result'") == [(1,)])
    until(lambda: ask(path, "SELECT count(*) FROM result") == [(1,)])
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        began_s = time.monotonic()
        for _ in range(100):
            sink.take(result("owl"))
        assert time.monotonic() - began_s < 1.0
        Event().wait(0.05)
        writer.execute("ROLLBACK")
    sink.close()
    assert ask(path, "SELECT count(*) FROM result") == [(101,)]
    assert sink.dropped == 0


def test_a_name_that_is_no_text_can_be_stored(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "birds.db")
    sink.take(result("crow", name="a\udcff.jpg"))
    sink.close()
    assert ask(tmp_path / "birds.db", "SELECT input FROM result") == [("a\\udcff.jpg",)]
    assert sink.dropped == 0
