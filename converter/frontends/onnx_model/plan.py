"""What is left of an ONNX graph once its shapes are fixed: steps in an order, and constants.

The graph is run once on zeros. What does not depend on the inputs becomes a constant, an `If` becomes the branch that
is taken, and it is found out which inputs and outputs lie [batch, channels, …]. Shapes and the choice of the ends are
decided before (`ends`); the steps as a PyTorch module are left to `program`, what spares transposes to `spare`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from converter.errors import ConversionError
from converter.frontends.onnx_model.channels import MOVING, PICTURE_RANK, ChannelMoves, Picked
from converter.frontends.onnx_model.ends import Ends
from converter.frontends.onnx_model.model import Array, Graph, Node, OnnxModel
from converter.frontends.onnx_model.operators.all import OPERATORS
from converter.frontends.onnx_model.operators.table import HINT, Call, Operator, Tensor
from converter.frontends.onnx_model.spare import spare_transposes
from converter.frontends.onnx_model.steps import Constant, Input, Plan, Step

_QUANTIZED = (
    "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
    "DynamicQuantizeLinear",
)  # fmt: skip


def make_plan(model: OnnxModel, ends: Ends, shapes: Mapping[str, tuple[int, ...]]) -> Plan:
    """Find out what is to be run from `ends.inputs`, of these shapes, to `ends.outputs`.

    Raises:
        ConversionError: operators that are not converted, all by their names, or a size that depends on the input.
    """
    check_operators(ends)
    planning = _Planning(model, {name: torch.zeros(shapes[name], dtype=_dtype(ends, name)) for name in ends.inputs})
    with torch.no_grad():
        planning.run(ends.nodes, model.graph.weights)
    return planning.finish(ends)


def check_operators(ends: Ends) -> None:
    """Raises:
    ConversionError: with the names of all operators that are needed and not converted.
    """
    unknown = sorted(
        {node.called for node in ends.nodes if node.operator not in (*_NOT_COMPUTED,) and not _entry(node)}
    )
    quantized = [name for name in unknown if name.rpartition(".")[2] in _QUANTIZED]
    if quantized:
        raise ConversionError(
            f"it is quantized already ({', '.join(quantized)}); a float32 model is needed",
            hint="export the model before it is quantized; --scheme quantizes it here",
        )
    if unknown:
        raise ConversionError(f"{_count(unknown)} not converted: {', '.join(unknown)}", hint=HINT)


_NOT_COMPUTED = ("Constant", "If")


def _count(names: Sequence[str]) -> str:
    return "an operator is" if len(names) == 1 else f"{len(names)} operators are"


def _entry(node: Node) -> Operator | None:
    return OPERATORS.get(node.domain, {}).get(node.operator)


def _dtype(ends: Ends, name: str) -> Any:
    return as_tensor(np.zeros(0, ends.dtypes[name])).dtype


def as_tensor(array: Array) -> Tensor:
    """A weight as PyTorch gets it: what is float is float32, and unsigned numbers are signed ones."""
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    elif array.dtype.kind not in "iub":
        raise ConversionError("it computes with strings, which a device cannot", hint="encode them as numbers before")
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape).copy())


class _Planning:
    """Runs the graph once; values that are known without the inputs are in `known`."""

    def __init__(self, model: OnnxModel, inputs: Mapping[str, Tensor]) -> None:
        self.model = model
        self.values: dict[str, Tensor] = dict(inputs)
        self.known: set[str] = set()
        self.alias: dict[str, str] = {}  # outputs of an If: what the branch calls them
        self.steps: list[Step] = []
        self.first: dict[str, bool] = {}  # values that lie [batch, channels, …]
        self.origin: dict[str, frozenset[str]] = {name: frozenset({name}) for name in inputs}
        self.pictures: set[str] = set()  # inputs that do
        self.channels = ChannelMoves()

    def run(self, nodes: Sequence[Node], weights: Mapping[str, Array]) -> None:
        for name, array in weights.items():
            if name not in self.values and array.dtype.kind != "O":
                self._learn(name, as_tensor(array))
        for node in nodes:
            try:
                self._node(node)
            except (RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
                last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                where = f" ({node.outputs[0]})" if node.outputs else ""
                raise ConversionError(
                    f"{node.called}{where} cannot be computed: {last[0]}",
                    hint="the file may be damaged, or its inputs may need other sizes: --input-shape NAME=1,…",
                ) from error

    def _node(self, node: Node) -> None:
        if node.operator == "Constant" and not node.domain:
            return self._learn(node.outputs[0], as_tensor(_constant(node)))
        if node.operator == "If" and not node.domain:
            return self._branch(node)
        entry = _entry(node)
        if entry is None:
            raise ConversionError(f"an operator is not converted: {node.called}", hint=HINT)
        names = [self.alias.get(name, name) for name in node.inputs]
        call = Call(node.operator, node.attributes, self.model.opsets.get(node.domain, 1), len(node.outputs))
        found = entry.function(call, *(self._value(node, entry, place, name) for place, name in enumerate(names)))
        results = found if isinstance(found, tuple | list) else (found,)
        told = {name: value for name, value in zip(node.outputs, results, strict=False) if name and value is not None}
        if node.operator in ("Shape", "Size") or all(name in self.known or not name for name in names):
            for name, value in told.items():
                self._learn(name, value.clone())
            return None
        self.values.update(told)
        self._lay(entry, names, told)
        moves = self._channel_moves(node, call, entry, names)
        if moves is not None:
            self.first[node.outputs[0]] = True
            self.steps.append(Step(call, moves.function, (moves.source,), node.outputs[:1]))
            return None
        inputs = tuple(self._input(entry, place, name, names) for place, name in enumerate(names))
        self.steps.append(Step(call, entry.function, inputs, node.outputs))
        return None

    def _channel_moves(self, node: Node, call: Call, entry: Operator, names: Sequence[str]) -> Picked | None:
        if node.operator not in MOVING or not set(names[1:]) <= self.known | {""} or len(node.outputs) != 1:
            return None
        source = names[0]
        if self.first.get(source) and self.values[source].dim() == PICTURE_RANK:
            self.channels.begin(source, tuple(self.values[source].shape))

        def move(places: Tensor) -> Tensor:
            given = (self._value(node, entry, place, name) for place, name in enumerate(names) if place)
            return entry.function(call, places, *given)

        return self.channels.follow(source, node.outputs[0], move)

    def _learn(self, name: str, value: Tensor) -> None:
        self.values[name] = value
        self.known.add(name)

    def _value(self, node: Node, entry: Operator, place: int, name: str) -> Any:
        if not name:
            return None
        if name not in self.values:
            raise ConversionError(f"{node.called} takes {name}, which nothing gives", hint="export the model again")
        value = self.values[name]
        if place not in entry.static:
            return value
        if name not in self.known:
            raise ConversionError(
                f"{node.called} is told by {name}, which is computed from the model's input; it must be known before",
                hint="export the model with fixed sizes (no dynamic axes), or cut it before that with --outputs",
            )
        return value.numpy()

    def _branch(self, node: Node) -> None:
        name = self.alias.get(node.inputs[0], node.inputs[0])
        if name not in self.known:
            raise ConversionError(
                f"an If is decided by {name}, which is computed from the model's input; TFLite models have no branches",
                hint="export each branch as a model of its own, or cut the model with --inputs and --outputs",
            )
        graph = node.attributes["then_branch" if bool(self.values[name].reshape(-1)[0]) else "else_branch"]
        assert isinstance(graph, Graph)
        self.run(graph.nodes, graph.weights)
        for outer, inner in zip(node.outputs, graph.outputs, strict=True):
            self.alias[outer] = self.alias.get(inner.name, inner.name)

    def _input(self, entry: Operator, place: int, name: str, names: Sequence[str]) -> Input:
        if not name:
            return None
        value = self.values[name]
        if place in entry.static:
            return Constant(value.numpy())
        if entry.kind != "elementwise" or name not in self.known:
            return name
        rank = max(self.values[other].dim() for other in names if other and other not in self.known)
        if value.numel() == 1 and value.dtype != torch.bool and value.dim() <= rank:
            return Constant(value.item())
        if value.dim() < rank:
            spread = f"{name}@{rank}"
            self._learn(spread, value.reshape([1] * (rank - value.dim()) + list(value.shape)))
            return spread
        return name

    def _lay(self, entry: Operator, names: Sequence[str], told: Mapping[str, Tensor]) -> None:
        """Note how the results lie, and which inputs of the model lie [batch, channels, …] therefore."""
        given = [name for name in names if name and name not in self.known]
        if entry.kind == "spatial" and self.values[names[0]].dim() >= 3:
            self.pictures |= self.origin.get(names[0], frozenset())
        for name, value in told.items():
            alike = [other for other in given if self.values[other].dim() == value.dim()]
            self.first[name] = value.dim() >= 3 and (
                entry.kind == "spatial"
                or (entry.kind != "plain" and any(self.first.get(other, False) for other in alike))
            )
            if entry.kind in ("elementwise", "keeps"):
                self.origin[name] = frozenset().union(*(self.origin.get(other, frozenset()) for other in alike))

    def finish(self, ends: Ends) -> Plan:
        outputs = tuple(self.alias.get(name, name) for name in ends.outputs)
        steps = list(_needed(self.steps, outputs))
        used = {name for step in steps for name in step.inputs if isinstance(name, str)} | set(outputs)
        fixed = [name for name in outputs if name in self.known]
        if fixed:
            raise ConversionError(
                f"output {fixed[0]} does not depend on the model's input", hint="name other outputs with --outputs"
            )
        plan = Plan(
            inputs=tuple(name for name in ends.inputs if name in used),
            outputs=outputs,
            steps=steps,
            constants={name: self.values[name] for name in sorted(used & self.known)},
            shapes={name: tuple(value.shape) for name, value in self.values.items()},
            channels_first={name for name, first in self.first.items() if first} | self.pictures,
        )
        spare_transposes(plan)
        return plan


def _constant(node: Node) -> Array:
    name, value = next(iter(node.attributes.items()))
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, np.int64 if name in ("value_int", "value_ints") else np.float32)


def _needed(steps: Sequence[Step], outputs: Sequence[str]) -> Iterator[Step]:
    """The steps that the outputs come from, in their order."""
    wanted = set(outputs)
    kept = []
    for step in reversed(steps):
        if wanted & set(step.outputs):
            kept.append(step)
            wanted |= {name for name in step.inputs if isinstance(name, str)}
    return reversed(kept)
