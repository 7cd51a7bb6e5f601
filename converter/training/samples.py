"""The training set: read by the code that reads data for `--evaluate`, made what the model takes, and kept on disk.

Pictures and windows go through the device's own transform; arrays of numbers are as the float model takes them. What is
prepared lies in a file, of which each batch reads its own samples, so that a training set may be larger than memory.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.data import stored
from converter.data.examples import (
    ClassTruth,
    Content,
    Example,
    Examples,
    Request,
    Tensors,
    Transform,
    Truth,
    ValuesTruth,
    gathered,
)
from converter.data.files import listed
from converter.data.normalization import check_normalization
from converter.data.opening import labeled_only, open_examples
from converter.errors import CalibrationError
from converter.evaluation.classes import ClassNames
from converter.training.taken import Taken
from edge_agent.errors import FrameError

_FILE = "training-set.float32"
_LABELED = "docs/training.md lists the forms: a folder with a subfolder for each class, a .csv, arrays x and y, …"
_Y = "y: class numbers, labels or values, one a sample"
_OF_ONE_CLASS = ("classification", "signal_classification", "audio_classification")
_TOLD = 1000  # samples from one word about them to the next

Real = NDArray[np.float32]
Tell = Callable[[str], None]


class Selected:
    """Some of the samples in a file [samples, ...]: what is asked for is read, and is a copy in memory."""

    def __init__(self, whole: Real, places: NDArray[np.intp] | None = None) -> None:
        self._whole = whole
        self._places = np.arange(len(whole)) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, chosen: slice | NDArray[np.intp]) -> Real:
        return np.array(self._whole[self._places[chosen]], np.float32)

    def select(self, places: NDArray[np.intp]) -> "Selected":
        return Selected(self._whole, self._places[places])


@dataclass(frozen=True, slots=True)
class Samples:
    """x: [samples, ...] as the float model takes them; y: class numbers, or what the outputs should be."""

    x: Selected
    y: NDArray[Any]

    def __len__(self) -> int:
        return len(self.y)

    def select(self, places: NDArray[np.intp]) -> "Samples":
        return Samples(self.x.select(places), self.y[places])


@dataclass(frozen=True, slots=True)
class TrainingSet:
    samples: Samples
    digest: str  # sha-256 over what is trained on


def read_training_set(path: Path, taken: Taken, shape: Sequence[int | None], folder: Path, tell: Tell) -> TrainingSet:
    """All of it, prepared in a file in `folder`. `shape`: of one sample as the source takes it, None where it is open.

    Raises:
        CalibrationError: it cannot be read, has no labels, or is not what the model takes.
    """
    request = Request(path, taken.task, taken.input, taken.skip_unreadable)
    examples, y = _labeled(request, taken)
    check_normalization(examples.items, taken.input, taken.tensor)
    layout = _Layout(tuple(shape), taken)
    used: list[int] = []
    bad: list[str] = []
    with open(folder / _FILE, "wb") as file:
        for place, array in _prepared(examples.items, layout, bad):
            file.write(array.tobytes())
            used.append(place)
            if len(used) % _TOLD == 0:
                tell(f"training set: {len(used)} of {len(examples.items)} samples")
    gathered(request, [examples.items[place] for place in used], bad, hint=_LABELED)
    left = [*examples.left_out, *bad]
    for note in (*examples.notes, *([f"{len(left)} left out: {listed(left)}"] if left else [])):
        tell(f"training set: {note}")
    x: Real = np.memmap(folder / _FILE, np.float32, "r", shape=(len(used), *layout.sizes))
    samples = Samples(Selected(x), y[used])
    return TrainingSet(samples, _digest(folder / _FILE, samples.y))


def _digest(file: Path, y: NDArray[Any]) -> str:
    with open(file, "rb") as content:
        total = hashlib.file_digest(content, "sha256")
    total.update(f"{y.dtype}{y.shape}".encode() + y.tobytes())
    return total.hexdigest()


# --- what is true of it ---------------------------------------------------------------------------------------------


def _labeled(request: Request, taken: Taken) -> tuple[Examples, NDArray[Any]]:
    names = ClassNames.of_outputs(taken.labels, taken.values)
    if request.path.is_file() and request.path.suffix.lower() in stored.SUFFIXES:
        contents, y = stored.read_columns(request, [taken.tensor], [taken.input_name])
        if y is None:
            raise CalibrationError(
                f"{request.path} has no y", hint="y: class numbers or values, one a sample; or labels"
            )
        items = tuple(Example(f"sample {number}", content) for number, content in enumerate(contents))
        return Examples(items), _targets(request, y, names)
    found = labeled_only(open_examples(request, [taken.tensor], [taken.input_name]))
    return found, _of_truths(request, [item.truth for item in found.items if item.truth is not None], names)


def _targets(request: Request, y: NDArray[Any], names: ClassNames) -> NDArray[Any]:
    """An array of numbers is what the outputs should be, or classes; texts are the names of classes."""
    if y.dtype.kind in "US" and y.size == len(y):
        return _classes(
            request, [text.decode() if isinstance(text, bytes) else text for text in y.ravel().tolist()], names
        )
    if y.dtype.kind not in "biuf":
        raise CalibrationError(
            f"{request.path}: expected numbers or labels in y, one entry a sample; found {y.dtype} {list(y.shape)}",
            hint=_Y,
        )
    if not np.isfinite(y).all():
        raise CalibrationError(f"{request.path}: y holds NaN or Inf", hint="take these samples out")
    if request.task == "regression":
        return y.astype(np.float32)  # whole numbers are values too
    if request.task in _OF_ONE_CLASS and _is_one_hot(y):
        classes: NDArray[Any] = y.reshape(len(y), -1).argmax(axis=1)
        return classes
    return y


def _is_one_hot(y: NDArray[Any]) -> bool:
    """Whether each sample has a 1 at its class, and 0 elsewhere; as evaluation takes it."""
    rows = y.reshape(len(y), -1)
    return rows.shape[1] > 1 and bool(((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all())


def _of_truths(request: Request, truths: Sequence[Truth], names: ClassNames) -> NDArray[Any]:
    labels = [truth.label for truth in truths if isinstance(truth, ClassTruth)]
    if len(labels) == len(truths):
        return _classes(request, labels, names)
    values = [truth.values for truth in truths if isinstance(truth, ValuesTruth)]
    if len(values) == len(truths) and len({len(each) for each in values}) == 1:
        return np.array(values, np.float32)
    raise CalibrationError(
        f"{request.path}: models are trained here by classes or values; the data of a {request.task} says "
        f"{'other things' if not values else 'not as many values of each sample'}",
        hint="give arrays x and y, y being what the outputs should be",
    )


def _classes(request: Request, labels: Sequence[str | int], names: ClassNames) -> NDArray[np.int64]:
    found = [names.index(label) for label in labels]
    unknown = list(dict.fromkeys(str(label) for label, index in zip(labels, found, strict=True) if index is None))
    if unknown:
        has = f"has {listed(names.labels)}" if names.labels else f"has {names.count} classes without labels"
        raise CalibrationError(
            f"{request.path} has {len(unknown)} labels that the model does not know: {listed(unknown)}; it {has}",
            hint="name the classes of the data like the model's labels, or by number; --labels gives a model labels",
        )
    return np.array(found, np.int64)


# --- to what the model takes ----------------------------------------------------------------------------------------


class _Layout:
    """From a device's input, whose channels are the last, to the source's, where they may be the first."""

    def __init__(self, shape: tuple[int | None, ...], taken: Taken) -> None:
        there = taken.tensor.shape[1:]
        first = (len(there) - 1, *range(len(there) - 1))
        ways = (tuple(range(len(there))), first)
        fitting = [axes for axes in ways if _fits([there[axis] for axis in axes], shape)]
        if not fitting:
            raise CalibrationError(
                f"the model takes {_sizes(shape)} where it is trained and {_sizes(there)} where it is converted: "
                "how its training set lies is not known",
                hint="train the whole model: leave out --inputs and --input-shape",
            )
        self._axes = fitting[0]
        self.sizes = tuple(there[axis] for axis in self._axes)  # of a sample
        self._there = there
        self._transform = Transform(taken.input, [taken.tensor])

    def apply(self, content: Content) -> Real:
        """One sample, float32.

        Raises:
            FrameError: it cannot be read.
        """
        if isinstance(content, Tensors):
            return self._plain(content)
        [array] = self._transform.apply(content)
        return self._moved(array.reshape(self._there))

    def _plain(self, content: Tensors) -> Real:
        """Arrays may lie as the source takes them, or as a device does; what fits both lies as the source takes it."""
        array = np.asarray(content.stored[0], np.float32)
        if array.ndim > len(self.sizes) and array.shape[0] == 1:
            array = array[0]
        if array.shape == self.sizes:
            return array
        if array.shape == self._there:
            return self._moved(array)
        raise CalibrationError(
            f"the training set holds {_sizes(array.shape)} for each sample; the model takes {_sizes(self.sizes)}",
            hint="arrays are x [samples, …], as the float model takes them",
        )

    def _moved(self, array: NDArray[Any]) -> Real:
        return array.transpose(self._axes).astype(np.float32)


def _prepared(items: Sequence[Example], layout: _Layout, bad: list[str]) -> Iterator[tuple[int, Real]]:
    for place, item in enumerate(items):
        try:
            yield place, layout.apply(item.content)
        except FrameError as error:
            bad.append(f"{item.name}: {error}")


def _fits(sizes: Sequence[int], shape: Sequence[int | None]) -> bool:
    return len(sizes) == len(shape) and all(wanted in (None, size) for size, wanted in zip(sizes, shape, strict=True))


def _sizes(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
