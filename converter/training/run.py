"""Trains a source before it is converted, in a child process that may be ended and go on later."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from converter.child import run_child
from converter.data.files import is_generator
from converter.errors import CalibrationError, ConversionError
from converter.report.sections import CompressionStep
from converter.source_kind import check_is_source
from converter.training.steps import Distill, Training
from converter.training.taken import Taken, to_request
from edge_agent import schema

_CHILD = "converter.training.child"
_TIMEOUT_S = 7 * 24 * 3600.0
_SUFFIXES = (".keras", ".h5", ".pt2")


@dataclass(frozen=True, slots=True)
class Trained:
    """The source after all steps, a file of its own kind, and what each step did."""

    path: Path
    steps: tuple[CompressionStep, ...]


def work_directory(output: Path, within: Path | None = None) -> Path:
    """Where the training for an artifact goes on from, until it is written. It is removed as a whole.

    Beside the artifact, or `within` another folder, of which nothing else is touched.
    """
    return (within or output.parent) / f".{output.name}.training"


def forget(work: Path) -> None:
    """Remove what was kept to go on from."""
    shutil.rmtree(work, ignore_errors=True)


def check_trainable(source: Path, training: Training) -> Path:
    """Where the training set is, if there is one, and the source is of a kind that can be trained.

    Raises:
        ModelError, ConversionError: it is not.
        CalibrationError: nobody gave a training set.
    """
    if source.suffix.lower() not in _SUFFIXES:
        raise ConversionError(
            f"{source} cannot be trained; {', '.join(_SUFFIXES)} can",
            hint="leave [training] out, or give the model where it was trained",
        )
    if training.data is None:
        raise CalibrationError("[training] needs a training set, and none was given", hint="--train DATA")
    if not is_generator(training.data) and not training.data.exists():
        raise CalibrationError(f"{training.data}: no such file or folder", hint="give the training set: --train DATA")
    check_is_source(source)
    for step in training.steps:
        if isinstance(step, Distill) and step.student is not None:
            _check_student(step.student, source)
    return training.data


def _check_student(student: Path, source: Path) -> None:
    if not student.is_file():
        raise ConversionError(f"{student}, the student: no such file", hint="distill's student is a path, or left out")
    kinds = [path.suffix.lower() == ".pt2" for path in (student, source)]
    if student.suffix.lower() not in _SUFFIXES or kinds[0] != kinds[1]:
        raise ConversionError(
            f"{student} cannot learn from {source.name}: both are of Keras, or both .pt2",
            hint="give a student that was saved by the framework of the source",
        )
    check_is_source(student)


def train(
    source: Path, training: Training, taken: Taken, work: Path, *, folder: Path, say: Callable[[str], None]
) -> Trained:
    """Run all steps, or those that an earlier run in `work` has not done. `say` is given a line an epoch.

    `taken` is what the model takes, by which its training set is read.

    Raises:
        ModelError, ConversionError: a source that cannot be trained, or is none.
        CalibrationError: the training set.
        StorageError: there is no room for what is to go on from.
    """
    data = check_trainable(source, training)
    steps = schema.dump(replace(training, data=None))
    students = [_digest(step.student) for step in training.steps if isinstance(step, Distill) and step.student]
    request = {
        "training": steps,
        "source": str(source.resolve()),
        "taken": to_request(taken, data),
        "work": str(work.resolve()),
        "fingerprint": hashlib.sha256(
            json.dumps([_digest(source), students, steps], sort_keys=True).encode()
        ).hexdigest(),
    }
    answer = run_child(
        _CHILD,
        request,
        folder,
        what=f"training {source.name}",
        timeout_s=_TIMEOUT_S,
        tell=say,
    )
    told = tuple(schema.parse(CompressionStep, step, strict=False) for step in answer["steps"])
    return Trained(Path(answer["model"]), told)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
