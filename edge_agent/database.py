"""SQLite files that survive power cuts and full disks, and are put aside when they are damaged. The only place that
imports sqlite3.

WAL with synchronous=NORMAL: a power cut may cost the last transactions and never the file
(https://www.sqlite.org/pragma.html#pragma_synchronous). What is in the tables is left to whoever opens one.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from edge_agent.disk import open_disk
from edge_agent.errors import Reason, StorageError

__all__ = ["Connection", "Database", "storage_errors"]

T = TypeVar("T")
_BUSY_S = 5.0  # somebody else may be reading, or writing


class Database:
    """The database at `path`; one that is found damaged is put aside as PATH.damaged and a new one begun.

    `tables` is run at each opening. `check`: read all of it when it is opened, and so find damage at once. `began_anew`
    is called after a damaged one was put aside, on the thread that found it. Not thread-safe.

    Raises:
        StorageError: from every method, when the disk is full or failing; `full_hint` says what to do then.
    """

    def __init__(
        self,
        path: Path,
        tables: str,
        *,
        began_anew: Callable[[], None] = lambda: None,
        full_hint: str = "free some space; it goes on by itself",
        check: bool = True,
    ) -> None:
        self.path = path
        self.set_aside: Path | None = None  # where a damaged one has gone
        self._tables = tables
        self._began_anew = began_anew
        self._full_hint = full_hint
        self._check = check
        with storage_errors(path, full_hint):
            self._connection = self._open()

    def close(self) -> None:
        with storage_errors(self.path, self._full_hint):
            self._connection.close()

    def do(self, work: Callable[[Connection], T]) -> T:
        """One transaction; a database found damaged is put aside and the work done on a new one."""
        with storage_errors(self.path, self._full_hint):
            try:
                with self._connection:
                    return work(self._connection)
            except (sqlite3.OperationalError, sqlite3.IntegrityError, sqlite3.ProgrammingError):
                raise  # full, read-only, locked, other tables than these: not damage
            except sqlite3.DatabaseError:
                self._connection.close()
                self._put_aside()
                self._connection = self._open()
                with self._connection:
                    return work(self._connection)

    def _open(self) -> Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._put_aside()
            return self._connect()

    def _connect(self) -> Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 4194304")
            if self._check:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
            connection.executescript(self._tables)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _put_aside(self) -> None:
        disk = open_disk(self.path.parent)
        damaged = f"{self.path.name}.damaged"
        for suffix in ("-wal", "-shm"):
            disk.remove(self.path.name + suffix)
        disk.remove(damaged)  # one is kept: the newest
        disk.rename(self.path.name, damaged)
        self.set_aside = self.path.with_name(damaged)
        self._began_anew()


@contextmanager
def storage_errors(path: Path, full_hint: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
        raise StorageError(
            f"{path}: {error}",
            reason=Reason.DISK_FULL if full else Reason.DISK_FAILED,
            hint=full_hint if full else "the agent's user must own this file",
        ) from error
