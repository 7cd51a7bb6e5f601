"""Results as rows of an SQLite database, a transaction a second, so that an SD card is not worn out by one for each."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from edge_agent.config.sinks import SqliteSink as SqliteConfig
from edge_agent.database import Connection, Database
from edge_agent.errors import StorageError
from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.aside import AsideSink
from edge_agent.inference.sinks.tree import ResultFormat, writable

_LOG = logging.getLogger(__name__)
# docs/sinks.md states it.
TABLES = """
CREATE TABLE IF NOT EXISTS result (
    id INTEGER PRIMARY KEY, at_s REAL NOT NULL, pipeline TEXT NOT NULL, input TEXT NOT NULL,
    label TEXT, score REAL, value REAL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS result_by_pipeline ON result (pipeline, id);
CREATE INDEX IF NOT EXISTS result_by_time ON result (at_s);
"""
_INSERT = "INSERT INTO result (at_s, pipeline, input, label, score, value, document) VALUES (?, ?, ?, ?, ?, ?, ?)"
_WAITING = 5000  # results: a card may well be busy for seconds
_COMMIT_S = 1.0
_CLOSE_S = 5.0


class _Row(NamedTuple):
    at_s: float
    pipeline: str
    input: str
    label: str | None
    score: float | None
    value: float | None
    document: str


class SqliteSink(AsideSink[_Row]):
    """The newest `max_rows` results of a pipeline. Several pipelines may write to one database."""

    def __init__(self, config: SqliteConfig, results: ResultFormat) -> None:
        super().__init__(f"sqlite-{results.pipeline}", _WAITING, _CLOSE_S)
        self._config = config
        self._results = results
        self._rows = 0  # in the database, of this pipeline

    def _item(self, result: Result) -> _Row:
        best = _best(result)
        label = best.get("label")
        return _Row(
            result.captured_s,
            self._results.pipeline,
            writable(result.input),
            writable(str(label)) if label is not None else None,
            best.get("score"),
            best.get("value"),
            self._results.text(result).decode(),
        )

    def _work(self) -> None:
        database: Database | None = None
        while self._backlog.wait_for_some():
            rows = self._backlog.take_all()
            try:
                database = self._open() if database is None else database
                self._write(database, rows)
            except StorageError as error:
                self._lost(str(error), len(rows))
            else:
                self._problem = None
            self._backlog.pause(_COMMIT_S)
        if database is not None:
            database.close()

    def _open(self) -> Database:
        """The check that reads all of it is left out: it may be large, and damage shows when it is met."""
        database = Database(self._config.path, TABLES, began_anew=self._begin_anew, check=False)
        self._rows = database.do(
            lambda connection: int(
                connection.execute(
                    "SELECT count(*) FROM result WHERE pipeline = ?", (self._results.pipeline,)
                ).fetchone()[0]
            )
        )
        return database

    def _begin_anew(self) -> None:
        self._rows = 0
        _LOG.warning("%s was damaged: it is put aside as %s.damaged", self._config.path, self._config.path.name)

    def _write(self, database: Database, rows: list[_Row]) -> None:
        def insert(connection: Connection) -> int:
            connection.executemany(_INSERT, rows)
            excess = self._rows + len(rows) - self._config.max_rows
            if excess > 0:
                connection.execute(
                    "DELETE FROM result WHERE id IN (SELECT id FROM result WHERE pipeline = ? ORDER BY id LIMIT ?)",
                    (self._results.pipeline, excess),
                )
            return self._rows + len(rows) - max(0, excess)

        self._rows = database.do(insert)


def _best(result: Result) -> Mapping[str, Any]:
    """The first prediction of the first stage that has any."""
    return next((answer.results[0] for answer in result.answers.values() if answer.results), {})
