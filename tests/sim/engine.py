"""An engine without an interpreter: it keeps the promises of `Engine` and answers what it is told to."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from edge_agent.errors import ModelError, Reason
from edge_agent.inference.engine import EngineReport
from edge_agent.transform.tensor import Array, TensorSpec


class FakeEngine:
    """`answer` gets the input arrays and gives the output arrays; None: the interpreter fails."""

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        answer: Callable[[Sequence[Array]], Sequence[Array] | None],
        *,
        dynamic_batch: bool = False,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.report = EngineReport("fake 1.0", 1, delegated=False)
        self.dynamic_batch = dynamic_batch
        self.closed = False
        self._answer = answer

    def invoke(self, inputs: Sequence[Array]) -> list[Array]:
        if self.closed:
            raise ValueError("the engine is closed")
        batch = inputs[0].shape[:1] if self.dynamic_batch else self.inputs[0].shape[:1]
        wrong = [
            tensor.label
            for array, tensor in zip(inputs, self.inputs, strict=True)
            if array.shape != (batch + tensor.shape[1:] if self.dynamic_batch else tensor.shape)
            or array.dtype != tensor.dtype
        ]
        answer = None if wrong else self._answer(inputs)
        if answer is None:
            raise ModelError("the model failed while running", reason=Reason.LOAD_FAILED)
        return [array.copy() for array in answer]

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
