"""ONNX files written by hand, byte by byte: the tests here have no onnx package."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converter.frontends.onnx_model.wire import length_prefixed

FLOAT, STRING = 1, 8


def number(field: int, value: int) -> bytes:
    """A field with a whole number from 0 to 127."""
    assert 0 <= value < 128
    return bytes([field << 3, value])


def tensor(name: str, array: NDArray[np.float32]) -> bytes:
    shape = b"".join(number(1, size) for size in array.shape)
    return shape + number(2, FLOAT) + length_prefixed(8, name.encode()) + length_prefixed(9, array.tobytes())


def outside(name: str, size: int, location: str) -> bytes:
    """A weight whose numbers lie in another file."""
    entry = length_prefixed(1, b"location") + length_prefixed(2, location.encode())
    return (
        number(1, size)
        + number(2, FLOAT)
        + length_prefixed(8, name.encode())
        + length_prefixed(13, entry)
        + number(14, 1)
    )


def value(name: str, shape: Sequence[int | str], kind: int = FLOAT) -> bytes:
    told = [number(1, size) if isinstance(size, int) else length_prefixed(2, size.encode()) for size in shape]
    sizes = b"".join(length_prefixed(1, size) for size in told)
    kinds = number(1, kind) + length_prefixed(2, sizes)
    return length_prefixed(1, name.encode()) + length_prefixed(2, length_prefixed(1, kinds))


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **floats: float) -> bytes:
    ends = [length_prefixed(1, name.encode()) for name in inputs] + [
        length_prefixed(2, name.encode()) for name in outputs
    ]
    attributes = [
        length_prefixed(5, length_prefixed(1, key.encode()) + b"\x15" + struct.pack("<f", told) + b"\xa0\x01\x01")
        for key, told in floats.items()
    ]
    return b"".join([*ends, length_prefixed(4, operator.encode()), *attributes])


def write_onnx(
    path: Path,
    *,
    shape: Sequence[int | str] = (1, 4),
    weights: Mapping[str, NDArray[np.float32]] | None = None,
    more: bytes = b"",
    opset: int = 17,
    kind: int = FLOAT,
) -> Path:
    """A graph of one product and one activation; `more` are further fields of the graph."""
    if weights is None:
        weights = {"w": np.full((4, 2), 0.5, np.float32)}
    graph = [
        length_prefixed(1, node("MatMul", ["x", "w"], ["between"])),
        length_prefixed(1, node("LeakyRelu", ["between"], ["y"], alpha=0.25)),
        *(length_prefixed(5, tensor(name, array)) for name, array in weights.items()),
        length_prefixed(11, value("x", shape, kind)),
        length_prefixed(12, value("y", [1, 2])),
    ]
    told = number(1, 8) + length_prefixed(2, b"by hand") + length_prefixed(8, number(2, opset))
    path.write_bytes(told + length_prefixed(7, b"".join(graph) + more))
    return path
