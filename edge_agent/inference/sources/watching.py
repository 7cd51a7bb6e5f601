"""Which files of a folder have newly come and are whole.

By looking again and again, not by inotify: that tells nothing of what comes to a network share, and a folder that
vanishes takes its watch along. A file counts as whole when its size and time have not changed between two looks, one
without content only after many: it may have been made before it is filled.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_EMPTY_LOOKS = 20  # that a file without content is waited for
_REMEMBERED = 10_000  # files that are gone: a disk that is unplugged and comes back must not give them again

File = tuple[str, int, int]  # name, size in bytes, time of its last change in ns


class Arrivals:
    """What has been seen and given. A file that is written anew is a new one; a renamed one, too."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[int, int]] = {}
        self._growing: dict[str, tuple[int, int, int]] = {}  # size, time, looks in which they were the same

    def look(self, files: Iterable[File]) -> list[str]:
        """The files that are new and whole; `files` are all there are now."""
        whole: list[str] = []
        growing: dict[str, tuple[int, int, int]] = {}
        there = 0
        for name, size, changed_ns in files:
            there += 1
            if self._given.get(name) == (size, changed_ns):
                continue
            before = self._growing.get(name)
            looks = before[2] + 1 if before is not None and before[:2] == (size, changed_ns) else 0
            if looks >= (1 if size else _EMPTY_LOOKS):
                self._given.pop(name, None)
                self._given[name] = (size, changed_ns)
                whole.append(name)
            else:
                growing[name] = (size, changed_ns, looks)
        self._growing = growing
        while len(self._given) > there + _REMEMBERED:
            del self._given[next(iter(self._given))]
        return whole


def files_of(folder: Path) -> list[File]:
    """The files of a folder in the order of their names, without subfolders and dot files.

    Raises:
        OSError: it cannot be listed.
    """
    found: list[File] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            with suppress(OSError):  # gone since it was listed
                if entry.is_file():  # reading a pipe would wait for ever
                    stat = entry.stat()
                    found.append((entry.name, stat.st_size, stat.st_mtime_ns))
    return sorted(found)
