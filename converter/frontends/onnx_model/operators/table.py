"""What an entry of the tables of operators says, and the values that operators get.

A static input is one that must be known before the model runs (a shape, axes, pads): its function gets it as a NumPy
array, all others as tensors. An elementwise operator gets a constant of one element as a plain number, because
litert-torch transposes around everything whose operands have other than four dimensions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from converter.errors import ConversionError

Tensor = Any  # torch.Tensor; PyTorch is not installed where types are checked
# elementwise: any layout will do; spatial: [batch, channels, …] in and out; keeps: as it comes in; plain: it is lost
Kind = Literal["elementwise", "spatial", "keeps", "plain"]


@dataclass(frozen=True, slots=True)
class Call:
    """One node as its function sees it."""

    operator: str
    attributes: Mapping[str, Any]
    opset: int  # of the operator's domain
    outputs: int

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def refused(self, what: str) -> ConversionError:
        return ConversionError(f"{self.operator} {what}, which is not converted", hint=HINT)


@dataclass(frozen=True, slots=True)
class Operator:
    """How an operator is computed: `function(call, *inputs)` gives a tensor or several."""

    function: Callable[..., Any]
    kind: Kind = "plain"
    static: frozenset[int] = frozenset()


Table = dict[str, Operator]
HINT = "replace it where the model was made, or cut the model before it with --outputs"

DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float32, 11: torch.float32, 12: torch.int64, 13: torch.int64, 16: torch.float32,
}  # fmt: skip  # the device computes in float32


def entry(
    table: Table, *names: str, kind: Kind = "plain", static: tuple[int, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function into a table under its operators' names."""

    def put(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            table[name] = Operator(function, kind, frozenset(static))
        return function

    return put


def ints(value: Any) -> list[int]:
    """A shape, axes or the like: of a static input, or of an attribute."""
    return [int(number) for number in (value.reshape(-1).tolist() if hasattr(value, "reshape") else value)]


def axes_of(call: Call, value: Any, rank: int) -> list[int] | None:
    """Axes, which are an input of newer operators and an attribute of older ones, counted from the front."""
    found = call.get("axes") if value is None else value
    return None if found is None else [axis % rank for axis in ints(found)]
