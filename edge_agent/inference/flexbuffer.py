"""Reading a number out of a flexbuffer's map: what custom operators keep their options in. Every access is checked.

Format: flatbuffers.dev/flatbuffers_internals, "FlexBuffers" (maps, their keys, types and widths); written by
tensorflow/lite/toco and the converter with flexbuffers::Builder. Flatbuffers themselves are left to `flatbuffer`.
"""

import struct
from collections.abc import Iterator

from edge_agent.inference.flatbuffer import DamagedError

_INT, _UINT, _INDIRECT_INT, _INDIRECT_UINT, _MAP = 1, 2, 6, 7, 9
_SIGNED = {1: "<b", 2: "<h", 4: "<i", 8: "<q"}
_UNSIGNED = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_LONGEST_KEY = 200


def read_integer(content: bytes, key: str) -> int | None:
    """The integer under this key of the map that the buffer is; None: there is none.

    Raises:
        DamagedError: it is no map, or points out of itself.
    """
    if len(content) < 3:
        raise DamagedError(f"a flexbuffer of {len(content)} bytes")
    kind, width = _unpacked(content[-2])
    root = len(content) - 2 - content[-1]
    if kind != _MAP:
        raise DamagedError(f"a flexbuffer of type {kind} where a map should stand")
    values = root - _number(content, root, content[-1], _UNSIGNED)
    count = _number(content, values - width, width, _UNSIGNED)
    for number, found in enumerate(_keys(content, values, width, count)):
        if found == key.encode():
            packed = _number(content, values + count * width + number, 1, _UNSIGNED)
            return _integer(content, values + number * width, width, packed)
    return None


def _keys(content: bytes, values: int, width: int, count: int) -> Iterator[bytes]:
    """In the order of the values; a map's keys are a vector of their own, which the map points to."""
    place = values - 3 * width
    keys = place - _number(content, place, width, _UNSIGNED)
    keys_width = _number(content, values - 2 * width, width, _UNSIGNED)
    for number in range(count):
        place = keys + number * keys_width
        begin = place - _number(content, place, keys_width, _UNSIGNED)
        if begin < 0:
            raise DamagedError(f"it points to byte {begin}")
        yield content[begin : begin + _LONGEST_KEY].partition(b"\0")[0]


def _integer(content: bytes, place: int, width: int, packed: int) -> int | None:
    kind, own_width = _unpacked(packed)
    if kind in (_INDIRECT_INT, _INDIRECT_UINT):
        place -= _number(content, place, width, _UNSIGNED)
        width = own_width
    if kind in (_INT, _INDIRECT_INT):
        return _number(content, place, width, _SIGNED)
    return _number(content, place, width, _UNSIGNED) if kind in (_UINT, _INDIRECT_UINT) else None


def _unpacked(packed: int) -> tuple[int, int]:
    """Type, and width in bytes."""
    return packed >> 2, 1 << (packed & 3)


def _number(content: bytes, place: int, width: int, formats: dict[int, str]) -> int:
    if width not in formats or not 0 <= place <= len(content) - width:
        raise DamagedError(f"it points to byte {place} of {len(content)}")
    return int(struct.unpack_from(formats[width], content, place)[0])
