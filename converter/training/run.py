"""Trains a source before it is converted, in a child process that may be ended and go on later."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converter.arrays import read_npz
from converter.child import run_child
from converter.errors import CalibrationError, ConversionError
from converter.report.sections import CompressionStep
from converter.source_kind import check_is_source
from converter.training.steps import Training
from edge_agent import schema

_CHILD = "converter.training.child"
_TIMEOUT_S = 7 * 24 * 3600.0
_SUFFIXES = (".keras", ".h5", ".pt2")


@dataclass(frozen=True, slots=True)
class Trained:
    """The source after all steps, a file of its own kind, and what each step did."""

    path: Path
    steps: tuple[CompressionStep, ...]


def work_directory(output: Path) -> Path:
    """Where the training for an artifact goes on from, until it is written."""
    return output.with_name(f".{output.name}.training")


def forget(work: Path) -> None:
    """Remove what was kept to go on from."""
    shutil.rmtree(work, ignore_errors=True)


def train(source: Path, training: Training, work: Path, folder: Path, say: Callable[[str], None]) -> Trained:
    """Run all steps, or those that an earlier run in `work` has not done. `say` is given a line an epoch.

    Raises:
        ModelError, ConversionError: a source that cannot be trained, or is none.
        CalibrationError: the training set.
    """
    if source.suffix.lower() not in _SUFFIXES:
        raise ConversionError(
            f"{source} cannot be trained; {', '.join(_SUFFIXES)} can",
            hint="leave [training] out, or give the model where it was trained",
        )
    data = _checked(training.data)
    check_is_source(source)
    fingerprint = hashlib.sha256(
        json.dumps([_digest(source), _digest(data), schema.dump(training)], sort_keys=True).encode()
    ).hexdigest()
    request = {
        "training": schema.dump(training),
        "source": str(source.resolve()),
        "data": str(data.resolve()),
        "work": str(work.resolve()),
        "fingerprint": fingerprint,
    }
    answer = run_child(
        _CHILD,
        request,
        folder,
        what=f"training {source.name}",
        timeout_s=_TIMEOUT_S,
        tell=say,
    )
    steps = tuple(schema.parse(CompressionStep, step, strict=False) for step in answer["steps"])
    return Trained(Path(answer["model"]), steps)


def _checked(data: Path | None) -> Path:
    if data is None:
        raise CalibrationError("[training] needs a training set, and none was given", hint="--train DATA.npz")
    stored = read_npz(data)
    missing = sorted({"x", "y"} - set(stored))
    if missing:
        raise CalibrationError(
            f"{data} has no {' and no '.join(missing)}; it has {', '.join(stored)}",
            hint="x: inputs as the float model takes them, y: class numbers or values, one a sample",
        )
    x, y = stored["x"], stored["y"]
    for name, array in (("x", x), ("y", y)):
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise CalibrationError(
                f"{data}: expected numbers in {name}, one entry a sample; found {array.dtype} {list(array.shape)}",
                hint="x: inputs as the float model takes them, y: class numbers or values, one a sample",
            )
    if len(x) != len(y):
        raise CalibrationError(f"{data}: {len(x)} inputs in x and {len(y)} labels in y", hint="one label a sample")
    for name, array in (("x", x), ("y", y)):
        if not np.isfinite(array).all():
            raise CalibrationError(f"{data}: {name} holds NaN or Inf")
    return data


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
