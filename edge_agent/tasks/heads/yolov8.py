"""YOLOv8, v9, v11 and v12 heads, and those that end in their own suppression (YOLOv10, exports with `nms=True`).

Source: ultralytics/ultralytics, ultralytics/nn/modules/head.py (Detect: xywh and sigmoid of the classes; v10Detect
and end2end: rows of xyxy, score, class; Pose: keypoints behind the classes, x, y, score each) and
ultralytics/utils/ops.py (non_max_suppression).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.heads.head import (
    Activation,
    Objects,
    Output,
    Size,
    activated,
    are_numbers,
    check_numbers,
    corners,
    input_size,
    misfit,
    needed_size,
)
from edge_agent.tasks.heads.yolo import Units, cells, is_in_pixels, normalized, points
from edge_agent.transform.tensor import TensorSpec

_BOX = 4
_ROW = 6  # xmin, ymin, xmax, ymax, score, class
_MOST_ROWS = 1000  # of a model that suppresses by itself; 300 are usual
_HINT = "export the model with its Detect layer, state output.keypoints if it has any, or another output.decoder"


@dataclass(frozen=True, slots=True)
class Yolov8Head:
    """[1, 4 + classes + 3 x keypoints, n] or its transpose: center x, y, width, height, a score for each class."""

    size: Size
    units: Units
    channels_first: bool
    classes: int
    keypoints: int
    background: int
    activation: Activation
    thinned: None = None
    usual_labels: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]
    ) -> "Yolov8Head | SuppressedHead":
        """Find out which way the output lies, and whether the model suppresses by itself.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        size = needed_size("yolov8", inputs)
        if len(outputs) == 1 and _is_suppressed(outputs[0], size):
            background = -1 if spec.background_class is None else spec.background_class
            return SuppressedHead(size, spec.box_units, outputs[0].shape[1], background)
        if len(outputs) != 1 or len(outputs[0].shape) != 3 or outputs[0].shape[0] != 1 or not are_numbers(outputs):
            raise _misfit(outputs)
        channels_first = _channels_first(outputs[0].shape, size)
        channels = outputs[0].shape[1 if channels_first else 2]
        keypoints = len(spec.keypoints)
        classes = channels - _BOX - 3 * keypoints
        if classes < 1:
            raise _misfit(outputs)
        background = -1 if spec.background_class is None else spec.background_class
        return cls(size, spec.box_units, channels_first, classes, keypoints, background, spec.activation)

    @staticmethod
    def is_likely(outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> bool:
        size = input_size(inputs)
        if size is None or len(outputs) != 1 or not are_numbers(outputs):
            return False
        shape = outputs[0].shape
        if len(shape) != 3 or shape[0] != 1:
            return False
        return _is_suppressed(outputs[0], size) or (cells(size) in shape[1:] and min(shape[1:]) > _BOX)

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        check_numbers(outputs)
        stored = outputs[0].stored
        numbers = Output(stored[0] if self.channels_first else stored[0].T, outputs[0].tensor)  # [channels, n]
        best = self._best_scores(numbers)
        columns = np.flatnonzero(best >= floor)
        of_classes = numbers.stored[_BOX : _BOX + self.classes, columns]
        if 0 <= self.background < self.classes:
            of_classes[self.background] = np.iinfo(of_classes.dtype).min if of_classes.dtype.kind != "f" else -np.inf
        x, y, width, height = numbers.real((slice(_BOX), columns))
        keypoints = points(numbers.real((slice(_BOX + self.classes, None), columns)).T, self.keypoints)
        found = Objects(corners(y, x, height, width), of_classes.argmax(axis=0), best[columns], keypoints)
        in_pixels = is_in_pixels(self.units, Output(numbers.stored[:_BOX], numbers.tensor))
        return normalized(found, self.size) if in_pixels else found

    def _best_scores(self, numbers: Output) -> NDArray[np.float32]:
        """Of each box. Stored values are in the order of real ones, so only the best needs to be made real."""
        of_classes = numbers.stored[_BOX : _BOX + self.classes]
        if not 0 <= self.background < self.classes and self.activation != "softmax":
            return activated(Output(of_classes.max(axis=0), numbers.tensor).real(), self.activation)
        real = activated(Output(of_classes, numbers.tensor).real().T, self.activation)
        if 0 <= self.background < self.classes:
            real[:, self.background] = 0.0
        best: NDArray[np.float32] = real.max(axis=1)
        return best


@dataclass(frozen=True, slots=True)
class SuppressedHead:
    """[1, n, 6]: xmin, ymin, xmax, ymax, score, class of one box for each object; rows of zeros fill it up."""

    size: Size
    units: Units
    thinned: int
    background: int
    classes: None = None
    usual_labels: tuple[str, ...] = ()

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        check_numbers(outputs)
        rows = outputs[0].shaped(-1, _ROW).real()
        classes = np.rint(rows[:, 5]).astype(np.intp)
        good = (rows[:, 4] >= floor) & (classes != self.background)
        found = Objects(rows[good][:, (1, 0, 3, 2)], classes[good], rows[good, 4])
        corner_numbers = Output(outputs[0].stored.reshape(-1, _ROW)[:, :4], outputs[0].tensor)
        return normalized(found, self.size) if is_in_pixels(self.units, corner_numbers) else found


def _misfit(outputs: tuple[TensorSpec, ...]) -> ModelError:
    expected = "one output [1, 4 + classes, n], [1, n, 4 + classes] or [1, n, 6] (xmin, ymin, xmax, ymax, score, class)"
    return misfit("yolov8", expected, outputs, _HINT)


def _channels_first(shape: tuple[int, ...], size: Size) -> bool:
    """There are as many boxes as cells, or (of other strides) at least more than channels."""
    boxes = cells(size)
    if (shape[2] == boxes) != (shape[1] == boxes):
        return shape[2] == boxes
    return shape[2] >= shape[1]


def _is_suppressed(tensor: TensorSpec, size: Size) -> bool:
    shape = tensor.shape
    return len(shape) == 3 and shape[0] == 1 and shape[2] == _ROW and shape[1] <= _MOST_ROWS and shape[1] != cells(size)
