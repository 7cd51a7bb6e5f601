"""Outputs that are numbers and nothing else: what `regression` and `raw` read alike."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason, counted
from edge_agent.transform.tensor import Array, TensorSpec, dequantize

MAX_VALUES = 1000  # a result is a message, not a picture


def check_numbers(task: str, outputs: Sequence[TensorSpec]) -> None:
    """At least one output, and all of numbers.

    Raises:
        ModelError: INCOMPATIBLE.
    """
    wrong = [tensor.label for tensor in outputs if tensor.dtype.kind not in "uifb"]
    if wrong or not outputs:
        raise ModelError(
            f"task {task} needs outputs of numbers; this model gives {', '.join(wrong) or 'none'}",
            reason=Reason.INCOMPATIBLE,
        )


def check_names(names: tuple[str, ...], outputs: Sequence[TensorSpec]) -> None:
    """No names at all, or one for each value of all outputs.

    Raises:
        ModelError: LABELS_MISMATCH, with both numbers.
    """
    count = count_values(outputs)
    if names and len(names) != count:
        found = ", ".join(tensor.label for tensor in outputs)
        raise ModelError(
            f"the model gives {counted(count, 'value')} ({found}); {'there is' if len(names) == 1 else 'there are'} "
            f"{counted(len(names), 'name')}",
            reason=Reason.LABELS_MISMATCH,
            hint="name every value of every output in output.names, in their order, or none",
        )


def count_values(outputs: Sequence[TensorSpec]) -> int:
    """Of all outputs together."""
    return sum(math.prod(tensor.shape) for tensor in outputs)


def read_values(
    outputs: Sequence[Array], tensors: Sequence[TensorSpec]
) -> list[tuple[TensorSpec, NDArray[np.float32]]]:
    """The first `MAX_VALUES` real values, flat, each output's beside its tensor.

    Raises:
        ModelError: they are not numbers.
    """
    found: list[tuple[TensorSpec, NDArray[np.float32]]] = []
    room = MAX_VALUES
    for tensor, stored in zip(tensors, outputs, strict=True):
        values = dequantize(stored.reshape(-1)[:room], tensor)
        if not np.isfinite(values).all():
            raise ModelError(f"the model gave {tensor.name} not as numbers", reason=Reason.TRIAL_ERRORS)
        room -= values.size
        found.append((tensor, values))
    return found
