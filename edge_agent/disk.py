"""Durable writes: what this module says is written survives a power cut, or was never there.

`Disk` composes the durable operations out of nine primitive ones (`DiskOperations`), so that the tests can run
the very same code on a simulated disk and cut the power before each primitive. Names are POSIX paths relative
to the disk's root. What the files mean is left to `update.journal` and `update.store`.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from edge_agent.errors import Reason, StorageError

_TEMPORARY = ".tmp"
_WRITE_BACK_BYTES = 500_000
_DIRECTORY = -1  # what `DiskOperations.size` says of one


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do where a disk cannot be written: hints for those who read the errors of a program."""

    full: str
    forbidden: str


# For the state directory of an agent.
AGENT = Advice(
    "free some space; the agent goes on by itself", "the agent's user must own its state directory, mounted read-write"
)
ANYBODY = Advice(
    "free some space there, or give a path on another disk",
    "give a path in a directory that you may write to, mounted read-write",
)


class DiskOperations(Protocol):
    """What a POSIX file system promises, one system call each. Only `sync_*` make anything durable."""

    def read(self, name: str, offset: int, size: int) -> bytes: ...
    def write(self, name: str, offset: int, content: bytes) -> None: ...
    def sync_file(self, name: str) -> None: ...
    def make_directory(self, name: str) -> None: ...
    def replace(self, source: str, target: str) -> None: ...
    def remove_file(self, name: str) -> None: ...
    def remove_directory(self, name: str) -> None: ...
    def sync_directory(self, name: str) -> None: ...
    def entries(self, name: str) -> list[tuple[str, bool]]:
        """Names in a directory, and whether each is a directory itself."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is no such file. Directories have size -1."""
        ...

    def free_bytes(self) -> int: ...


class Disk:
    """One directory tree and the durable operations on it."""

    def __init__(self, operations: DiskOperations) -> None:
        self._do = operations
        # Directories this process has made durable. One that is merely there may have been made by a process that
        # was killed before it could sync.
        self._durable_directories: set[str] = {"."}

    # --- reading ------------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        return self._do.size(name) is not None

    def size(self, name: str) -> int | None:
        """Bytes of the file, None where there is none."""
        return self._do.size(name)

    def read(self, name: str) -> bytes:
        size = self._do.size(name)
        if size is None or size < 0:
            raise StorageError(f"{name}: no such file")
        return self._do.read(name, 0, size)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer at the end of the file."""
        return self._do.read(name, offset, size)

    def names(self, directory: str) -> list[str]:
        """Sorted names in `directory`, without leftovers of interrupted writes; empty where there is none."""
        if self._do.size(directory) is None:
            return []
        return sorted(name for name, _ in self._do.entries(directory) if not name.endswith(_TEMPORARY))

    def free_bytes(self) -> int:
        return self._do.free_bytes()

    # --- durable writing ----------------------------------------------------------------------------------

    def write_atomic(self, name: str, content: bytes) -> None:
        """Replace the whole file: afterwards, and after any power cut, it is the old one or the new one."""
        parent = _parent(name)
        self.make_directory(parent)
        temporary = name + _TEMPORARY
        if self._do.size(temporary) is not None:
            self._do.remove_file(temporary)  # a shorter write must not keep an older, longer tail
        try:
            self._do.write(temporary, 0, content)
            self._do.sync_file(temporary)
            self._do.replace(temporary, name)
        except StorageError:
            with suppress(StorageError):  # half of it on a full disk is what others would need
                self._do.remove_file(temporary)
            raise
        self._do.sync_directory(parent)

    def settle(self, name: str) -> None:
        """Make the name of an existing file or directory durable.

        What is found after a start may have been renamed by a process that was killed before it synced: seen by all,
        and still lost in a power cut. Settle it before anything is done that could not be undone.
        """
        self.make_directory(_parent(name))
        self._do.sync_directory(_parent(name))

    def make_directory(self, name: str) -> None:
        """Make a directory and its parents, each made durable in the one that holds it."""
        if name in self._durable_directories:
            return
        parent = _parent(name)
        self.make_directory(parent)
        if self._do.size(name) is None:
            self._do.make_directory(name)
        self._do.sync_directory(parent)
        self._durable_directories.add(name)

    def adopt_directory(self, source: str, target: str) -> None:
        """Sync every file under `source`, then rename it to `target`: whole and durable, or not there."""
        for name, is_directory in self._do.entries(source):
            assert not is_directory, "releases are flat"
            self._do.sync_file(f"{source}/{name}")
        self._do.sync_directory(source)
        self.make_directory(_parent(target))
        self._do.replace(source, target)
        self._do.sync_directory(_parent(target))
        self._do.sync_directory(_parent(source))
        self._durable_directories.discard(source)

    def rename(self, source: str, target: str) -> None:
        """Rename one file within its directory, durably."""
        self._do.replace(source, target)
        self._do.sync_directory(_parent(target))

    def remove(self, name: str) -> None:
        """Remove a file or a directory with all it holds. Nothing to remove is fine.

        A directory goes file by file: a power cut may leave a part of it.
        """
        if self._do.size(name) is None:
            return
        self._remove(name)
        self._do.sync_directory(_parent(name))

    def remove_leftovers(self, directory: str) -> None:
        """Remove the temporary files that writes into `directory` have left which the power or a kill has cut."""
        if self._do.size(directory) is None:
            return
        left = [name for name, is_directory in self._do.entries(directory) if name.endswith(_TEMPORARY)]
        for name in left:
            self._do.remove_file(f"{directory}/{name}")
        if left:
            self._do.sync_directory(directory)

    def _remove(self, name: str) -> None:
        if self._do.size(name) != _DIRECTORY:
            self._do.remove_file(name)
            return
        for entry, _ in self._do.entries(name):
            self._remove(f"{name}/{entry}")
        self._do.remove_directory(name)
        self._durable_directories.discard(name)

    # --- writing that is not durable yet --------------------------------------------------------------------

    def write_at(self, name: str, offset: int, content: bytes) -> None:
        """Write into a file that is still being fetched. Durable only once its directory is adopted."""
        self._do.write(name, offset, content)


def open_disk(root: Path, advice: Advice = ANYBODY) -> Disk:
    """The real disk under `root`, which is made if it is missing."""
    with _storage_errors(str(root), advice):
        root.mkdir(parents=True, exist_ok=True)
    return Disk(RealDisk(root, advice=advice))


def open_private(root: Path) -> Disk:
    """The same, for secrets: what is written there only its owner may read."""
    with _storage_errors(str(root), ANYBODY):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Disk(RealDisk(root, mode=0o600))


def write_atomic(path: Path, content: bytes) -> None:
    """Durably replace the file at `path` (see `Disk.write_atomic`). Its errors name the folder too."""
    try:
        Disk(RealDisk(path.parent)).write_atomic(path.name, content)
    except StorageError as error:
        raise StorageError(f"{path.parent}: {error}", reason=error.reason, hint=error.hint) from error


class RealDisk:
    """`DiskOperations` on a directory of this machine. `mode`: of the files it makes; `advice`: in its errors."""

    def __init__(self, root: Path, *, mode: int = 0o640, advice: Advice = ANYBODY) -> None:
        self._root = str(root) + os.sep  # joined by hand: pathlib costs more than the system call
        self._mode = mode
        self._advice = advice

    def read(self, name: str, offset: int, size: int) -> bytes:
        with _storage_errors(name, self._advice), open(self._root + name, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def write(self, name: str, offset: int, content: bytes) -> None:
        with _storage_errors(name, self._advice):
            descriptor = os.open(self._root + name, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), self._mode)
            try:
                os.lseek(descriptor, offset, os.SEEK_SET)
                rest = memoryview(content)
                while rest:  # a nearly full disk writes less than asked and says so only next time
                    rest = rest[os.write(descriptor, rest) :]
                if len(content) >= _WRITE_BACK_BYTES and hasattr(os, "posix_fadvise"):
                    # Linux begins to write these pages now, so that the sync of a large file has little left to do
                    os.posix_fadvise(descriptor, offset, len(content), os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)

    def sync_file(self, name: str) -> None:
        self._sync(name, os.O_RDWR)

    def sync_directory(self, name: str) -> None:
        if os.name == "posix":  # Windows laptops cannot open a directory; NTFS journals the rename
            self._sync(name, os.O_RDONLY | os.O_DIRECTORY)

    def _sync(self, name: str, flags: int) -> None:
        with _storage_errors(name, self._advice):
            descriptor = os.open(self._root + name, flags)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def make_directory(self, name: str) -> None:
        with _storage_errors(name, self._advice):
            Path(self._root + name).mkdir(exist_ok=True)

    def replace(self, source: str, target: str) -> None:
        with _storage_errors(target, self._advice):
            os.replace(self._root + source, self._root + target)  # noqa: TID251  # the one permitted place

    def remove_file(self, name: str) -> None:
        with _storage_errors(name, self._advice):
            Path(self._root + name).unlink(missing_ok=True)

    def remove_directory(self, name: str) -> None:
        with _storage_errors(name, self._advice):
            os.rmdir(self._root + name)

    def entries(self, name: str) -> list[tuple[str, bool]]:
        with _storage_errors(name, self._advice), os.scandir(self._root + name) as found:
            return sorted((entry.name, entry.is_dir()) for entry in found)

    def size(self, name: str) -> int | None:
        with _storage_errors(name, self._advice):
            try:
                status = os.stat(self._root + name)
                return _DIRECTORY if stat.S_ISDIR(status.st_mode) else status.st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def free_bytes(self) -> int:
        with _storage_errors(".", self._advice):
            return shutil.disk_usage(self._root).free  # what is free for this user, without root's reserve


@contextmanager
def _storage_errors(name: str, advice: Advice) -> Iterator[None]:
    name = name.removesuffix(_TEMPORARY)  # people know the file by the name it was to have
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"{name}: the disk is full", reason=Reason.DISK_FULL, hint=advice.full) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(f"{name}: {error.strerror}", hint=advice.forbidden) from error
        wrong_path = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
        hint = "check the path" if wrong_path else "check the disk (dmesg, fsck)"
        raise StorageError(f"{name}: {error.strerror or error}", hint=hint) from error


def _parent(name: str) -> str:
    return str(PurePosixPath(name).parent)
