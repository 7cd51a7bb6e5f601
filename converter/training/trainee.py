"""The port through which a model is trained, whatever its framework: `keras_trainee` and `torch_trainee` have it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]
LossName = Literal["crossentropy", "binary_crossentropy", "mse"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A weight that the steps work on."""

    depthwise: bool
    channel_axis: int  # of its output channels


@dataclass(frozen=True, slots=True)
class Objective:
    """What a batch is judged by."""

    loss: LossName
    probabilities: bool  # the trained model ends in a softmax or sigmoid; else in logits or values
    temperature: float = 1.0
    teacher_weight: float = 0.0  # of the teacher's word; 0: there is none
    teacher_probabilities: bool = False  # what the teacher ends in; as above


class Inputs(Protocol):
    """Samples [samples, ...] as the float model takes them, of which only what is asked for need be in memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, chosen: slice) -> Real: ...


class Trainee(Protocol):
    """One model. Inputs are [batch, ...] as the float model takes them, outputs [batch, classes or values]."""

    suffix: str  # of its files

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of one sample; None where a size is open."""
        ...

    @property
    def kernels(self) -> Mapping[str, Kernel]: ...

    def read(self, name: str) -> Real: ...
    def write(self, name: str, weights: Real) -> None: ...

    def begin(self, learning_rate: float) -> None:
        """A new optimizer."""
        ...

    def train(self, x: Real, y: NDArray[Any], teacher: Real | None, objective: Objective) -> float:
        """One step on one batch; gives the loss. `teacher`: its outputs for the batch."""
        ...

    def predict(self, x: Inputs) -> Real: ...

    def narrow(self, share: float, multiple: int) -> int:
        """Take out channels and all that reads them; gives how many went.

        Raises:
            ConversionError: none can go.
        """
        ...

    def state(self) -> Sequence[NDArray[Any]]:
        """Weights and the optimizer's state, to go on from."""
        ...

    def load_state(self, state: Sequence[NDArray[Any]]) -> None: ...
    def save(self, path: Path) -> None: ...
