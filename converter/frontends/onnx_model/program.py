"""A plan as a PyTorch module, whose pictures lie [batch, height, width, channels] at both ends, as TFLite has them."""

from collections.abc import Sequence
from typing import Any

import torch

from converter.frontends.onnx_model.operators.table import Tensor
from converter.frontends.onnx_model.steps import Constant, Input, Plan


class Program(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not installed where types are checked
    """Runs the steps of a plan; tracing it unrolls them."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.places: dict[str, str] = {}
        for number, (name, value) in enumerate(plan.constants.items()):
            self.places[name] = f"constant_{number}"
            self.register_buffer(self.places[name], value)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        plan = self.plan
        values: dict[str, Tensor] = {}
        for name, value in zip(plan.inputs, inputs, strict=True):
            values[name] = to_channels_first(value) if name in plan.channels_first else value
        for step in plan.steps:
            found = step.function(step.call, *(self._given(values, given) for given in step.inputs))
            results = found if isinstance(found, tuple | list) else (found,)
            values.update(zip(step.outputs, results, strict=False))
        return tuple(
            to_channels_last(values[name]) if name in plan.channels_first else values[name] for name in plan.outputs
        )

    def _given(self, values: dict[str, Tensor], given: Input) -> Any:
        if given is None:
            return None
        if isinstance(given, Constant):
            return given.value
        return values[given] if given in values else getattr(self, self.places[given])


def to_channels_first(x: Tensor) -> Tensor:
    return x.permute(channels_first_axes(x.dim()))


def to_channels_last(x: Tensor) -> Tensor:
    return x.permute(channels_last_axes(x.dim()))


def channels_last_axes(rank: int) -> Sequence[int]:
    return (0, *range(2, rank), 1)


def channels_first_axes(rank: int) -> Sequence[int]:
    return (0, rank - 1, *range(1, rank - 1))
