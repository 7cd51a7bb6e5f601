"""What a training set asks of a model: the loss, and the figure that a person judges by."""

import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from converter.errors import CalibrationError
from converter.training.steps import Distill, Step
from converter.training.trainee import Inputs, LossName, Objective, Real, Trainee

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Metric:
    name: Literal["accuracy", "mse"]
    loss: LossName
    probabilities: bool

    def of(self, trainee: Trainee, x: Inputs, y: NDArray[Any]) -> float:
        """Over all samples."""
        found = trainee.predict(x)
        match self.loss:
            case "crossentropy":
                return float(np.mean(found.argmax(axis=-1).reshape(-1) == y.reshape(-1)))
            case "binary_crossentropy":
                threshold = 0.5 if self.probabilities else 0.0
                return float(np.mean((found.reshape(y.shape) > threshold) == (y > 0)))
            case "mse":
                return float(np.mean(np.square(found.reshape(y.shape) - y)))

    def objective(self, step: Step, teacher: "Metric") -> Objective:
        """Of the model that this is of; `teacher`: of the one it learns from."""
        if isinstance(step, Distill):
            return Objective(self.loss, self.probabilities, step.temperature, step.weight, teacher.probabilities)
        return Objective(self.loss, self.probabilities)


def choose_metric(
    loss: Literal["auto", "crossentropy", "binary_crossentropy", "mse"], found: Real, y: NDArray[Any]
) -> Metric:
    """By the labels: whole numbers are classes. `found`: outputs for some samples.

    Raises:
        CalibrationError: outputs and labels do not go together.
    """
    values = found.reshape(len(found), -1).shape[1]
    classes = y.reshape(len(y), -1).shape[1] == 1 and np.issubdtype(y.dtype, np.integer)
    inside = bool(((found >= 0) & (found <= 1)).all())
    chosen: LossName
    if loss != "auto":
        chosen = loss
    elif classes and values > 1:
        chosen = "crossentropy"
    elif np.issubdtype(y.dtype, np.integer) or y.dtype == np.bool_:
        chosen = "binary_crossentropy"
    else:
        chosen = "mse"
    if chosen == "crossentropy":
        if not classes or int(y.min()) < 0 or int(y.max()) >= values:
            raise CalibrationError(
                f"the labels are no class numbers from 0 to {values - 1}: {y.dtype}, {y.min()} to {y.max()}",
                hint="y of the training set holds one whole number a sample",
            )
        sums = found.reshape(len(found), -1).sum(axis=1)
        return Metric("accuracy", chosen, inside and bool(np.allclose(sums, 1, atol=_SUM_TOLERANCE)))
    if y.reshape(len(y), -1).shape[1] != values:
        raise CalibrationError(
            f"the model gives {values} values and the training set has {y.reshape(len(y), -1).shape[1]} a sample",
            hint="y of the training set has the shape of the output",
        )
    return Metric("mse" if chosen == "mse" else "accuracy", chosen, inside)


def compressed_bytes(trainee: Trainee) -> int:
    """Size of the weights as float32, compressed: what pruning and clustering are for."""
    return len(zlib.compress(b"".join(trainee.read(name).tobytes() for name in trainee.kernels), 6))
