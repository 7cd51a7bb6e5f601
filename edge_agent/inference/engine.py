"""The port behind which a model runs. The only implementation that touches an interpreter is `tflite`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.transform.tensor import Array, TensorSpec


@dataclass(frozen=True, slots=True)
class ThreadFigures:
    """How the number of threads was found: the median time of an invoke with each number that was tried."""

    p50_ms: Mapping[int, float]  # threads → ms
    paced_hz: float  # at most so many invokes a second were begun

    def __str__(self) -> str:
        each = ", ".join(f"{threads}: {value:.2f} ms" for threads, value in self.p50_ms.items())
        return f"measured at {self.paced_hz:g} invokes a second, median by threads: {each}"


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What runs the model, as measured after it was loaded."""

    library: str  # "ai-edge-litert 2.3.0"
    threads: int
    delegated: bool  # XNNPACK or another delegate really took nodes: XNNPACK vanishes silently without /proc/cpuinfo
    partitions: int = 0  # pieces of the graph that delegates run
    delegated_operators: int = 0  # of `operators`, those within these pieces
    operators: int = 0  # of the main graph
    delegate: str | None = None  # the external one in use
    fell_back: str | None = None  # why the external delegate that was asked for is not in use
    measured: ThreadFigures | None = None  # of threads = "auto"
    detection_classes: int | None = None  # `ModelFile.detection_classes`: its outputs do not tell

    @property
    def threads_chosen(self) -> str:
        """What "auto" has come to, and why."""
        return f"threads auto: {self.threads} chosen, {self.measured or 'for there is one usable core'}"


class Engine(Protocol):
    """A loaded model. Not thread-safe: one thread invokes it."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def report(self) -> EngineReport: ...
    @property
    def dynamic_batch(self) -> bool:
        """Whether several inputs may be run at once, stacked in the first dimension. May turn out False when tried."""
        ...

    def invoke(self, inputs: Sequence[Array]) -> list[Array]:
        """Run once. Arrays must have the dtype and shape of `inputs`; the outputs are copies, in order.

        With a dynamic batch the first dimension may be another number, the same for all, and is that of the outputs.

        Raises:
            ModelError: the interpreter failed.
        """
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def warm_up(engine: Engine) -> None:
    """Invoke once, on zeros: the first time allocates what later ones use.

    That it fails is told nobody: zeros may be nothing the model is made for, and its frames will show.
    """
    with suppress(ModelError):
        engine.invoke([np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs])
