"""Runs what a front-end wrote, and holds it to the framework's answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.frontends.contract import REFERENCE_NAME, REFERENCES, TFLITE_NAME, Wanted
from converter.tflite_schema import Graph, read_graph
from edge_agent.inference.tflite import open_engine

Convert = Callable[[Path, Path, Wanted], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Ran:
    """A converted model that was run on all its reference inputs."""

    graph: Graph
    shapes: dict[str, tuple[int, ...]]  # of inputs and outputs, by their names
    error: float  # the largest, beside the largest value
    spread: float  # how far the reference answers differ from each other: 0 proves nothing

    @property
    def operators(self) -> list[str]:
        return [operator.name for operator in self.graph.operators]


def convert(function: Convert, source: Path, folder: Path, wanted: Wanted | None = None) -> Ran:
    """Convert, load as the device does, and compare."""
    folder.mkdir(exist_ok=True)
    tools = function(source, folder, wanted or Wanted())
    assert {"torch", "litert-torch"} <= set(tools)
    content = (folder / TFLITE_NAME).read_bytes()
    graph = read_graph(content)
    with np.load(folder / REFERENCE_NAME) as stored:
        arrays: dict[str, NDArray[Any]] = {name: stored[name] for name in stored.files}
    error = 0.0
    with open_engine(folder / TFLITE_NAME) as engine:
        assert [tensor.name for tensor in engine.inputs] == list(graph.input_names)
        for number in range(REFERENCES):
            ends = zip(graph.input_names, engine.inputs, strict=True)
            given = [arrays[f"in:{name}"][number].reshape(tensor.shape) for name, tensor in ends]
            for name, found in zip(graph.output_names, engine.invoke(given), strict=True):
                expected = arrays[f"out:{name}"][number]
                assert found.shape == expected.shape
                error = max(error, float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6)))
    shapes = {name: graph.tensors[place].shape for name, place in zip(graph.input_names, graph.inputs, strict=True)}
    shapes |= {name: graph.tensors[place].shape for name, place in zip(graph.output_names, graph.outputs, strict=True)}
    spread = max(float(np.ptp(array, axis=0).max()) for name, array in arrays.items() if name.startswith("out:"))
    return Ran(graph, shapes, error, spread)
