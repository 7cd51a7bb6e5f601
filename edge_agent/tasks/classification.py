"""Classes with scores, the best first; of pictures, of windows of a signal and of sound alike.

With activation `sigmoid` the classes exclude nothing: several may be told at once, each judged by `score_threshold`.

Source: best first, of those above a threshold, as tensorflow/lite/examples/label_image/get_top_n.h has it; softmax as
tensorflow/lite/kernels/internal/reference/softmax.h (the largest is taken off first), sigmoid as logistic.h beside it.
Quantized scores are made real before: scale x (stored - zero point) (LiteRT 8-bit quantization specification,
ai.google.dev/edge/litert/models/quantization_spec). A least score is what ScoreThresholdingOptions means by it
(tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.labels import check_labels
from edge_agent.tasks.one_output import one_output
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec, dequantize

_TOP_K = 5
_Float = TypeVar("_Float", np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class ClassificationDecoder:
    """One output of n scores, [1, n]; with no labels, or exactly n."""

    spec: OutputSpec
    tensor: TensorSpec
    labels: tuple[str, ...]
    position: int = 0  # of the output

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]
    ) -> "ClassificationDecoder":
        """Check the outputs, the labels and the background class.

        Raises:
            ModelError: INCOMPATIBLE or LABELS_MISMATCH.
        """
        position = scores_position(spec, outputs)
        classes = outputs[position].shape[-1]
        check_labels(labels, classes)
        check_background(spec, classes)
        return cls(spec, outputs[position], labels, position)

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:  # noqa: ARG002 - Decoder
        """The best classes at or above the threshold; equal scores in the order of their index."""
        stored = outputs[self.position].reshape(-1)
        wanted = self.spec.top_k or _TOP_K
        # Scores grow with what is stored, so stored values are ranked, and only those that are told become real ones.
        best = best_first(stored, wanted if self.spec.background_class is None else wanted + 1)
        best = best[best != self.spec.background_class][:wanted]
        if stored.dtype.kind == "f" or self.spec.activation == "softmax":
            score = scores(dequantize(stored, self.tensor), self.spec.activation)
            if not np.isfinite(score).all():
                raise ModelError("the model gave scores that are not numbers", reason=Reason.TRIAL_ERRORS)
            score = score[best]
        else:
            score = scores(dequantize(stored[best], self.tensor), self.spec.activation)
        return [
            Prediction(index, value, self.labels[index] if self.labels else None)
            for index, value in zip(best.tolist(), score.tolist(), strict=True)
            if value >= self.spec.score_threshold
        ]


def scores(real: NDArray[np.float32], activation: Literal["none", "softmax", "sigmoid"]) -> NDArray[np.float32]:
    """Scores of all classes, flat, after the activation that the model itself left out."""
    flat = real.reshape(-1).astype(np.float64)
    if activation == "softmax":
        exponentials = np.exp(flat - flat.max())
        flat = exponentials / exponentials.sum()
    elif activation == "sigmoid":
        flat = sigmoid(flat)
    return flat.astype(np.float32)


def sigmoid(real: NDArray[_Float]) -> NDArray[_Float]:
    """`1 / (1 + exp(-x))`, written so that it never overflows."""
    share: NDArray[_Float] = 0.5 * (1.0 + np.tanh(0.5 * real))
    return share


def best_first(values: Array, count: int) -> NDArray[np.intp]:
    """Positions of the `count` largest of a flat array, the largest first, equal ones in their order."""
    candidates = np.arange(values.size)
    if count < values.size:
        least = np.partition(values, values.size - count)[values.size - count]
        # what is no number is kept: it is found, and refused, by its score
        candidates = np.flatnonzero(~(values < least))
    chosen = values[candidates]
    # -x of the smallest integer is itself, and of an unsigned one no smaller; ~x turns the order of either
    order = np.argsort(~chosen if chosen.dtype.kind in "ui" else -chosen, kind="stable")
    return candidates[order][:count]


def scores_position(spec: OutputSpec, outputs: tuple[TensorSpec, ...]) -> int:
    """Which output holds the scores of classes.

    Raises:
        ModelError: INCOMPATIBLE, none or several do.
    """
    return one_output(spec, outputs, _is_row_of_scores, "classification needs one output [1, classes]")


def check_background(spec: OutputSpec, classes: int) -> None:
    """Whether `background_class` is a class.

    Raises:
        ModelError: INCOMPATIBLE.
    """
    background = spec.background_class
    if background is not None and not 0 <= background < classes:
        raise ModelError(
            f"background_class is {background}; the model has {classes} classes",
            reason=Reason.INCOMPATIBLE,
            hint="classes count from 0",
        )


def _is_row_of_scores(tensor: TensorSpec) -> bool:
    return bool(tensor.shape) and all(size == 1 for size in tensor.shape[:-1]) and tensor.dtype.kind in "uif"
