"""Classes with scores, the best first; of pictures and of windows alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec, dequantize

_TOP_K = 5


@dataclass(frozen=True, slots=True)
class ClassificationDecoder:
    """One output of n scores, [1, n]; with no labels, or exactly n."""

    spec: OutputSpec
    tensor: TensorSpec
    labels: tuple[str, ...]

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]
    ) -> "ClassificationDecoder":
        """Check the outputs and the labels.

        Raises:
            ModelError: INCOMPATIBLE or LABELS_MISMATCH.
        """
        if len(outputs) != 1 or not _is_row_of_scores(outputs[0]):
            found = ", ".join(tensor.label for tensor in outputs)
            raise ModelError(
                f"classification needs one output [1, classes]; this model gives {found}",
                reason=Reason.INCOMPATIBLE,
                hint="use another task; 'raw' takes every model",
            )
        classes = outputs[0].shape[-1]
        if labels and len(labels) != classes:
            raise ModelError(
                f"the model has {classes} classes; there are {len(labels)} labels",
                reason=Reason.LABELS_MISMATCH,
                hint="use the label file this model was trained with: one label a line, a background class too",
            )
        return cls(spec, outputs[0], labels)

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:  # noqa: ARG002 - Decoder
        """The best classes at or above the threshold; equal scores in the order of their index."""
        score = scores(dequantize(outputs[0], self.tensor), self.spec.activation)
        if not np.isfinite(score).all():
            raise ModelError("the model gave scores that are not numbers", reason=Reason.TRIAL_ERRORS)
        best = np.argsort(-score, kind="stable")[: self.spec.top_k or _TOP_K]
        return [
            Prediction(int(index), float(score[index]), self.labels[index] if self.labels else None)
            for index in best
            if score[index] >= self.spec.score_threshold
        ]


def scores(real: NDArray[np.float32], activation: Literal["none", "softmax", "sigmoid"]) -> NDArray[np.float32]:
    """Scores of all classes, flat, after the activation that the model itself left out."""
    flat = real.reshape(-1).astype(np.float64)
    if activation == "softmax":
        exponentials = np.exp(flat - flat.max())
        flat = exponentials / exponentials.sum()
    elif activation == "sigmoid":
        flat = 0.5 * (1.0 + np.tanh(0.5 * flat))  # = 1 / (1 + exp(-x)), and never overflows
    return flat.astype(np.float32)


def _is_row_of_scores(tensor: TensorSpec) -> bool:
    return bool(tensor.shape) and all(size == 1 for size in tensor.shape[:-1]) and tensor.dtype.kind in "uif"
