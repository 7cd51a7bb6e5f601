"""The port of the output side, and the one place that knows which task has which decoder."""

from collections.abc import Sequence
from typing import Protocol

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec, TaskName
from edge_agent.tasks.anomaly import AnomalyDecoder
from edge_agent.tasks.classification import ClassificationDecoder
from edge_agent.tasks.detection import DetectionDecoder
from edge_agent.tasks.plugin import PluginDecoder
from edge_agent.tasks.pose import PoseDecoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.tasks.raw import RawDecoder
from edge_agent.tasks.regression import RegressionDecoder
from edge_agent.tasks.segmentation import SegmentationDecoder
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec


class Decoder(Protocol):
    """From stored outputs to predictions. Immutable; any thread may use it."""

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """What the model said, the best first.

        Raises:
            ModelError: the outputs are not numbers.
        """
        ...


def build_decoder(  # noqa: PLR0911 - one for each task
    task: TaskName,
    spec: OutputSpec,
    outputs: tuple[TensorSpec, ...],
    labels: tuple[str, ...],
    inputs: tuple[TensorSpec, ...] = (),
) -> Decoder:
    """The decoder of a task, once outputs and labels are those it needs. `inputs[0]` is the one that is prepared.

    Raises:
        ModelError: INCOMPATIBLE or LABELS_MISMATCH.
    """
    match task:
        case "classification" | "signal_classification" | "audio_classification":
            return ClassificationDecoder.build(spec, outputs, labels)
        case "detection":
            return DetectionDecoder.build(spec, outputs, labels, inputs)
        case "pose":
            return PoseDecoder.build(spec, outputs, labels, inputs)
        case "segmentation":
            return SegmentationDecoder.build(spec, outputs, labels)
        case "regression":
            return RegressionDecoder.build(spec, outputs, labels)
        case "anomaly":
            return AnomalyDecoder.build(spec, outputs, labels, inputs)
        case "raw":
            return RawDecoder.build(spec, outputs, labels)
        case "plugin":
            return PluginDecoder.build(spec, outputs, labels, inputs)
        case _:
            raise ModelError(
                f"this agent has no decoder for task {task}", reason=Reason.INCOMPATIBLE, hint="update edge-deploy"
            )
