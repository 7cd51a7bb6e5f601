"""A folder of samples: files named by a time that never goes back, and `results.jsonl` with a line about each.

Device and laptop share it. What is in a file, and which ones are wanted, is left to others. No numpy here.
A sample is whole and synced, or not there. Its line is not synced: after a power cut a sample may be without one.
"""

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from edge_agent.disk import Disk
from edge_agent.errors import StorageError

RESULTS = "results.jsonl"
SUFFIXES = (".jpg", ".png", ".bmp", ".gif", ".webp", ".tif", ".csv", ".wav")
_STEM = r"\d{8}T\d{6}\.\d{3}Z"
_NAME = re.compile(rf"{_STEM}(?:{'|'.join(map(re.escape, SUFFIXES))})", re.ASCII)
_FORMAT = "%Y%m%dT%H%M%S.%fZ"
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_PIECE_BYTES = 1_000_000
_IDLE_LINES = 100  # about samples that are gone, before the lines are written anew


def is_sample(name: str) -> bool:
    """Whether this is the name of a sample: no path, and of a kind that we make."""
    return _NAME.fullmatch(name) is not None


def sample_names(disk: Disk) -> list[str]:
    """Of the samples in a folder, the oldest first."""
    return [name for name in disk.names(".") if is_sample(name)]


class SampleFolder:
    """At most `most` samples of `most_bytes` without their lines; the oldest go first. One thread uses it.

    Whatever else lies in the folder is left alone.

    Raises:
        StorageError: the folder cannot be read.
    """

    def __init__(self, disk: Disk, *, most: int | None = None, most_bytes: int | None = None) -> None:
        self._disk = disk
        self._most = most
        self._most_bytes = most_bytes
        disk.remove_leftovers(".")
        self._sizes = {name: disk.size(name) or 0 for name in sample_names(disk)}  # in the order of the names
        self._newest = max(self._sizes, default="")
        lines = disk.read(RESULTS) if disk.exists(RESULTS) else b""
        self._end = len(lines)  # where the next line goes
        self._torn = lines != b"" and not lines.endswith(b"\n")
        self._lines = lines.count(b"\n") + self._torn

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._sizes)

    def has(self, name: str) -> bool:
        return name in self._sizes

    def next_name(self, at_s: float, suffix: str) -> str:
        """That of a sample taken at this wall time: later than all others, even where the clock has gone back."""
        time = datetime.fromtimestamp(0, UTC) + timedelta(seconds=min(max(at_s, 0.0), 2.0e11))
        name = _stem(time) + suffix
        if self._newest and _bare(name) <= _bare(self._newest):
            last = datetime.strptime(_bare(self._newest), _FORMAT).replace(tzinfo=UTC)
            name = _stem(last + timedelta(milliseconds=1)) + suffix
        return name

    def put(self, name: str, content: bytes, line: bytes) -> None:
        """Keep a sample and its line (JSON, without its end); then the oldest make room.

        Raises:
            StorageError: it is not kept, and nothing has gone for it.
        """
        if self._most_bytes is not None and len(content) > self._most_bytes:
            raise StorageError(
                f"a sample of {len(content)} bytes; all of them together may have {self._most_bytes}",
                hint="raise max_bytes",
            )
        self._disk.write_atomic(name, content)
        try:
            self._append(line)
        except StorageError:
            self._disk.remove(name)
            raise
        self._sizes[name] = len(content)
        self._newest = max(self._newest, name)
        self._make_room(name)

    def _append(self, line: bytes) -> None:
        # At a place of our own counting: half a line that a full disk took is written over by the next one.
        self._end = min(self._end, self._disk.size(RESULTS) or 0)  # somebody may have taken it away
        text = (b"\n" if self._torn else b"") + line + b"\n"
        self._disk.write_at(RESULTS, self._end, text)
        self._end += len(text)
        self._lines += 1
        self._torn = False

    def _make_room(self, newest: str) -> None:
        for name in sorted(self._sizes):
            if name == newest or not self._is_too_much():
                break
            self._disk.remove(name)
            del self._sizes[name]
        if self._lines > 2 * len(self._sizes) + _IDLE_LINES:
            self._write_lines_anew()

    def _is_too_much(self) -> bool:
        if self._most is not None and len(self._sizes) > self._most:
            return True
        return self._most_bytes is not None and sum(self._sizes.values()) > self._most_bytes

    def _write_lines_anew(self) -> None:
        """Those about samples that are there."""
        lines = [line for line in self._disk.read(RESULTS)[: self._end].splitlines() if input_of(line) in self._sizes]
        text = b"".join(line + b"\n" for line in lines)
        self._disk.write_atomic(RESULTS, text)
        self._end, self._lines = len(text), len(lines)


def lines_about(disk: Disk, names: Collection[str]) -> dict[str, bytes]:
    """The lines about these samples, as far as there are any, read a piece at a time.

    Raises:
        StorageError
    """
    found: dict[str, bytes] = {}
    rest, offset = b"", 0
    while disk.exists(RESULTS) and (piece := disk.read_at(RESULTS, offset, _PIECE_BYTES)):
        offset += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            name = input_of(line)
            if name is not None and name in names:
                found[name] = line
    return found


def input_of(line: bytes) -> str | None:
    """The sample that a line is about; None where it cannot be read."""
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        return None
    name = tree.get("input") if isinstance(tree, dict) else None
    return name if isinstance(name, str) else None


def _bare(name: str) -> str:
    return name.rpartition(".")[0]


def _stem(time: datetime) -> str:
    return min(time, _LATEST).strftime("%Y%m%dT%H%M%S.") + f"{min(time, _LATEST).microsecond // 1000:03}Z"
