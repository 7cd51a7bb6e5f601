"""Where an ONNX model begins and ends: its own inputs and outputs or those it is cut at, and the sizes of its inputs.

Read from the file alone; nothing is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.errors import ConversionError
from converter.frontends.contract import Wanted
from converter.frontends.onnx_model.model import DTYPES, Graph, Node, OnnxModel
from converter.frontends.sizes import Declared

_NAMED = 8
_OF_TABLES = "ai.onnx.ml"


@dataclass(frozen=True, slots=True)
class Ends:
    """What is converted of a model."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]  # tensors
    output_names: tuple[str, ...]  # what the outputs are called, in the same order
    nodes: tuple[Node, ...]  # those that lie between, in the model's order
    dtypes: Mapping[str, np.dtype[Any]]  # of the inputs


def declared_inputs(model: OnnxModel) -> tuple[Declared, ...]:
    """The model's own inputs.

    Raises:
        ConversionError: one is no tensor of numbers.
    """
    found = []
    for value in model.graph.inputs:
        if value.type is None or value.shape is None or value.type not in DTYPES:
            raise ConversionError(
                f"input {value.name} is no tensor of numbers with a shape, which is all a device can fill",
                hint="encode strings as numbers before the model, or cut it behind that input with --inputs",
            )
        found.append(Declared(value.name, value.shape, DTYPES[value.type]))
    return tuple(found)


def find_ends(model: OnnxModel, wanted: Wanted) -> Ends:
    """Raises:
    ConversionError: a name that the model does not have, or outputs that need other inputs too.
    """
    graph = model.graph
    own = {value.name: value for value in graph.inputs}
    given = {name for node in graph.nodes for name in node.outputs if name}
    _check_names("input", wanted.inputs, {*own, *given})
    _check_names("output", wanted.outputs, given)
    inputs = wanted.inputs or tuple(own)
    names = wanted.outputs or _usual_outputs(model)
    outputs = tuple(_without_map(graph, name) for name in names)
    nodes, needed = _between(graph, set(inputs), outputs)
    missing = sorted(needed & set(own))
    if missing:
        raise ConversionError(
            f"outputs {', '.join(names)} need input {', '.join(missing)} too", hint="name it with --inputs as well"
        )
    dtypes = {
        name: DTYPES.get(own[name].type or 0, np.dtype(np.float32)) if name in own else np.dtype(np.float32)
        for name in inputs
    }
    return Ends(inputs, outputs, names, nodes, dtypes)


def _check_names(what: str, names: Sequence[str], known: set[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        close = sorted(known, key=lambda name: (unknown[0].lower() not in name.lower(), name))[:_NAMED]
        raise ConversionError(
            f"it has no tensor {', '.join(unknown)} to be an {what}", hint=f"it has, among others, {', '.join(close)}"
        )


def _usual_outputs(model: OnnxModel) -> tuple[str, ...]:
    """All of them; of a classifier of scikit-learn the scores, without the label they make."""
    outputs = model.graph.outputs
    if _OF_TABLES in model.opsets and len(outputs) > 1:
        scores = tuple(
            value.name
            for value in outputs
            if value.type is None or DTYPES.get(value.type, np.dtype(object)).kind == "f"
        )
        if scores:
            return scores
    return tuple(value.name for value in outputs)


def _without_map(graph: Graph, name: str) -> str:
    """A ZipMap gives scores by their classes' names: what goes into it are the scores."""
    for node in graph.nodes:
        if node.operator == "ZipMap" and name in node.outputs:
            return node.inputs[0]
    return name


def _between(graph: Graph, inputs: set[str], outputs: Sequence[str]) -> tuple[tuple[Node, ...], set[str]]:
    """The nodes that outputs come from, and the names that nothing between gives."""
    wanted = {name for name in outputs if name not in inputs}
    needed = set(wanted)
    kept = []
    for node in reversed(graph.nodes):
        gives = set(node.outputs) - inputs
        if gives & needed:
            kept.append(node)
            needed -= gives
            needed |= {name for name in _taken(node) if name not in inputs}
    return tuple(reversed(kept)), {name for name in needed if name not in graph.weights}


def _taken(node: Node) -> set[str]:
    """What a node takes, its branches included."""
    names = {name for name in node.inputs if name}
    for graph in node.graphs:
        for inner in graph.nodes:
            names |= _taken(inner)
        names |= {value.name for value in graph.outputs}
    return names
