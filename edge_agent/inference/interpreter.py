"""One interpreter as an engine: its main graph, or one of its signatures.

Whose interpreter it is does not matter here: LiteRT and tflite-runtime have the same methods. Making one, and what
its failing to load means, is left to `tflite`.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from edge_agent.errors import ModelError, Reason, counted
from edge_agent.inference.engine import EngineReport
from edge_agent.transform.tensor import Array, Quantization, TensorSpec

# What interpreters raise over a model (seen when fuzzing; UnicodeDecodeError is a ValueError).
MODEL_ERRORS = (ValueError, RuntimeError, MemoryError, OSError, TypeError, OverflowError, IndexError)
_DELEGATE_OPERATOR = "DELEGATE"
_UNSETTLED = -1  # the batch of a graph that is laid out for none

Details = list[tuple[str, Mapping[str, Any]]]  # the name a tensor goes by, and what the interpreter says of it


class Graph(Protocol):
    """What is run of a model. Inputs and outputs keep their order."""

    def inputs(self) -> Details: ...
    def outputs(self) -> Details: ...

    def resize(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Lay it out for inputs of these shapes."""
        ...

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Copies of the outputs."""
        ...


class MainGraph:
    """The first graph of a model, its tensors by their own names and in their own order."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._input_indices = [int(detail["index"]) for detail in interpreter.get_input_details()]
        self._output_indices = [int(detail["index"]) for detail in interpreter.get_output_details()]

    def inputs(self) -> Details:
        return [(str(detail["name"]), detail) for detail in self._interpreter.get_input_details()]

    def outputs(self) -> Details:
        return [(str(detail["name"]), detail) for detail in self._interpreter.get_output_details()]

    def resize(self, shapes: Sequence[tuple[int, ...]]) -> None:
        for index, shape in zip(self._input_indices, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        for index, array in zip(self._input_indices, inputs, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._output_indices]


class SignatureGraph:
    """A signature: its tensors by the names it gives them, in the order of these names.

    Always by the interpreter's runner: tensors of other graphs than the first cannot be reached in another way. It lays
    the graph out for whatever it is given, which costs 2 µs where that is what it was before.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._input_names = sorted(runner.get_input_details())
        self._output_names = sorted(runner.get_output_details())

    def inputs(self) -> Details:
        details = self._runner.get_input_details()
        return [(name, details[name]) for name in self._input_names]

    def outputs(self) -> Details:
        details = self._runner.get_output_details()
        return [(name, details[name]) for name in self._output_names]

    def resize(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Nothing: `run` does."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        found = self._runner(**dict(zip(self._input_names, inputs, strict=True)))
        return [found[name] for name in self._output_names]


class TfliteEngine:
    """One interpreter with its tensors allocated. Made by `tflite.open_engine`. Not thread-safe."""

    def __init__(self, interpreter: Any, graph: Graph, report: EngineReport) -> None:
        self.report = report
        self._interpreter = interpreter  # for as long as the graph
        self._graph: Graph | None = graph
        self.inputs = tuple(_tensor_spec(name, detail) for name, detail in graph.inputs())
        self.dynamic_batch = _has_open_batch(graph)
        self._batch = self._own_batch = self.inputs[0].shape[0] if self.dynamic_batch else 1
        self._settle_outputs(graph)
        self.outputs = tuple(_tensor_spec(name, detail) for name, detail in graph.outputs())
        # An open first size may be another number, such as that of the objects found.
        self.dynamic_batch &= all(tensor.shape[:1] == (self._own_batch,) for tensor in self.outputs)

    def invoke(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Engine.invoke`."""
        graph = self._graph
        if graph is None:
            raise ValueError("the engine is closed")
        batch = self._batch_of(inputs)
        try:
            if batch != self._batch:
                self._batch = _UNSETTLED
                graph.resize([(batch, *tensor.shape[1:]) for tensor in self.inputs])
                self._batch = batch  # until another one comes
            return graph.run(inputs)
        except MODEL_ERRORS as error:
            if batch != self._own_batch:
                self._close_batch()
            several = f" {batch} inputs at once" if batch != self._own_batch else ""
            raise ModelError(
                f"the model failed while running{several}: {first_line(error)}", reason=Reason.LOAD_FAILED
            ) from error

    def close(self) -> None:
        self._graph = self._interpreter = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batch_of(self, inputs: Sequence[Array]) -> int:
        """How many inputs are stacked. A signature's runner would take any shape, so it is checked here for both."""
        if len(inputs) != len(self.inputs):
            raise ModelError(
                f"the model takes {counted(len(self.inputs), 'input')}; found {len(inputs)}", reason=Reason.LOAD_FAILED
            )
        batch = inputs[0].shape[0] if self.dynamic_batch and inputs[0].ndim and len(inputs[0]) else self._own_batch
        for array, tensor in zip(inputs, self.inputs, strict=True):
            shape = (batch, *tensor.shape[1:]) if self.dynamic_batch else tensor.shape
            if array.shape != shape or array.dtype != tensor.dtype:
                raise ModelError(
                    f"the model takes {tensor.label}; found {array.dtype}[{','.join(map(str, array.shape))}]",
                    reason=Reason.LOAD_FAILED,
                )
        return int(batch)

    def _close_batch(self) -> None:
        """A batch that only looks open (a reshape within the graph says 1) is found out by trying; then one by one."""
        self.dynamic_batch = False
        self._batch = _UNSETTLED  # laying it out again may fail, too: that is part of the next invoke

    def _settle_outputs(self, graph: Graph) -> None:
        """Run once where an output's size is not known before: every shape is to be true from the start."""
        if any(len(detail["shape"]) == 0 or not all(detail["shape"]) for _, detail in graph.outputs()):
            self.invoke([np.zeros(tensor.shape, tensor.dtype) for tensor in self.inputs])


def count_partitions(interpreter: Any) -> tuple[int, int, int]:
    """Pieces of the main graph that delegates run, the operators within them, and all its operators.

    An operator named DELEGATE stands for each piece; the operators it replaces stay in the list. Those are found from
    its outputs back to its inputs. There is no public way to ask; both interpreters have this one (nodes 2 → 0
    without /proc/cpuinfo).
    """
    operators = interpreter._get_ops_details()  # noqa: SLF001
    pieces = [operator for operator in operators if operator["op_name"] == _DELEGATE_OPERATOR]
    own = [operator for operator in operators if operator["op_name"] != _DELEGATE_OPERATOR]
    makers = {int(tensor): operator for operator in own for tensor in operator["outputs"]}
    within: set[int] = set()
    for piece in pieces:
        given = {int(tensor) for tensor in piece["inputs"]}
        left = [int(tensor) for tensor in piece["outputs"]]
        while left:
            tensor = left.pop()
            maker = makers.get(tensor)
            if maker is not None and tensor not in given and maker["index"] not in within:
                within.add(maker["index"])
                left += [int(needed) for needed in maker["inputs"]]
    return len(pieces), len(within), len(own)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def _has_open_batch(graph: Graph) -> bool:
    """Whether the first size of all inputs and outputs is open, and no other one of the inputs."""
    signatures = [tuple(detail["shape_signature"]) for _, detail in graph.inputs()]
    given = [tuple(detail["shape_signature"]) for _, detail in graph.outputs()]
    return bool(
        signatures
        and all(sizes[:1] == (-1,) and -1 not in sizes[1:] for sizes in signatures)
        and all(sizes[:1] == (-1,) for sizes in given)
    )


def _tensor_spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    quantized = scale != 0 and dtype.kind in "ui"
    return TensorSpec(
        name=name,
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=dtype,
        quantization=Quantization(float(scale), int(zero_point)) if quantized else None,
    )
