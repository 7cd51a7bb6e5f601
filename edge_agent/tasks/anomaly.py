"""Whether what a model sees is like what it was trained on, told by how badly it reconstructs it.

An autoencoder that has only seen the normal reproduces it well and other things badly (Sakurada and Yairi, "Anomaly
Detection Using Autoencoders with Nonlinear Dimensionality Reduction", MLSDA 2014). The error is taken in the unit of
the model's input, after its normalization. The threshold comes from errors of normal data: `threshold_of`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.labels import there_are
from edge_agent.tasks.one_output import one_output
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec, dequantize

_LABELS = ("normal", "anomaly")
_HEADROOM = 1.5  # over the largest error of too few samples
_SMALLEST_THRESHOLD = 1e-12  # of a model without any error: whatever has one is an anomaly


@dataclass(frozen=True, slots=True)
class AnomalyDecoder:
    """One output of as many values as the input, or of one value that is the error itself (`error = "output"`).

    Index 0 is normal, 1 an anomaly.
    """

    spec: OutputSpec
    labels: tuple[str, ...]
    position: int
    output: TensorSpec
    input: TensorSpec

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...], inputs: tuple[TensorSpec, ...]
    ) -> "AnomalyDecoder":
        """Check the outputs against the input, and the labels.

        Raises:
            ModelError: INCOMPATIBLE or LABELS_MISMATCH.
        """
        if labels and len(labels) != len(_LABELS):
            raise ModelError(
                f"task anomaly has two classes; {there_are(labels)}",
                reason=Reason.LABELS_MISMATCH,
                hint="give the label of the normal and that of an anomaly, in this order, or none",
            )
        position = error_output(spec, outputs, inputs)
        return cls(spec, labels or _LABELS, position, outputs[position], inputs[0])

    def error(self, outputs: Sequence[Array], prepared: Prepared) -> float:
        """How far the output is from the input; or what the model gives as that.

        Raises:
            ModelError: it is not a number.
        """
        found = dequantize(outputs[self.position], self.output)
        if self.spec.error == "output":
            error = float(found.reshape(-1)[0])
        else:
            error = difference(dequantize(prepared.inputs[0], self.input), found, self.spec.error)
        if not math.isfinite(error):
            raise ModelError("the model gave values that are not numbers", reason=Reason.TRIAL_ERRORS)
        return error

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """One prediction, its value the error. Its score: `score_of`.

        Without a threshold nobody knows what is normal: index 0, no label, score 1.0. With a `score_threshold` (0.5
        tells anomalies only) there may be none.
        """
        error = self.error(outputs, prepared)
        threshold = self.spec.threshold
        if threshold is None:
            return [Prediction(0, 1.0, None, value=error)]
        index = int(error > threshold)
        score = score_of(error, threshold)
        if score < self.spec.score_threshold:
            return []
        return [Prediction(index, score, self.labels[index], value=error)]


def difference(expected: NDArray[np.float32], found: NDArray[np.float32], kind: Literal["mse", "mae"]) -> float:
    """Mean of the squared, or of the absolute differences of as many values, whatever their shapes."""
    by = found.reshape(-1).astype(np.float64) - expected.reshape(-1)
    return float(np.square(by).mean() if kind == "mse" else np.abs(by).mean())


def score_of(error: float, threshold: float) -> float:
    """`error / (error + threshold)`: 0 of no error, 0.5 at the threshold, nearer to 1 the larger it is."""
    return max(0.0, error) / (max(0.0, error) + threshold)


def threshold_of(errors: Sequence[float], share: float) -> float:
    """The threshold that a new normal sample exceeds with a probability of at most `share`.

    Of n errors of normal samples that the model was not trained on, it is the k-th smallest with
    k = ceil((n + 1) x (1 - share)), which holds whatever their distribution (split conformal prediction: Angelopoulos
    and Bates, "A Gentle Introduction to Conformal Prediction", arXiv:2107.07511, theorem 1; inductive conformal anomaly
    detection: Laxhammar and Falkman, 2015). Fewer than `samples_needed` cannot tell: then it is the largest x 1.5.

    Raises:
        ValueError: no errors, or some that are not finite; `share` is not between 0 and 1.
    """
    if not errors or not all(map(math.isfinite, errors)):
        raise ValueError("a threshold needs errors that are finite numbers")
    if len(errors) < samples_needed(share):
        return max(max(errors) * _HEADROOM, _SMALLEST_THRESHOLD)
    rank = math.ceil((len(errors) + 1) * (1.0 - share) - 1e-9)
    return max(sorted(errors)[max(rank, 1) - 1], _SMALLEST_THRESHOLD)


def samples_needed(share: float) -> int:
    """How many errors `threshold_of` needs to keep its word.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of false alarms is between 0 and 1, found {share}")
    return math.ceil(1.0 / share - 1e-9) - 1


def error_output(spec: OutputSpec, outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> int:
    """Which output is held against the input, or is the error itself.

    Raises:
        ModelError: INCOMPATIBLE, none or several fit.
    """
    if spec.error == "output":
        size, needs = 1, "task anomaly with error 'output' needs one output of one value, the error"
    else:
        size = math.prod(inputs[0].shape) if inputs else 0
        taken = inputs[0].label if inputs else "nothing"
        needs = f"task anomaly needs one output of as many values as the input, {taken}"
    return one_output(
        spec, outputs, lambda tensor: math.prod(tensor.shape) == size and tensor.dtype.kind in "uif", needs
    )
