"""What is run of an ONNX model, as values: steps, constants, and how tensors lie."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from converter.frontends.onnx_model.operators.table import Call, Tensor


@dataclass(frozen=True, slots=True)
class Constant:
    """A static input, or a plain number among the inputs of a step."""

    value: Any


Input = str | Constant | None  # a tensor by its name, a value, or nothing


@dataclass(frozen=True, slots=True)
class Step:
    """One operator to be run."""

    call: Call
    function: Callable[..., Any]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class Plan:
    """What is to be run, and how its ends lie."""

    inputs: tuple[str, ...]  # those that matter
    outputs: tuple[str, ...]
    steps: list[Step] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    channels_first: set[str] = field(default_factory=set)  # values that lie [batch, channels, …]
