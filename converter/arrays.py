"""Representative data from a `.npz`: one array for each input, as the float model takes it."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.errors import CalibrationError
from converter.samples import digest_of, spread
from edge_agent.transform.tensor import Array, TensorSpec, quantize

# Names of arrays that are no inputs, but what is true of them.
TRUTHS = ("y", "labels", "label", "targets", "target", "y_test", "y_val", "y_train")


@dataclass(frozen=True, slots=True)
class Arrays:
    """Arrays as the float model takes them, one for each input, with the samples along the first axis."""

    names: tuple[str, ...]
    digest: str
    _columns: tuple[NDArray[np.float64], ...]

    def inputs(self, tensors: Sequence[TensorSpec]) -> Iterator[list[Array]]:
        for sample in zip(*self._columns, strict=True):
            pairs = zip(sample, tensors, strict=True)
            yield [quantize(real, tensor).reshape(tensor.shape) for real, tensor in pairs]


def open_arrays(path: Path, tensors: Sequence[TensorSpec], input_names: Sequence[str], limit: int) -> Arrays:
    stored = read_npz(path)
    names = list(input_names) or [tensor.name for tensor in tensors]
    stored = {name: array for name, array in stored.items() if name in names or name not in TRUTHS}
    if len(stored) == 1 and len(tensors) == 1:
        stored = {names[0]: next(iter(stored.values()))}
    missing = [name for name in names if name not in stored]
    if missing:
        raise CalibrationError(
            f"{path} holds {', '.join(stored) or 'no arrays'}; the model also takes {', '.join(missing)}",
            hint="name the arrays like the model's inputs",
        )
    problems = []
    for name, tensor in zip(names, tensors, strict=True):
        problems += _problems(name, stored[name], tensor)
    counts = {len(stored[name]) for name in names if stored[name].ndim}
    if len(counts) > 1:
        problems.append(f"the inputs have different numbers of samples: {sorted(counts)}")
    elif counts == {0}:
        problems.append("there are no samples")
    if problems:
        raise CalibrationError(
            f"{path}: {'; '.join(problems)}", hint="arrays are [samples, …], as the model takes them"
        )
    chosen = spread(counts.pop(), limit)
    columns = tuple(
        stored[name][chosen].reshape(len(chosen), *tensor.shape).astype(np.float64)
        for name, tensor in zip(names, tensors, strict=True)
    )
    return Arrays(tuple(f"sample {number}" for number in chosen), digest_of({path.name: path.read_bytes()}), columns)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # opened here: numpy leaves a broken file open
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (
        OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, SyntaxError, zipfile.BadZipFile, zlib.error,
        NotImplementedError, RuntimeError, MemoryError, OverflowError,
    ) as error:  # fmt: skip
        raise CalibrationError(f"{path} is not a whole .npz: {error}", hint="write it with numpy.savez") from error


def _problems(name: str, array: NDArray[Any], tensor: TensorSpec) -> list[str]:
    sample = tensor.shape
    if array.dtype.kind not in "biuf":
        return [f"{name} holds {array.dtype}, not numbers"]
    if (
        array.ndim == 0
        or array.shape[1:] not in (sample, sample[1:])
        or (sample and sample[0] != 1 and array.shape[1:] != sample)
    ):
        wanted = ", ".join(map(str, sample[1:]))
        return [f"{name} is {list(array.shape)}; the model takes [samples, {wanted}]"]
    if not np.isfinite(array).all():
        return [f"{name} holds NaN or Inf"]
    return []
