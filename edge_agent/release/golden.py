"""Golden vectors: inputs with the outputs they gave on the laptop, in `golden.npz`.

An uncompressed, deterministic .npz that `numpy.load` reads too. All inputs stand before all outputs, so that a
retrained model's golden file shares its first chunks with the one before. Comparing is left to `tasks.agreement`.
"""

import ast
import io
import math
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ArtifactError, Reason

_EPOCH = (1980, 1, 1, 0, 0, 0)
_PLAIN_KINDS = "biuf"


@dataclass(frozen=True, slots=True, eq=False)
class GoldenVectors:
    """At least one vector; inputs as the model takes them (its dtypes), outputs as real values, float32."""

    inputs: tuple[tuple[NDArray[Any], ...], ...]  # per vector, per input of the model
    outputs: tuple[tuple[NDArray[np.float32], ...], ...]

    def __post_init__(self) -> None:
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise ValueError(f"{len(self.inputs)} inputs and {len(self.outputs)} outputs make no golden vectors")
        for what, vectors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
                raise ValueError(f"every golden vector needs the same number of {what}, at least one")
        arrays = [array for vector in (*self.inputs, *self.outputs) for array in vector]
        if any(array.dtype.kind not in _PLAIN_KINDS for array in arrays):
            raise ValueError("golden vectors hold only numbers")
        if any(array.dtype != np.float32 for vector in self.outputs for array in vector):
            raise ValueError("golden outputs are float32")

    def __len__(self) -> int:
        return len(self.inputs)


def format_golden(vectors: GoldenVectors) -> bytes:
    """The one way golden vectors are written: same vectors, same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for kind, members in (("input", vectors.inputs), ("output", vectors.outputs)):
            for number, arrays in enumerate(members):
                for position, array in enumerate(arrays):
                    entry = zipfile.ZipInfo(_name(kind, number, position), _EPOCH)
                    entry.create_system = 3
                    archive.writestr(entry, _format_array(array))
    return buffer.getvalue()


def parse_golden(content: bytes) -> GoldenVectors:
    """Read `golden.npz`. Nothing is unpickled, and nothing larger than `content` is allocated.

    Raises:
        ArtifactError: it does not hold golden vectors.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            arrays = {info.filename: _parse_array(_stored(archive, info)) for info in archive.infolist()}
        vectors = GoldenVectors(_collected("input", arrays), _collected("output", arrays))
        if arrays:
            raise ValueError(f"unexpected member {min(arrays)!r}")  # noqa: TRY301 - one way out for all that is wrong
    except (
        zipfile.BadZipFile, ValueError, EOFError, KeyError, OSError, NotImplementedError, RuntimeError, OverflowError,
        SyntaxError, RecursionError, MemoryError, TypeError,
    ) as error:  # fmt: skip
        raise ArtifactError(
            f"golden.npz cannot be read: {error}",
            reason=Reason.BAD_MANIFEST,
            hint="make the artifact again with 'edgectl convert'",
        ) from error
    return vectors


def _name(kind: str, number: int, position: int) -> str:
    return f"{kind}_{number}_{position}.npy"


def _collected(kind: str, arrays: dict[str, NDArray[Any]]) -> tuple[tuple[NDArray[Any], ...], ...]:
    """Take the arrays of one kind out of `arrays`, in order."""
    vectors: list[tuple[NDArray[Any], ...]] = []
    while _name(kind, len(vectors), 0) in arrays:
        vector: list[NDArray[Any]] = []
        while (name := _name(kind, len(vectors), len(vector))) in arrays:
            vector.append(arrays.pop(name))
        vectors.append(tuple(vector))
    return tuple(vectors)


def _stored(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    return archive.read(info)


def _format_array(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    little_endian = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).reshape(array.shape)
    np.lib.format.write_array(buffer, little_endian, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _parse_array(content: bytes) -> NDArray[Any]:
    """NPY format 1.0 (numpy.lib.format): magic, header length, a Python literal, the values."""
    if content[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("an array is not in NPY format 1.0")
    start = 10 + int.from_bytes(content[8:10], "little")
    header = ast.literal_eval(content[10:start].decode("latin-1"))
    dtype, shape = np.dtype(str(header["descr"])), tuple(int(size) for size in header["shape"])
    if dtype.kind not in _PLAIN_KINDS or header["fortran_order"]:
        raise ValueError(f"an array of {dtype} is not of plain numbers in C order")
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError(f"an array says {shape} of {dtype} but holds {len(content) - start} bytes")
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
