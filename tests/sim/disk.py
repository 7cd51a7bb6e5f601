"""A disk that forgets: what was not synced need not survive a power cut.

`SimDisk` implements `DiskOperations` in memory and keeps its promises, errors included (tests/test_disk.py runs the
same tests on it and on a real file system). Each operation that changes something is counted, and the power can be cut
before any of them. What is left after the cut is decided by `Survival`: POSIX promises nothing of what was not synced,
neither its order nor its wholeness, so each unsynced change may have reached the platter or not, and each unsynced
file may be lost, empty or torn although its name is there.

Names (entries of directories) and contents are apart, as on a real disk: a rename may survive whose file does not. Only
a rename between two directories is kept whole, as every journaling file system does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random

from edge_agent.errors import Reason, StorageError

_BLOCK_BYTES = 4096


class PowerCut(BaseException):  # no error: nothing may catch it
    """The machine is off."""


class Survival(Enum):
    """What becomes of changes that were not synced."""

    NOTHING = auto()  # lazy: none reached the platter
    NAMES = auto()  # eager: every name did, no content: the zero-length files of ext4
    NAMES_AND_HALVES = auto()  # every name, and the first half of each content
    EVERYTHING = auto()  # all had just been written back
    CHANCE = auto()  # each for itself, as chance will have it


@dataclass(eq=False)
class _File:
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


@dataclass(eq=False)
class _Directory:
    entries: "dict[str, _Node]" = field(default_factory=dict)
    durable: "dict[str, _Node]" = field(default_factory=dict)


_Node = _File | _Directory


@dataclass(frozen=True)
class _Change:
    """One operation's new entries: (directory, name, node or None for gone). Durable together or not at all."""

    entries: tuple[tuple[_Directory, str, _Node | None], ...]

    def touches(self, directory: _Directory) -> bool:
        return any(mine is directory for mine, _, _ in self.entries)

    def precedes(self, other: "_Change") -> bool:
        """Whether they are about the same name, so that their order cannot be turned round."""
        names = {(id(directory), name) for directory, name, _ in other.entries}
        return any((id(directory), name) in names for directory, name, _ in self.entries)

    def apply(self) -> None:
        for directory, name, node in self.entries:
            if node is None:
                directory.durable.pop(name, None)
            else:
                directory.durable[name] = node


class SimDisk:
    """`DiskOperations` on a simulated disk."""

    def __init__(self, capacity_bytes: int = 1 << 40) -> None:
        self.capacity_bytes = capacity_bytes
        self.operations = 0  # that changed something, since the last start
        self.cut_before: int | None = None  # the operation that the power does not last for, from 1
        self.unreadable: set[str] = set()  # files with a bad sector
        self.refuse: Callable[[str, str], StorageError | None] = lambda operation, name: None
        self._root = _Directory()
        self._pending: list[_Change] = []

    # --- DiskOperations -----------------------------------------------------------------------------------

    def read(self, name: str, offset: int, size: int) -> bytes:
        if name in self.unreadable:
            raise StorageError(f"{name}: Input/output error")
        return bytes(self._file(name).content[offset : offset + size])

    def write(self, name: str, offset: int, content: bytes) -> None:
        self._count("write", name)
        parent, last = self._parent(name)
        node = parent.entries.get(last)
        if isinstance(node, _Directory):
            raise StorageError(f"{name}: Is a directory")
        if node is None:
            node = _File()
            self._change((parent, last, node))
        room = self.free_bytes() + len(node.content) - offset
        written = content[: max(0, room)]
        if written:
            node.content.extend(bytes(max(0, offset - len(node.content))))  # a hole reads as zeros
            node.content[offset : offset + len(written)] = written
        if len(written) < len(content):
            raise StorageError(f"{name}: the disk is full", reason=Reason.DISK_FULL)

    def sync_file(self, name: str) -> None:
        self._count("sync_file", name)
        node = self._file(name)
        node.durable = bytes(node.content)

    def make_directory(self, name: str) -> None:
        self._count("make_directory", name)
        parent, last = self._parent(name)
        if isinstance(parent.entries.get(last), _File):
            raise StorageError(f"{name}: File exists")
        if last not in parent.entries:
            self._change((parent, last, _Directory()))

    def replace(self, source: str, target: str) -> None:
        self._count("replace", target)
        from_directory, from_name = self._parent(source)
        to_directory, to_name = self._parent(target)
        node, there = from_directory.entries.get(from_name), to_directory.entries.get(to_name)
        if node is None:
            raise StorageError(f"{target}: No such file or directory")
        if there is not None and isinstance(there, _Directory) != isinstance(node, _Directory):
            raise StorageError(f"{target}: Is a directory")
        if isinstance(there, _Directory) and there.entries:
            raise StorageError(f"{target}: Directory not empty")
        self._change((from_directory, from_name, None), (to_directory, to_name, node))

    def remove_file(self, name: str) -> None:
        self._count("remove_file", name)
        if self._find(name.rpartition("/")[0] or ".") is None:
            return  # as `unlink(missing_ok=True)`
        parent, last = self._parent(name)
        if isinstance(parent.entries.get(last), _Directory):
            raise StorageError(f"{name}: Is a directory")
        if last in parent.entries:
            self._change((parent, last, None))

    def remove_directory(self, name: str) -> None:
        self._count("remove_directory", name)
        parent, last = self._parent(name)
        if self._directory(name).entries:
            raise StorageError(f"{name}: Directory not empty")
        self._change((parent, last, None))

    def sync_directory(self, name: str) -> None:
        self._count("sync_directory", name)
        directory = self._directory(name)
        self._make_durable({index for index, change in enumerate(self._pending) if change.touches(directory)})

    def entries(self, name: str) -> list[tuple[str, bool]]:
        found = self._directory(name).entries
        return sorted((entry, isinstance(node, _Directory)) for entry, node in found.items())

    def size(self, name: str) -> int | None:
        node = self._find(name)
        if node is None:
            return None
        return len(node.content) if isinstance(node, _File) else -1

    def free_bytes(self) -> int:
        return self.capacity_bytes - _used_bytes(self._root)

    # --- power --------------------------------------------------------------------------------------------

    def after_power_cut(self, survival: Survival, chance: Random | None = None) -> "SimDisk":
        """What the machine finds when the power is back. This disk is as it was."""
        chance = chance or Random(0)
        disk = self._copy()
        if survival is Survival.CHANCE:
            disk._make_durable({index for index in range(len(disk._pending)) if chance.random() < 0.5})
        elif survival is not Survival.NOTHING:
            disk._make_durable(set(range(len(disk._pending))))
        disk._pending.clear()
        _forget(disk._root, survival, chance)
        return disk

    def after_kill(self) -> "SimDisk":
        """What a new process finds after this one was killed: all of it, and none of it more durable than before."""
        return self._copy()

    # --- inside -------------------------------------------------------------------------------------------

    def _count(self, operation: str, name: str) -> None:
        self.operations += 1
        if self.operations == self.cut_before:
            raise PowerCut
        error = self.refuse(operation, name)
        if error is not None:
            raise error

    def _change(self, *entries: tuple[_Directory, str, _Node | None]) -> None:
        for directory, name, node in entries:
            if node is None:
                del directory.entries[name]
            else:
                directory.entries[name] = node
        self._pending.append(_Change(entries))

    def _make_durable(self, chosen: set[int]) -> None:
        """Apply the chosen changes, with every earlier one that is about the same names."""
        for index in range(len(self._pending) - 1, -1, -1):
            later = [self._pending[other] for other in chosen if other > index]
            if index not in chosen and any(self._pending[index].precedes(change) for change in later):
                chosen.add(index)
        for index in sorted(chosen):
            self._pending[index].apply()
        self._pending = [change for index, change in enumerate(self._pending) if index not in chosen]

    def _find(self, name: str) -> _Node | None:
        node: _Node = self._root
        for part in () if name == "." else name.split("/"):
            if not isinstance(node, _Directory) or part not in node.entries:
                return None
            node = node.entries[part]
        return node

    def _file(self, name: str) -> _File:
        node = self._find(name)
        if not isinstance(node, _File):
            raise StorageError(f"{name}: {'Is a directory' if node else 'No such file or directory'}")
        return node

    def _directory(self, name: str) -> _Directory:
        node = self._find(name)
        if not isinstance(node, _Directory):
            raise StorageError(f"{name}: {'Not a directory' if node else 'No such file or directory'}")
        return node

    def _parent(self, name: str) -> tuple[_Directory, str]:
        parent, _, last = name.rpartition("/")
        return self._directory(parent or "."), last

    def _copy(self) -> "SimDisk":
        twins: dict[int, _Node] = {}
        disk = SimDisk(self.capacity_bytes)
        root = _twin(self._root, twins)
        assert isinstance(root, _Directory)
        disk._root = root
        for change in self._pending:
            entries = tuple(
                (_twin_directory(directory, twins), name, None if node is None else _twin(node, twins))
                for directory, name, node in change.entries
            )
            disk._pending.append(_Change(entries))
        return disk


def _twin(node: _Node, twins: dict[int, _Node]) -> _Node:
    if id(node) in twins:
        return twins[id(node)]
    if isinstance(node, _File):
        twins[id(node)] = file = _File(bytearray(node.content), node.durable)
        return file
    twins[id(node)] = directory = _Directory()
    directory.entries = {name: _twin(entry, twins) for name, entry in node.entries.items()}
    directory.durable = {name: _twin(entry, twins) for name, entry in node.durable.items()}
    return directory


def _twin_directory(directory: _Directory, twins: dict[int, _Node]) -> _Directory:
    twin = _twin(directory, twins)
    assert isinstance(twin, _Directory)
    return twin


def _forget(directory: _Directory, survival: Survival, chance: Random) -> None:
    directory.entries = dict(directory.durable)
    for node in directory.entries.values():
        if isinstance(node, _Directory):
            _forget(node, survival, chance)
        else:
            node.durable = _surviving(node, survival, chance)
            node.content = bytearray(node.durable)


def _surviving(file: _File, survival: Survival, chance: Random) -> bytes:
    content = bytes(file.content)
    if content == file.durable or survival is Survival.EVERYTHING:
        return content
    if survival in (Survival.NOTHING, Survival.NAMES):
        return file.durable
    if survival is Survival.NAMES_AND_HALVES:
        half = len(content) // 2
        return content[:half] + file.durable[half:]
    torn = bytearray(file.durable.ljust(len(content), b"\0")) if chance.random() < 0.7 else bytearray(file.durable)
    for start in range(0, len(content), _BLOCK_BYTES):
        if chance.random() < 0.5:
            torn[start : start + _BLOCK_BYTES] = content[start : start + _BLOCK_BYTES]
    return bytes(torn)


def _used_bytes(directory: _Directory) -> int:
    return sum(
        len(node.content) if isinstance(node, _File) else _used_bytes(node) for node in directory.entries.values()
    )
