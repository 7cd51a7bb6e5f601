"""An interpreter that fails where it should not: whatever it raises is a ModelError, and it may work again later."""

from collections.abc import Sequence

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.inference.engine import EngineReport
from edge_agent.inference.interpreter import Details, TfliteEngine
from edge_agent.transform.tensor import Array

ONE = np.array([[1.0, 2.0]], np.float32)


class SimGraph:
    """Gives back what it gets. A batch in `unable` is laid out and cannot be run; `broken`: nor can it be laid out."""

    def __init__(self) -> None:
        self.unable: set[int] = set()
        self.broken: set[int] = set()
        self.laid_out = 1

    def inputs(self) -> Details:
        detail = {"shape": (1, 2), "shape_signature": (-1, 2), "dtype": np.float32, "quantization": (0.0, 0)}
        return [("values", detail)]

    outputs = inputs

    def resize(self, shapes: Sequence[tuple[int, ...]]) -> None:
        ((batch, _),) = shapes
        self.laid_out = 0
        if batch in self.broken:
            raise RuntimeError("no memory for the tensors")
        self.laid_out = batch

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        assert len(inputs[0]) == self.laid_out, "a real one would write beyond its tensors"
        if self.laid_out in self.unable:
            raise RuntimeError("reshape failed")
        return [inputs[0].copy()]


@pytest.fixture
def graph() -> SimGraph:
    return SimGraph()


@pytest.fixture
def engine(graph: SimGraph) -> TfliteEngine:
    engine = TfliteEngine(None, graph, EngineReport("sim", 1, delegated=False))
    assert engine.dynamic_batch
    return engine


def test_a_batch_that_fails_and_cannot_be_undone_is_an_error_of_the_model(
    graph: SimGraph, engine: TfliteEngine
) -> None:
    graph.unable, graph.broken = {3}, {1}
    with pytest.raises(ModelError, match="failed while running 3 inputs at once: reshape failed"):
        engine.invoke([np.repeat(ONE, 3, axis=0)])
    assert not engine.dynamic_batch
    with pytest.raises(ModelError, match="failed while running: no memory"):
        engine.invoke([ONE])
    graph.broken = set()
    assert engine.invoke([ONE])[0].tolist() == ONE.tolist()


def test_a_graph_that_could_not_be_laid_out_is_laid_out_again_before_it_is_run(
    graph: SimGraph, engine: TfliteEngine
) -> None:
    three = np.repeat(ONE, 3, axis=0)
    assert len(engine.invoke([three])[0]) == 3
    graph.broken = {1}
    with pytest.raises(ModelError, match="no memory"):
        engine.invoke([ONE])
    assert len(engine.invoke([three])[0]) == 3
