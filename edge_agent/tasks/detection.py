"""Objects with boxes, from models that end in the SSD post-processing operator (its decoding and NMS are inside).

The operator's four outputs: tensorflow/lite/kernels/detection_postprocess.cc, kOutputTensorDetectionBoxes ff.:
boxes [1, n, 4] as ymin, xmin, ymax, xmax in 0..1, classes [1, n], scores [1, n], count [1]; all float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Box, Prediction
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec, dequantize


class OutputOrder(NamedTuple):
    """Positions among the model's outputs."""

    boxes: int
    classes: int
    scores: int
    number: int


class Objects(NamedTuple):
    """What the operator found: n objects, real values."""

    boxes: NDArray[np.float32]  # [n, 4] ymin, xmin, ymax, xmax, normalized
    classes: NDArray[np.intp]  # [n]
    scores: NDArray[np.float32]  # [n]


@dataclass(frozen=True, slots=True)
class DetectionDecoder:
    """A class index beyond the labels has no label: label files of sparse data sets (COCO) often end early."""

    spec: OutputSpec
    tensors: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    order: OutputOrder

    @classmethod
    def build(cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]) -> "DetectionDecoder":
        """Find the four outputs.

        Raises:
            ModelError: INCOMPATIBLE, they are not those of the operator.
        """
        return cls(spec, outputs, labels, output_order(spec, outputs))

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """Objects at or above the threshold, the best first, boxes in source px.

        Without a placement boxes stay normalized, 0..1 of the model's input.
        """
        real = [dequantize(stored, tensor) for stored, tensor in zip(outputs, self.tensors, strict=True)]
        boxes, classes, score = objects(real, self.order)
        if not (np.isfinite(score).all() and np.isfinite(boxes).all()):
            raise ModelError("the model gave boxes or scores that are not numbers", reason=Reason.TRIAL_ERRORS)
        placement = prepared.placement or Placement.fit("stretch", (1, 1), (1, 1))
        found: list[Prediction] = []
        for position in np.argsort(-score, kind="stable"):
            if score[position] < self.spec.score_threshold:
                break
            top, left, bottom, right = (float(value) for value in boxes[position])
            box = placement.to_source(Box(left, top, right, bottom))
            if box.left < box.right and box.top < box.bottom:  # else wholly outside of the picture, in a letterbox bar
                index = int(classes[position])
                label = self.labels[index] if 0 <= index < len(self.labels) else None
                found.append(Prediction(index, float(score[position]), label, box))
        return found[: self.spec.top_k]


def objects(real: Sequence[NDArray[np.float32]], order: OutputOrder) -> Objects:
    """The outputs cut to the number of objects that they hold."""
    boxes, classes, score = (real[position] for position in order[:3])
    told = float(real[order.number].reshape(-1)[0])
    count = int(min(max(told, 0.0), score.size)) if np.isfinite(told) else score.size
    indices = np.nan_to_num(classes.reshape(-1)[:count], nan=-1.0, posinf=-1.0, neginf=-1.0)
    return Objects(boxes.reshape(-1, 4)[:count], np.rint(indices).astype(np.intp), score.reshape(-1)[:count])


def output_order(spec: OutputSpec, outputs: tuple[TensorSpec, ...]) -> OutputOrder:
    """Which output is which: as the manifest says, else boxes and count by shape, classes and scores by name.

    Raises:
        ModelError: INCOMPATIBLE.
    """
    order = OutputOrder(*spec.output_order) if spec.output_order is not None else _guessed(outputs)
    if order is None or sorted(order) != [0, 1, 2, 3] or len(outputs) != 4 or not _fits(order, outputs):
        found = ", ".join(tensor.label for tensor in outputs)
        raise ModelError(
            "detection needs four outputs, boxes [1, n, 4], classes [1, n], scores [1, n] and count [1]"
            f"{f' in the order {spec.output_order}' if spec.output_order else ''}; this model gives {found}",
            reason=Reason.INCOMPATIBLE,
            hint="use a model that ends in TFLite_Detection_PostProcess, or task 'raw'",
        )
    return order


def _fits(order: OutputOrder, outputs: tuple[TensorSpec, ...]) -> bool:
    boxes, classes, score, count = (outputs[position] for position in order)
    elements = [int(np.prod(tensor.shape)) for tensor in (boxes, classes, score, count)]
    numbers = all(tensor.dtype.kind in "uif" for tensor in outputs)
    return numbers and boxes.shape[-1:] == (4,) and elements == [elements[1] * 4, elements[1], elements[1], 1]


def _guessed(outputs: tuple[TensorSpec, ...]) -> OutputOrder | None:
    boxes = [position for position, tensor in enumerate(outputs) if len(tensor.shape) == 3 and tensor.shape[-1] == 4]
    count = [position for position, tensor in enumerate(outputs) if len(tensor.shape) < 2]
    rest = [position for position in range(len(outputs)) if position not in (*boxes, *count)]
    if len(boxes) != 1 or len(count) != 1 or len(rest) != 2:
        return None
    first, second = rest
    if _names_scores_first(outputs[first].name, outputs[second].name):
        first, second = second, first
    return OutputOrder(boxes[0], first, second, count[0])


def _names_scores_first(first: str, second: str) -> bool:
    """Whether of two outputs [1, n] the first one holds the scores.

    The operator names them `…:1` (classes) and `…:2` (scores). The TensorFlow 2 detection exporter
    (models/research/object_detection/export_tflite_graph_lib_tf2.py, and its notebook's signature) names
    `StatefulPartitionedCall:1` (scores) and `:2` (classes), in whatever order. Others use words.
    """
    if "score" in first.lower() or "class" in second.lower() or "category" in second.lower():
        return True
    if "score" in second.lower() or "class" in first.lower() or "category" in first.lower():
        return False
    numbers = [name.rpartition(":")[2] for name in (first, second)]
    if all(number.isdecimal() for number in numbers):
        descending = int(numbers[0]) > int(numbers[1])
        return not descending if first.startswith("StatefulPartitionedCall") else descending
    return False
