"""The port behind which a model runs. The only implementation that touches an interpreter is `tflite`."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from edge_agent.transform.tensor import Array, TensorSpec


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What runs the model, as measured after it was loaded."""

    library: str  # "ai-edge-litert 2.3.0"
    threads: int
    delegated: bool  # XNNPACK really took nodes: it vanishes silently without /proc/cpuinfo


class Engine(Protocol):
    """A loaded model. Not thread-safe: one thread invokes it."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def report(self) -> EngineReport: ...

    def invoke(self, inputs: Sequence[Array]) -> list[Array]:
        """Run once. Arrays must have the dtype and shape of `inputs`; the outputs are copies, in order.

        Raises:
            ModelError: the interpreter failed.
        """
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
