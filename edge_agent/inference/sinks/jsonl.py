"""Results as lines of a file that is rotated by its size, or of stdout.

Lines are not synced: a power cut may cost the last seconds of them, and leave half a line at the end, which then stands
on a line of its own. Renaming is left to `disk`.
"""

import os
import stat
import sys

from edge_agent.config.sinks import JsonlSink as JsonlConfig
from edge_agent.disk import Disk, open_disk
from edge_agent.errors import StorageError
from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.tree import ResultFormat


class JsonlSink:
    """One JSON object a line, appended. A line is whole or not there."""

    def __init__(self, config: JsonlConfig, results: ResultFormat) -> None:
        self._config = config
        self._path = config.path
        self._to_stdout = str(config.path) == "-"
        self._results = results
        self._descriptor: int | None = None
        self.dropped = 0
        self.problem: str | None = None

    def take(self, result: Result) -> None:
        try:
            self._write(self._results.text(result) + b"\n")
        except OSError as error:
            self._lost(f"{self._path}: {error.strerror or error}")
        except StorageError as error:
            self._lost(f"{self._path} cannot be rotated: {error}")
        else:
            self.problem = None

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        if self._descriptor is not None and not self._to_stdout:
            os.close(self._descriptor)
        self._descriptor = None

    def _lost(self, problem: str) -> None:
        self.dropped += 1
        self.problem = problem

    def _write(self, line: bytes) -> None:
        descriptor, before = self._open_for(line)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            if stat.S_ISREG(before.st_mode) and len(rest) < len(line):  # a full disk takes half a line first
                os.ftruncate(descriptor, before.st_size)
            raise

    def _open_for(self, line: bytes) -> tuple[int, os.stat_result]:
        """The file that this line goes to, and what it is before the line."""
        descriptor = self._descriptor = self._open() if self._descriptor is None else self._descriptor
        now = os.fstat(descriptor)
        if self._to_stdout or not stat.S_ISREG(now.st_mode):
            return descriptor, now
        full = now.st_size > 0 and now.st_size + len(line) > self._config.max_bytes
        if full or now.st_nlink == 0:  # nobody would find what is written to a file that was removed
            self.close()
            if full and now.st_nlink > 0:
                self._rotate()
            descriptor = self._descriptor = self._open()
            now = os.fstat(descriptor)
        return descriptor, now

    def _open(self) -> int:
        if self._to_stdout:
            sys.stdout.flush()
            return sys.stdout.fileno()
        torn = _ends_in_a_torn_line(self._path)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        if torn:
            os.write(descriptor, b"\n")
        return descriptor

    def _rotate(self) -> None:
        """PATH becomes PATH.1, PATH.1 becomes PATH.2 ...; the oldest goes.

        Raises:
            StorageError: it is not done, or half of it; the rest is done next time.
        """
        disk: Disk = open_disk(self._path.parent)
        name, keep = self._path.name, self._config.keep
        places = [name, *(f"{name}.{number}" for number in range(1, keep + 1))]
        free = next((number for number, place in enumerate(places) if not disk.exists(place)), None)
        if free is None:
            if (disk.size(places[-1]) or 0) < 0:
                raise StorageError(f"{places[-1]} is a directory", hint="move it away")
            disk.remove(places[-1])
            free = keep
        for number in range(free, 0, -1):
            disk.rename(places[number - 1], places[number])


def _ends_in_a_torn_line(path: "os.PathLike[str]") -> bool:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except FileNotFoundError:
        return False
