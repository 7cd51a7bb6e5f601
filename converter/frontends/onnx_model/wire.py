"""The wire format of protocol buffers, as far as ONNX needs it: no generated code, no library.

Source: protobuf.dev, "Encoding". What the fields mean is left to `model`.
"""

import struct
from collections.abc import Iterator

Field = tuple[int, "int | memoryview"]  # the field's number; a varint or a fixed number as int, the rest as bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """These bytes are no message, or are cut off."""


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in their order.

    Raises:
        WireError: it is cut off, or no message.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError("a field with the number 0")
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise WireError(f"a field of kind {kind}")
        if at + size > end:
            raise WireError(f"{at + size - end} bytes are missing at its end")
        content = message[at : at + size]
        at += size
        yield number, content if kind == _BYTES else int.from_bytes(content, "little")


def text(value: "int | memoryview") -> str:
    return bytes(content(value)).decode("utf-8", "replace")


def content(value: "int | memoryview") -> memoryview:
    """A field that must hold bytes."""
    if isinstance(value, int):
        raise WireError("a number where bytes were expected")
    return value


def integer(value: "int | memoryview") -> int:
    """A field that must hold a signed 64-bit number."""
    if not isinstance(value, int):
        raise WireError("bytes where a number was expected")
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(value: "int | memoryview") -> list[int]:
    """A repeated number, which may be packed."""
    if isinstance(value, int):
        return [integer(value)]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(integer(number))
    return found


def floats(value: "int | memoryview") -> list[float]:
    """A repeated float32, which may be packed."""
    if isinstance(value, int):
        return [float(struct.unpack("<f", struct.pack("<I", value & 0xFFFFFFFF))[0])]
    if len(value) % 4:
        raise WireError("floats of other than 4 bytes")
    return list(struct.unpack(f"<{len(value) // 4}f", value))


def length_prefixed(number: int, message: bytes) -> bytes:
    """A field that holds bytes, as it is written."""
    return _written(number << 3 | _BYTES) + _written(len(message)) + message


def _written(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise WireError("its end is missing")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise WireError("a number of more than 64 bits")
