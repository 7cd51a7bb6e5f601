"""Putting metadata and files into a model without touching what is there.

The model's flatbuffer is kept as it is, alignment included (repacking it in Python loses the 16 bytes that weights are
aligned to); only values that are named by their place in the file are told their new one. A new root stands in front
of it, whose tables point into the old one, for offsets only point forward; the metadata stands behind it, and behind
that the files as a zip. What stands in front is of the same size for all models of the same layers, so the chunks of
two releases stay as alike as the models are.
"""

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from converter.tflite_schema import read_graph

_IDENTIFIER = b"TFL3"
ENTRY_NAME = b"TFLITE_METADATA"
_LARGEST = 2_000_000_000  # bytes that an offset, and those who check a file, reach to
_ALIGNMENT = 16  # of values (schema.fbs, table Buffer: force_align)
_FIELDS = 8  # of table Model: version, operator_codes, subgraphs, description, buffers, metadata_buffer, metadata, ...
_VERSION, _BUFFERS, _METADATA = 0, 4, 6
# Where what stands in front is: vtable and table Model, then the vectors, then one table Metadata and one Buffer.
_VTABLE_AT = 8
_ROOT_AT = _VTABLE_AT + 4 + 2 * _FIELDS
_VECTORS_AT = _ROOT_AT + 4 + 4 * _FIELDS
_ENTRY_BYTES = 8 + 12 + 4 + len(ENTRY_NAME) + 1  # vtable, table, and the name with the zero that ends it
_BUFFER_BYTES = 8 + 8
_NO_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX, _READABLE = 3, 0o644


@dataclass(frozen=True, slots=True)
class _Root:
    """Table Model: where its fields are, from the beginning of the file."""

    version: int
    fields: Mapping[int, int]  # slot → position of what it points to
    buffers: tuple[int, ...]  # positions of the tables
    metadata: tuple[int, ...]  # those of other names


def embed(model: bytes, metadata: bytes, files: Mapping[str, bytes]) -> bytes | None:
    """The model with this metadata, and with `files` (name → content) in the zip behind it beside those it has.

    None: it is larger than 2 GB, or has fields that are not known here.

    Raises:
        ConversionError: the model is damaged.
    """
    read_graph(model)  # nothing below checks an offset again
    kept, flatbuffer = _without_zip(model)
    root = _read_root(flatbuffer)
    if root is None or len(flatbuffer) > _LARGEST:
        return None
    return _packed({**kept, **files}, _spliced(flatbuffer, root, metadata))


def _without_zip(model: bytes) -> tuple[dict[str, bytes], bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir()]
            start = min((info.header_offset for info in archive.infolist()), default=len(model))
            return {info.filename: archive.read(info) for info in entries}, model[:start]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return {}, model


def _packed(files: Mapping[str, bytes], flatbuffer: bytes) -> bytes:
    if not files:
        return flatbuffer
    whole = io.BytesIO()
    whole.write(flatbuffer)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _NO_DATE)
            entry.create_system, entry.external_attr = _UNIX, _READABLE << 16  # the same wherever it is written
            archive.writestr(entry, content)
    return whole.getvalue()


def _read_root(content: bytes) -> _Root | None:
    position = _u32(content, 0)
    vtable = position - struct.unpack_from("<i", content, position)[0]
    slots = (struct.unpack_from("<H", content, vtable)[0] - 4) // 2
    offsets = {slot: struct.unpack_from("<H", content, vtable + 4 + 2 * slot)[0] for slot in range(slots)}
    if any(offset and slot >= _FIELDS for slot, offset in offsets.items()):
        return None
    places = {slot: position + offset for slot, offset in offsets.items() if offset}
    version = _u32(content, places[_VERSION]) if _VERSION in places else 0
    fields = {slot: place + _u32(content, place) for slot, place in places.items() if slot != _VERSION}
    buffers = _tables(content, fields.get(_BUFFERS))
    if not buffers:
        return None
    entries = _tables(content, fields.get(_METADATA))
    others = tuple(entry for entry in entries if _name(content, entry) != ENTRY_NAME)
    return _Root(version, fields, buffers, others)


def _spliced(old: bytes, root: _Root, metadata: bytes) -> bytes:
    buffers_at, names_at, room = _room(root)
    shift = -(-room // _ALIGNMENT) * _ALIGNMENT
    front = bytearray(shift)
    data_at = -(-(shift + len(old) + 4) // _ALIGNMENT) * _ALIGNMENT - 4  # a length of 4 bytes, then aligned values
    struct.pack_into("<I4s", front, 0, _ROOT_AT, _IDENTIFIER)
    targets = {slot: position + shift for slot, position in root.fields.items()}
    targets |= {_BUFFERS: buffers_at, _METADATA: names_at}
    present = [slot for slot in range(_FIELDS) if slot == _VERSION or slot in targets]
    sizes = (4 + 2 * _FIELDS, 4 + 4 * _FIELDS)
    offsets = [4 + 4 * slot if slot in present else 0 for slot in range(_FIELDS)]
    struct.pack_into(f"<{2 + _FIELDS}H", front, _VTABLE_AT, *sizes, *offsets)
    struct.pack_into("<iI", front, _ROOT_AT, _ROOT_AT - _VTABLE_AT, root.version)
    for slot, target in targets.items():
        _point(front, _ROOT_AT + 4 + 4 * slot, target)

    buffer_at = room - _BUFFER_BYTES
    entry_at = buffer_at - _ENTRY_BYTES
    _vector(front, buffers_at, [*(position + shift for position in root.buffers), buffer_at + 8])
    _vector(front, names_at, [*(position + shift for position in root.metadata), entry_at + 8])
    struct.pack_into("<4HiII", front, entry_at, 8, 12, 4, 8, 8, 0, len(root.buffers))  # table Metadata: name, buffer
    _point(front, entry_at + 12, entry_at + 20)
    struct.pack_into(f"<I{len(ENTRY_NAME)}s", front, entry_at + 20, len(ENTRY_NAME), ENTRY_NAME)
    struct.pack_into("<4Hi", front, buffer_at, 6, 8, 4, 0, 8)  # table Buffer: data
    _point(front, buffer_at + 12, data_at)
    tail = bytes(data_at - shift - len(old)) + struct.pack("<I", len(metadata)) + metadata
    return bytes(front) + _moved(old, root.buffers, shift) + tail


def _room(root: _Root) -> tuple[int, int, int]:
    """Where the vectors of buffers and of metadata stand in front, and how many bytes all of that takes."""
    names_at = _VECTORS_AT + 4 + 4 * (len(root.buffers) + 1)
    end = names_at + 4 + 4 * (len(root.metadata) + 1)
    return _VECTORS_AT, names_at, end + _ENTRY_BYTES + _BUFFER_BYTES


def _vector(front: bytearray, at: int, targets: list[int]) -> None:
    struct.pack_into("<I", front, at, len(targets))
    for number, target in enumerate(targets):
        _point(front, at + 4 + 4 * number, target)


def _point(front: bytearray, at: int, target: int) -> None:
    struct.pack_into("<I", front, at, target - at)


def _u32(content: bytes, position: int) -> int:
    return int(struct.unpack_from("<I", content, position)[0])


def _tables(content: bytes, vector: int | None) -> tuple[int, ...]:
    if vector is None:
        return ()
    places = range(vector + 4, vector + 4 + 4 * _u32(content, vector), 4)
    return tuple(place + _u32(content, place) for place in places)


def _field(content: bytes, table: int, slot: int) -> int | None:
    vtable = table - struct.unpack_from("<i", content, table)[0]
    if 4 + 2 * slot + 2 > struct.unpack_from("<H", content, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", content, vtable + 4 + 2 * slot)[0]
    return table + int(offset) if offset else None


def _moved(content: bytes, buffers: tuple[int, ...], shift: int) -> bytes:
    """With values that are named by where they stand in the file (table Buffer: offset), and not from the table."""
    moved = bytearray(content)
    for place in (_field(content, buffer, 1) for buffer in buffers):
        offset = struct.unpack_from("<Q", content, place)[0] if place is not None else 0
        if place is not None and offset > 1:  # 0 and 1 stand for none
            struct.pack_into("<Q", moved, place, offset + shift)
    return bytes(moved)


def _name(content: bytes, entry: int) -> bytes:
    place = _field(content, entry, 0)
    if place is None:
        return b""
    start = place + _u32(content, place)
    return content[start + 4 : start + 4 + _u32(content, start)]
