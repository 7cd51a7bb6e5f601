"""Plain values for a model's inputs, from files and lines that hold them: CSV, .npy, .npz, JSON.

Rows that are cut into windows and pictures are left to `inputs`, which also knows the model that is fed.
"""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_agent.clock import SystemClock
from edge_agent.config.row_sources import CsvSource
from edge_agent.errors import InputError, SourceError, counted
from edge_agent.inference.frame import Sample, Unusable, Wanted
from edge_agent.inference.sources.csv_rows import CsvRows
from edge_agent.transform.tensor import Array, TensorSpec

ARRAY_SUFFIXES = (".npy", ".npz")
# What numpy raises over broken files (found by fuzzing).
_BROKEN = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, SyntaxError, zipfile.BadZipFile, zlib.error,
    NotImplementedError, RuntimeError, MemoryError, OverflowError,
)  # fmt: skip


def read_vectors(path: Path, tensors: Sequence[TensorSpec]) -> list[list[Array]]:
    """What a file of arrays holds for the inputs of a model: one vector, or several one below the other.

    Raises:
        InputError: it cannot be read, or holds another number of values.
    """
    if path.suffix == ".npz":
        return _named_vectors(path, tensors)
    return split_vectors(read_npy(path), tensors, str(path))


def split_vectors(values: Array, tensors: Sequence[TensorSpec], name: str) -> list[list[Array]]:
    """One vector of all values, or one of each row; for several inputs, a vector is dealt out to them.

    Raises:
        InputError: there is another number of values.
    """
    needed = sum(math.prod(tensor.shape) for tensor in tensors)
    if values.size == needed:
        return [[values.reshape(-1)]]
    if values.ndim and len(values) and np.size(values[0]) == needed:
        return [[value.reshape(-1)] for value in values]
    shape = "x".join(map(str, values.shape))
    labels = ", ".join(tensor.label for tensor in tensors)
    raise InputError(
        f"{name} holds {counted(values.size, 'value')} ({shape}); the model takes {needed} ({labels})",
        hint="one vector a file, or one a row; of a CSV --columns names those to be read",
    )


def read_npy(path: Path) -> Array:
    """The array of a .npy file.

    Raises:
        InputError: it is none.
    """
    try:
        values: Array = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except _BROKEN as error:
        raise InputError(f"{path} is not a .npy array: {error}", hint="save it with numpy.save") from error
    return values


def read_rows(path: Path, columns: tuple[str, ...] = (), time_column: str | None = None) -> Iterator[Sample | Unusable]:
    """The rows of a CSV file as the agent's source gives them; no `columns`: all but the time column.

    Raises:
        InputError, SourceError: it cannot be read, or has not these columns.
    """
    try:
        with CsvRows(CsvSource("csv", path, time_column=time_column), SystemClock()) as rows:
            while (row := rows.take(Wanted(columns))) is not None:
                yield row
    except SourceError as error:
        match error.__cause__:  # the agent's advice is about its service
            case OSError():
                raise InputError(str(error), hint="check the path") from error
            case UnicodeDecodeError():
                raise InputError(f"{path} is not text", hint="this model takes CSV files of numbers") from error
        raise


def parse_line(line: str, name: str, columns: Sequence[str]) -> Array | dict[str, Array]:
    """A JSON line: a list of numbers, maybe nested, or an object of such by name; of `columns`, their values in order.

    Raises:
        InputError: it is neither.
    """
    try:
        tree = json.loads(line)
        if isinstance(tree, dict) and columns:
            missing = [column for column in columns if column not in tree]
            if missing:
                raise InputError(f"{name} has no {', '.join(missing)}", hint=f"it has {', '.join(tree) or 'nothing'}")
            tree = [tree[column] for column in columns]
        if isinstance(tree, dict):
            return {key: _numbers(value) for key, value in tree.items()}
        return _numbers(tree)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{name}: expected a JSON list of numbers or an object of them, found {line.strip()[:60]!r}",
            hint='as [1.5, 2] or {"x": 1.5, "y": 2}',
        ) from error


def by_name(arrays: dict[str, Array], tensors: Sequence[TensorSpec], name: str) -> list[Array]:
    """The array of each input, in their order: by the input's name, with or without what converters put around it.

    Raises:
        InputError: one is missing.
    """
    found = [next((arrays[key] for key in _names(tensor) if key in arrays), None) for tensor in tensors]
    if len(tensors) == 1 and len(arrays) == 1:
        found = list(arrays.values())
    missing = [tensor.label for tensor, array in zip(tensors, found, strict=True) if array is None]
    if missing:
        raise InputError(
            f"{name} has no values for {', '.join(missing)}; it has {', '.join(arrays) or 'none'}",
            hint="name the arrays as the model's inputs are named; 'edgectl inspect' shows them",
        )
    return [array for array in found if array is not None]


def are_stored(values: Array, tensor: TensorSpec) -> bool:
    """Whether these can only be a quantized tensor's stored values: whole, within its dtype, and beyond what it holds.

    Features for microcontrollers are often kept so.
    """
    quantization = tensor.quantization
    if quantization is None or not values.size or not np.equal(np.rint(values), values).all():
        return False
    limits = np.iinfo(tensor.dtype)
    lowest, highest = ((limit - quantization.zero_point) * quantization.scale for limit in (limits.min, limits.max))
    within = limits.min <= values.min() and values.max() <= limits.max
    beyond = values.min() < lowest - quantization.scale or values.max() > highest + quantization.scale
    return bool(within and beyond)


def _named_vectors(path: Path, tensors: Sequence[TensorSpec]) -> list[list[Array]]:
    try:
        # from memory: numpy leaves a broken file open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except _BROKEN as error:
        raise InputError(f"{path} is not a .npz file of arrays: {error}", hint="save it with numpy.savez") from error
    found = by_name(arrays, tensors, str(path))
    needed = [math.prod(tensor.shape) for tensor in tensors]
    counts = {array.size // size if array.size % size == 0 else 0 for array, size in zip(found, needed, strict=True)}
    if counts == {1}:
        return [found]
    if len(counts) == 1 and 0 not in counts and all(len(array) in counts for array in found if array.ndim):
        return [list(vector) for vector in zip(*found, strict=True)]
    sizes = ", ".join(f"{array.size} for {tensor.label}" for array, tensor in zip(found, tensors, strict=True))
    raise InputError(f"{path} holds {sizes}", hint="one vector for each input, or the same number of vectors for each")


def _numbers(tree: object) -> Array:
    values = np.asarray(tree, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    return values


def _names(tensor: TensorSpec) -> Iterable[str]:
    bare = tensor.name.partition(":")[0]
    return (tensor.name, bare, bare.removeprefix("serving_default_"))
