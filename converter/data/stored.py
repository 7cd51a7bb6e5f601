"""Arrays: `.npz` with x and y, `x.npy` beside `y.npy`, HDF5 with x and y.

Bytes of a model that takes pictures are pictures, and go through the device's transform; all other values are as the
float model takes them. y is classes, values, one-hot rows, or maps.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.arrays import TRUTHS, read_npz
from converter.data.examples import (
    ClassTruth,
    Content,
    Example,
    Examples,
    MapValues,
    Pixels,
    Request,
    Tensors,
    Truth,
    ValuesTruth,
)
from converter.errors import CalibrationError
from edge_agent.release.inputs import ImageInput
from edge_agent.transform.tensor import TensorSpec

SUFFIXES = (".npz", ".npy", ".h5", ".hdf5")
_INPUTS = ("x", "X", "images", "data", "inputs", "input", "x_test", "x_val", "x_train", "windows")
_HINT = "arrays are x [samples, …], as the float model takes them (or uint8 pictures), and y [samples]"

Arrays = Mapping[str, NDArray[Any]]


def read_stored(request: Request, tensors: Sequence[TensorSpec], input_names: Sequence[str]) -> Examples:
    """The samples of a file. `tensors` are the float model's inputs, `input_names` what they are called.

    Raises:
        CalibrationError: it cannot be read, or is not what the model takes.
    """
    contents, y = read_columns(request, tensors, input_names)
    truths = _truths(request.path, y, request) if y is not None and request.labeled else [None] * len(contents)
    items = [Example(f"sample {number}", *pair) for number, pair in enumerate(zip(contents, truths, strict=True))]
    return Examples(tuple(items))


def read_columns(
    request: Request, tensors: Sequence[TensorSpec], input_names: Sequence[str]
) -> tuple[list[Content], NDArray[Any] | None]:
    """The samples, and what stands beside them as their truth, as it is there.

    Raises:
        CalibrationError: as `read_stored`.
    """
    path = request.path
    stored = _read(path)
    y = next((stored[name] for name in TRUTHS if name in stored), None)
    columns = _columns(path, stored, tensors, input_names)
    counts = {len(column) if column.ndim else 0 for column in (*columns, *([y] if y is not None else []))}
    if len(counts) != 1 or counts == {0}:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in stored.items())
        raise CalibrationError(f"{path} holds {shapes}: not as many of each, and at least one", hint=_HINT)
    return _contents(path, columns, tensors, request), y


def _read(path: Path) -> Arrays:
    match path.suffix.lower():
        case ".npz":
            return read_npz(path)
        case ".npy":
            beside = path.with_name(path.name.replace("x", "y", 1).replace("X", "y", 1))
            found = {"x": _read_npy(path)}
            return {**found, "y": _read_npy(beside)} if beside != path and beside.is_file() else found
        case _:
            from converter.data.hdf5 import read_hdf5

            return read_hdf5(path)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)  # of what is large only what is used
    except (OSError, ValueError, EOFError) as error:
        raise CalibrationError(f"{path} is not a whole .npy: {error}", hint="write it with numpy.save") from error
    return array


def _columns(
    path: Path, stored: Arrays, tensors: Sequence[TensorSpec], input_names: Sequence[str]
) -> list[NDArray[Any]]:
    names = list(input_names) or [tensor.name for tensor in tensors]
    if all(name in stored for name in names):
        return [stored[name] for name in names]
    rest = [name for name in stored if name not in TRUTHS]
    one = next((name for name in _INPUTS if name in stored), rest[0] if len(rest) == 1 else None)
    if len(tensors) != 1 or one is None:
        raise CalibrationError(
            f"{path} holds {', '.join(stored) or 'no arrays'}; the model takes {', '.join(names)}",
            hint="name the arrays like the model's inputs, or x; and the truth y",
        )
    return [stored[one]]


def _contents(
    path: Path, columns: Sequence[NDArray[Any]], tensors: Sequence[TensorSpec], request: Request
) -> list[Content]:
    spec = request.spec
    problems = [f"{array.dtype} is no type of numbers" for array in columns if array.dtype.kind not in "biuf"]
    if not problems:
        problems = [f"{list(a.shape)} holds NaN or Inf" for a in columns if a.dtype.kind == "f" and not _finite(a)]
    if problems:
        raise CalibrationError(f"{path}: {'; '.join(problems)}", hint=_HINT)
    first = columns[0]
    if isinstance(spec, ImageInput) and first.dtype == np.uint8 and len(columns) == 1:
        if first.ndim == 3 or (first.ndim == 4 and first.shape[-1] in (1, 3)):
            return [Pixels(np.ascontiguousarray(each[..., 0] if _gray(each) else each)) for each in first]
        raise CalibrationError(
            f"{path}: bytes {list(first.shape)} are no pictures [samples, height, width, 3]", hint=_HINT
        )
    for array, tensor in zip(columns, tensors, strict=True):
        size = int(np.prod(tensor.shape))
        if array.shape[1:] not in (tensor.shape, tensor.shape[1:]) and int(np.prod(array.shape[1:])) != size:
            wanted = ", ".join(map(str, tensor.shape[1:]))
            raise CalibrationError(f"{path} holds {list(array.shape)}; the model takes [samples, {wanted}]", hint=_HINT)
    return [Tensors(tuple(each)) for each in zip(*columns, strict=True)]


def _gray(picture: NDArray[Any]) -> bool:
    return picture.ndim == 3 and picture.shape[-1] == 1


def _finite(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all())


def _truths(path: Path, y: NDArray[Any], request: Request) -> list[Truth]:
    """Integers, texts and one-hot rows are classes; of a regression all are values."""
    match request.task:
        case "regression":
            if y.dtype.kind in "biuf":
                return [ValuesTruth(tuple(float(value) for value in np.ravel(each))) for each in y]
        case "segmentation":
            if y.dtype.kind in "biu" and y.ndim in (3, 4):
                return [MapValues(each.reshape(each.shape[:2])) for each in y]
        case _:
            reader = _class_reader(y)
            if reader is not None:
                return [ClassTruth(reader(each)) for each in y]
    raise CalibrationError(
        f"{path}: y is {y.dtype} {list(y.shape)}, which is no truth for task {request.task}", hint=_HINT
    )


def _class_reader(y: NDArray[Any]) -> Callable[[Any], str | int] | None:
    kind = y.dtype.kind
    if y.ndim == 2 and y.shape[1] > 1 and kind in "biuf" and np.array_equal(np.sort(y, axis=1)[:, :-1], 0 * y[:, 1:]):
        return lambda row: int(np.argmax(row))
    if int(np.prod(y.shape[1:])) != 1:
        return None
    if kind in "US":
        return lambda value: str(value.item().decode() if kind == "S" else value.item())
    if kind in "biu" or (kind == "f" and np.array_equal(y, np.round(y))):
        return lambda value: int(np.ravel(value)[0])
    return None
