"""The durable spool of what is to be sent: a bounded ring of records in SQLite.

A record is freed by the collector's acknowledgement where one has ever come, because a PUBACK only says that the
broker has it; where none ever has, nobody collects end to end, and the PUBACK frees it. When it is full the oldest
records go. Formatting and sending are left to `report` and `link`; what damage does, to `database`.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Self, TypeVar

from edge_agent.database import Connection, Database

T = TypeVar("T")
_TABLES = """
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS of_stream ON record (stream, seq);
CREATE TABLE IF NOT EXISTS collector (acknowledged INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to be sent. A collector tells copies apart by (device, stream, seq)."""

    id: int
    stream: str
    seq: int  # 1, 2, 3 ... in its stream
    payload: bytes
    historical: bool  # it was there before the connection that now sends it


class Outbox:
    """The spool at `path`, holding at most `capacity` records. Thread-safe.

    Each opening begins streams of its own (`telemetry-1f0c9a3e`), numbered from 1: after a power cut SQLite may have
    lost its last records (synchronous=NORMAL), and their numbers must not be given to others.

    Raises:
        StorageError: from every method, when the disk is full or failing.
    """

    def __init__(self, path: Path, *, capacity: int) -> None:
        self._capacity = capacity
        self._lock = RLock()
        self._run = secrets.token_hex(4)
        self._next_seq: dict[str, int] = {}
        self._sent_id = 0  # everything up to here has been handed out on this connection
        self._historical_id = 0
        self.lost = 0  # records that the ring has pushed out, unsent or unacknowledged, since the opening
        hint = "free some space; telemetry goes on by itself"
        self._database = Database(path, _TABLES, began_anew=self._begin_anew, full_hint=hint)
        self.rewind()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._database.close()

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged database has gone."""
        return self._database.set_aside

    def append(self, stream: str, payload: bytes) -> int:
        """Add a record to `stream`; returns its number there."""

        def insert(database: Connection) -> tuple[int, int]:
            seq = self._next_seq.get(stream, 1)
            row = (f"{stream}-{self._run}", seq, payload)
            database.execute("INSERT INTO record (stream, seq, payload) VALUES (?, ?, ?)", row)
            excess = database.execute(
                "DELETE FROM record WHERE id <= (SELECT id FROM record ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (self._capacity,),
            )
            return seq, excess.rowcount

        with self._lock:
            seq, excess = self._do(insert)
            self._next_seq[stream] = seq + 1
            self.lost += excess
        return seq

    def unsent(self, limit: int) -> list[Record]:
        """The oldest records not yet handed out since `rewind`, which they now are."""

        def select(database: Connection) -> list[Record]:
            rows = database.execute(
                "SELECT id, stream, seq, payload FROM record WHERE id > ? ORDER BY id LIMIT ?", (self._sent_id, limit)
            ).fetchall()
            records = [Record(row, stream, seq, text, row <= self._historical_id) for row, stream, seq, text in rows]
            self._sent_id = records[-1].id if records else self._sent_id
            return records

        return self._do(select)

    def rewind(self) -> None:
        """A new connection: whatever was on its way may be lost, so all that is still here is unsent again."""

        def newest(database: Connection) -> int:
            return int(database.execute("SELECT coalesce(max(id), 0) FROM record").fetchone()[0])

        self._historical_id = self._do(newest)
        self._sent_id = 0

    def pubacked(self, record: Record) -> None:
        """The broker has it: freed, unless a collector acknowledges here."""
        self._do(
            lambda database: database.execute(
                "DELETE FROM record WHERE id = ? AND NOT EXISTS (SELECT 1 FROM collector)", (record.id,)
            )
        )

    def acknowledged(self, stream: str, seq: int) -> None:
        """A collector has everything of `stream` up to `seq`. From now on only its word frees."""

        def free(database: Connection) -> None:
            database.execute("INSERT INTO collector SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM collector)")
            database.execute("DELETE FROM record WHERE stream = ? AND seq <= ?", (stream, seq))

        self._do(free)

    def count(self) -> int:
        """Records held."""
        return self._do(lambda database: int(database.execute("SELECT count(*) FROM record").fetchone()[0]))

    def _do(self, work: Callable[[Connection], T]) -> T:
        with self._lock:
            return self._database.do(work)

    def _begin_anew(self) -> None:
        """The database was damaged: what it held is lost, and so are the numbers."""
        self._next_seq.clear()
        self._run = secrets.token_hex(4)
        self._sent_id = self._historical_id = 0
