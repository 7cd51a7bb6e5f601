"""The port of the output side, and the one place that knows which task has which decoder."""

from collections.abc import Sequence
from typing import Protocol

from edge_agent.release.manifest import OutputSpec, TaskName
from edge_agent.tasks.classification import ClassificationDecoder
from edge_agent.tasks.detection import DetectionDecoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.tasks.raw import RawDecoder
from edge_agent.transform.placement import Placement
from edge_agent.transform.tensor import Array, TensorSpec


class Decoder(Protocol):
    """From stored outputs to predictions. Immutable; any thread may use it."""

    def decode(self, outputs: Sequence[Array], placement: Placement | None) -> list[Prediction]:
        """What the model said, the best first.

        Raises:
            ModelError: the outputs are not numbers.
        """
        ...


def build_decoder(
    task: TaskName, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]
) -> Decoder:
    """The decoder of a task, once outputs and labels are those it needs.

    Raises:
        ModelError: INCOMPATIBLE or LABELS_MISMATCH.
    """
    match task:
        case "classification" | "signal_classification":
            return ClassificationDecoder.build(spec, outputs, labels)
        case "detection":
            return DetectionDecoder.build(spec, outputs, labels)
        case "raw":
            return RawDecoder.build(spec, outputs, labels)
