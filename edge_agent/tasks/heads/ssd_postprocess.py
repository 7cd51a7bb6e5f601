"""Models that end in the SSD post-processing operator: its decoding and suppression are inside.

The operator's four outputs: tensorflow/lite/kernels/detection_postprocess.cc, kOutputTensorDetectionBoxes ff.:
boxes [1, n, 4] as ymin, xmin, ymax, xmax in 0..1, classes [1, n], scores [1, n], count [1]; all float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.heads.head import Objects, Output, Real, are_numbers, misfit, needed_size
from edge_agent.transform.tensor import TensorSpec


class OutputOrder(NamedTuple):
    """Positions among the model's outputs."""

    boxes: int
    classes: int
    scores: int
    number: int


@dataclass(frozen=True, slots=True)
class SsdPostprocessHead:
    """The operator gives at most `thinned` objects, and does not say how many classes there are."""

    order: OutputOrder
    thinned: int
    background: int
    scale: tuple[float, float]  # what box coordinates are divided by, y and x: 1, or the input in px
    classes: None = None
    usual_labels: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]
    ) -> "SsdPostprocessHead":
        """Find the four outputs.

        Raises:
            ModelError: INCOMPATIBLE, they are not those of the operator.
        """
        order = output_order(spec, outputs)
        scale = needed_size("ssd_postprocess", inputs) if spec.box_units == "pixels" else (1, 1)
        background = -1 if spec.background_class is None else spec.background_class
        return cls(order, int(np.prod(outputs[order.scores].shape)), background, scale)

    @staticmethod
    def is_likely(outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> bool:  # noqa: ARG004 - as all
        order = _guessed(outputs) if len(outputs) == 4 else None
        return order is not None and _fits(order, outputs)

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        found = objects([output.real() for output in outputs], self.order)
        found = found.picked((found.classes != self.background) & ~(found.scores < floor))  # NaN stays, to be seen
        scale = np.array((*self.scale, *self.scale), np.float32)
        return found._replace(boxes=found.boxes / scale)


def objects(real: Sequence[Real], order: OutputOrder) -> Objects:
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
    if spec.output_order is None:
        order = _guessed(outputs)
    else:
        order = OutputOrder(*spec.output_order) if len(spec.output_order) == 4 else None
    if order is None or sorted(order) != [0, 1, 2, 3] or len(outputs) != 4 or not _fits(order, outputs):
        stated = f" in the order {spec.output_order}" if spec.output_order else ""
        raise misfit(
            "ssd_postprocess",
            f"four outputs, boxes [1, n, 4], classes [1, n], scores [1, n] and count [1]{stated}",
            outputs,
            "use a model that ends in TFLite_Detection_PostProcess, state another output.decoder, or use task 'raw'",
        )
    return order


def _fits(order: OutputOrder, outputs: tuple[TensorSpec, ...]) -> bool:
    boxes, classes, score, count = (outputs[position] for position in order)
    elements = [int(np.prod(tensor.shape)) for tensor in (boxes, classes, score, count)]
    return (
        are_numbers(outputs) and boxes.shape[-1:] == (4,) and elements == [elements[1] * 4, elements[1], elements[1], 1]
    )


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
