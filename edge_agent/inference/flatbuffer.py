"""Reading tables out of a flatbuffer, every access checked against its bounds.

Not the flatbuffers package: that imports numpy where it is installed (19 MB, and the supervisor must do without),
and its readers trust every offset. Format: flatbuffers.dev/internals (tables, vtables, vectors, strings;
little-endian). Which slot means what is left to `model_file` and `metadata`.
"""

import struct
from dataclasses import dataclass
from mmap import mmap

Buffer = bytes | mmap
_FORMATS = {"i8": "<b", "u8": "<B", "u16": "<H", "i32": "<i", "u32": "<I", "i64": "<q", "u64": "<Q", "f32": "<f"}


class DamagedError(Exception):
    """An offset, length or index that points out of the buffer."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table. Fields are numbered as in the schema, from 0; a union takes two slots, its type and its value."""

    buffer: Buffer
    position: int

    def number(self, slot: int, kind: str, default: int = 0) -> int:
        position = self._field(slot)
        return default if position is None else int(_number(self.buffer, position, kind))

    def real(self, slot: int, default: float = 0.0) -> float:
        """A float of 32 bits."""
        position = self._field(slot)
        return default if position is None else _number(self.buffer, position, "f32")

    def text(self, slot: int) -> str:
        position = self._vector(slot)
        if position is None:
            return ""
        return self._span(position, 1).decode("utf-8", errors="replace")

    def texts(self, slot: int) -> tuple[str, ...]:
        """A vector of strings."""
        starts = [table.position for table in self.tables(slot)]
        return tuple(self._span(start, 1).decode("utf-8", errors="replace") for start in starts)

    def octets(self, slot: int) -> bytes | None:
        """A vector of bytes; None where there is none."""
        position = self._vector(slot)
        return None if position is None else self._span(position, 1)

    def octets_size(self, slot: int) -> int | None:
        """The length of a vector of bytes, all of it being within the buffer; None where there is none."""
        position = self._vector(slot)
        if position is None:
            return None
        size = int(_number(self.buffer, position, "u32"))
        _check(self.buffer, position + 4, size)
        return size

    def numbers(self, slot: int, kind: str) -> tuple[float, ...]:
        position = self._vector(slot)
        if position is None:
            return ()
        width = struct.calcsize(_FORMATS[kind])
        content = self._span(position, width)
        return struct.unpack(f"<{len(content) // width}{_FORMATS[kind][1]}", content)

    def integers(self, slot: int, kind: str) -> tuple[int, ...]:
        return tuple(int(value) for value in self.numbers(slot, kind))

    def table(self, slot: int) -> "Table | None":
        position = self._field(slot)
        return None if position is None else Table(self.buffer, _follow(self.buffer, position))

    def tables(self, slot: int) -> "list[Table]":
        position = self._vector(slot)
        if position is None:
            return []
        count = int(_number(self.buffer, position, "u32"))
        _check(self.buffer, position + 4, 4 * count)
        starts = range(position + 4, position + 4 + 4 * count, 4)
        return [Table(self.buffer, _follow(self.buffer, start)) for start in starts]

    def _field(self, slot: int) -> int | None:
        vtable = self.position - int(_number(self.buffer, self.position, "i32"))
        size = int(_number(self.buffer, vtable, "u16"))
        entry = 4 + 2 * slot
        offset = int(_number(self.buffer, vtable + entry, "u16")) if entry + 2 <= size else 0
        return self.position + offset if offset else None

    def _vector(self, slot: int) -> int | None:
        position = self._field(slot)
        return None if position is None else _follow(self.buffer, position)

    def _span(self, position: int, width: int) -> bytes:
        size = int(_number(self.buffer, position, "u32")) * width
        _check(self.buffer, position + 4, size)
        return self.buffer[position + 4 : position + 4 + size]


def root_table(buffer: Buffer, identifier: bytes) -> Table:
    """The root of a flatbuffer that carries this file identifier of four bytes.

    Raises:
        DamagedError: it does not.
    """
    _check(buffer, 0, 8)
    if buffer[4:8] != identifier:
        raise DamagedError(f"it carries {bytes(buffer[4:8])!r} where {identifier!r} should stand")
    return Table(buffer, _follow(buffer, 0))


def _follow(buffer: Buffer, position: int) -> int:
    return position + int(_number(buffer, position, "u32"))


def _number(buffer: Buffer, position: int, kind: str) -> float:
    _check(buffer, position, struct.calcsize(_FORMATS[kind]))
    value: float = struct.unpack_from(_FORMATS[kind], buffer, position)[0]
    return value


def _check(buffer: Buffer, position: int, size: int) -> None:
    if position < 0 or position + size > len(buffer):
        raise DamagedError(f"it points to byte {position + size} of {len(buffer)}")
