"""What a detection head is: how a model's outputs become objects in its input.

A head only reads the numbers. Thresholds, overlaps, labels and the way back into the picture are left to `detection`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from types import EllipsisType
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.transform.tensor import Array, TensorSpec, dequantize

Real = NDArray[np.float32]
Activation = Literal["none", "softmax", "sigmoid"]
Where = EllipsisType | int | slice | NDArray[Any] | tuple[EllipsisType | slice | NDArray[Any] | int, ...]
Size = tuple[int, int]  # height, width in px

_SCORE_WORDS = ("score", "class", "conf", "prob")


class Objects(NamedTuple):
    """n objects in the model's input, real values."""

    boxes: Real  # [n, 4] ymin, xmin, ymax, xmax, normalized: 0..1 of the input
    classes: NDArray[np.intp]  # [n]
    scores: Real  # [n]
    keypoints: Real | None = None  # [n, k, 3] x, y normalized, score

    def picked(self, rows: NDArray[Any]) -> Self:
        """Some of them, by position or by mask."""
        keypoints = None if self.keypoints is None else self.keypoints[rows]
        return type(self)(self.boxes[rows], self.classes[rows], self.scores[rows], keypoints)


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output as the model stores it, so that a head makes real values only of what it needs."""

    stored: Array
    tensor: TensorSpec

    @classmethod
    def of_real(cls, real: Real, tensor: TensorSpec) -> "Output":
        """Of values that have been made real before: golden vectors."""
        return cls(real, TensorSpec(tensor.name, tensor.shape, np.dtype(np.float32)))

    def shaped(self, *shape: int) -> "Output":
        return Output(self.stored.reshape(shape), self.tensor)

    def real(self, where: Where = ...) -> Real:
        return dequantize(self.stored[where], self.tensor)


class Head(Protocol):
    """Immutable; any thread may use it."""

    @property
    def classes(self) -> int | None:
        """How many the model knows, the background among them; None: it does not say."""
        ...

    @property
    def background(self) -> int:
        """The class that stands for "nothing"; -1: there is none."""
        ...

    @property
    def usual_labels(self) -> tuple[str, ...]:
        """Of a model that comes without labels."""
        ...

    @property
    def thinned(self) -> int | None:
        """The most objects it gives, where one object has one box already; None: boxes overlap still."""
        ...

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        """All objects that score `floor` or more, in the order of the model.

        Raises:
            ModelError: TRIAL_ERRORS, the outputs are not numbers.
        """
        ...


def misfit(decoder: str, expected: str, outputs: Iterable[TensorSpec], hint: str) -> ModelError:
    """The error of outputs that are not a head's."""
    found = ", ".join(tensor.label for tensor in outputs) or "none"
    return ModelError(
        f"output.decoder {decoder} needs {expected}; this model gives {found}", reason=Reason.INCOMPATIBLE, hint=hint
    )


def not_numbers() -> ModelError:
    return ModelError("the model gave places or scores that are not numbers", reason=Reason.TRIAL_ERRORS)


def check_numbers(outputs: Sequence[Output]) -> None:
    """See that there is neither NaN nor infinity in what is read as real numbers.

    Raises:
        ModelError: TRIAL_ERRORS.
    """
    if not all(np.isfinite(output.stored).all() for output in outputs if output.stored.dtype.kind == "f"):
        raise not_numbers()


def are_numbers(outputs: Iterable[TensorSpec]) -> bool:
    return all(tensor.dtype.kind in "uif" for tensor in outputs)


def input_size(inputs: tuple[TensorSpec, ...]) -> Size | None:
    """Height and width of a picture input, [1, h, w, c], or [1, c, h, w] as ONNX has it; None: it is no picture."""
    shape = inputs[0].shape if inputs else ()
    if len(shape) != 4:
        return None
    channels_first = shape[1] in (1, 3) and shape[3] not in (1, 3)
    return (shape[2], shape[3]) if channels_first else (shape[1], shape[2])


def needed_size(decoder: str, inputs: tuple[TensorSpec, ...]) -> Size:
    """`input_size` of a head that cannot do without.

    Raises:
        ModelError: INCOMPATIBLE.
    """
    size = input_size(inputs)
    if size is None:
        found = ", ".join(tensor.label for tensor in inputs) or "none"
        raise ModelError(
            f"{decoder} needs a picture [1, height, width, channels] as the first input; this model takes {found}",
            reason=Reason.INCOMPATIBLE,
        )
    return size


def boxes_and_scores(
    spec: OutputSpec, outputs: tuple[TensorSpec, ...], fit: Callable[[TensorSpec, TensorSpec], bool]
) -> tuple[int, int] | None:
    """Positions of the output of boxes and that of scores: as the manifest says, else by shape, else by name."""
    if spec.output_order is not None:
        orders = [spec.output_order]
    else:
        orders = list(permutations(range(len(outputs)), 2))
        orders.sort(key=lambda order: not _speaks_of_scores(outputs[order[1]].name))
    for order in orders:
        if len(order) == 2 and order[0] != order[1] and max(order) < len(outputs):
            boxes, scores = order
            if fit(outputs[boxes], outputs[scores]):
                return boxes, scores
    return None


def _speaks_of_scores(name: str) -> bool:
    return any(word in name.lower() for word in _SCORE_WORDS)


def rows_of(tensor: TensorSpec, columns: int) -> int:
    """How many rows of so many columns a tensor [1, n, columns] or [1, n, 1, columns] has; 0: it is none of these."""
    shape = tensor.shape
    if len(shape) < 3 or shape[0] != 1 or shape[-1] != columns or any(size != 1 for size in shape[2:-1]):
        return 0
    return shape[1]


def sigmoid(real: Real) -> Real:
    """1 / (1 + exp(-x)), in a form that never overflows."""
    half = np.float32(0.5)
    score: Real = half + half * np.tanh(half * real)
    return score


def activated(real: Real, activation: Activation) -> Real:
    """Scores of rows of classes, after the activation that the model itself left out."""
    if activation == "sigmoid":
        return sigmoid(real)
    if activation == "softmax":
        exponentials = np.exp(real - real.max(axis=-1, keepdims=True))
        normalized: Real = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return normalized
    return real


def corners(center_y: Real, center_x: Real, height: Real, width: Real) -> Real:
    """Boxes [n, 4] of their centers and sizes, each [n]."""
    half_height, half_width = height / 2, width / 2
    sides = (center_y - half_height, center_x - half_width, center_y + half_height, center_x + half_width)
    return np.stack(sides, axis=-1)


def best_class(scores: Real, background: int) -> tuple[NDArray[np.intp], Real]:
    """Of each row of scores [n, c] the best class that is not the background, and its score."""
    if 0 <= background < scores.shape[1]:
        scores = scores.copy()
        scores[:, background] = -np.inf
    classes = scores.argmax(axis=1)
    return classes, scores[np.arange(len(scores)), classes]
