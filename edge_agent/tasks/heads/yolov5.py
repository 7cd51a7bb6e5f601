"""YOLOv5 heads, as YOLOv7's and YOLOv6's exports have them too: objectness times class, center and size.

Source: ultralytics/yolov5, models/tf.py (TFDetect: xywh, normalized; sigmoid inside), models/yolo.py (Detect: pixels)
and utils/general.py (non_max_suppression: confidence = objectness x class).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.heads.head import (
    Objects,
    Output,
    Size,
    are_numbers,
    best_class,
    check_numbers,
    corners,
    input_size,
    misfit,
    needed_size,
    rows_of,
)
from edge_agent.tasks.heads.yolo import Units, cells, is_in_pixels, normalized
from edge_agent.transform.tensor import TensorSpec

_BOX = 5  # x, y, width, height, objectness come before the classes
_ANCHORS = 3  # boxes in each cell


@dataclass(frozen=True, slots=True)
class Yolov5Head:
    """[1, n, 5 + classes]: center x, y, width, height, objectness, a score for each class."""

    size: Size
    units: Units
    classes: int
    background: int
    thinned: None = None
    usual_labels: tuple[str, ...] = ()

    @classmethod
    def build(cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> "Yolov5Head":
        """Check the output.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        if len(outputs) != 1 or not _fits(outputs[0]):
            raise misfit(
                "yolov5",
                "one output [1, n, 5 + classes]",
                outputs,
                "export the model with its Detect layer and without NMS, or state output.decoder yolov8",
            )
        background = -1 if spec.background_class is None else spec.background_class
        return cls(needed_size("yolov5", inputs), spec.box_units, outputs[0].shape[-1] - _BOX, background)

    @staticmethod
    def is_likely(outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> bool:
        size = input_size(inputs)
        if size is None or len(outputs) != 1 or not _fits(outputs[0]):
            return False
        return outputs[0].shape[1] == _ANCHORS * cells(size)

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        check_numbers(outputs)
        numbers = outputs[0].shaped(-1, _BOX + self.classes)
        objectness = numbers.real((slice(None), 4))
        rows = np.flatnonzero(objectness >= floor)  # a class's score is 1 at most, so no product is larger
        classes, best = best_class(numbers.real((rows, slice(_BOX, None))), self.background)
        score = best * objectness[rows]
        good = (score >= floor) & (classes != self.background)
        rows, classes, score = rows[good], classes[good], score[good]
        x, y, width, height = numbers.real((rows, slice(4))).T
        found = Objects(corners(y, x, height, width), classes, score)
        in_pixels = is_in_pixels(self.units, Output(numbers.stored[:, :4], numbers.tensor))
        return normalized(found, self.size) if in_pixels else found


def _fits(tensor: TensorSpec) -> bool:
    return (
        len(tensor.shape) == 3
        and tensor.shape[-1] > _BOX
        and rows_of(tensor, tensor.shape[-1]) > 1
        and are_numbers([tensor])
    )
