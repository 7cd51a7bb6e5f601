"""The port of the output side, and the one place that knows which task has which decoder."""

from collections.abc import Sequence
from typing import Protocol

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec, TaskName
from edge_agent.tasks.prediction import Prediction
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
    # A worker runs one or two of them: the others are memory.
    match task:
        case "classification" | "signal_classification" | "audio_classification":
            from edge_agent.tasks.classification import ClassificationDecoder

            return ClassificationDecoder.build(spec, outputs, labels)
        case "detection":
            from edge_agent.tasks.detection import DetectionDecoder

            return DetectionDecoder.build(spec, outputs, labels, inputs)
        case "pose":
            from edge_agent.tasks.pose import PoseDecoder

            return PoseDecoder.build(spec, outputs, labels, inputs)
        case "segmentation":
            from edge_agent.tasks.segmentation import SegmentationDecoder

            return SegmentationDecoder.build(spec, outputs, labels)
        case "regression":
            from edge_agent.tasks.regression import RegressionDecoder

            return RegressionDecoder.build(spec, outputs, labels)
        case "anomaly":
            from edge_agent.tasks.anomaly import AnomalyDecoder

            return AnomalyDecoder.build(spec, outputs, labels, inputs)
        case "raw":
            from edge_agent.tasks.raw import RawDecoder

            return RawDecoder.build(spec, outputs, labels)
        case "plugin":
            from edge_agent.tasks.plugin import PluginDecoder

            return PluginDecoder.build(spec, outputs, labels, inputs)
        case _:
            raise ModelError(
                f"this agent has no decoder for task {task}", reason=Reason.INCOMPATIBLE, hint="update edge-deploy"
            )
