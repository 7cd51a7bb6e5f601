"""FastestDet: one map, a box in each cell. Objectness and classes are scores in the model already.

Source: dog-qiuqiu/FastestDet, module/custom_layers.py (sigmoid and softmax inside), utils/tool.py (handle_preds: tanh
and sigmoid), example/tflite/tflite_image.py (score = objectness ^ 0.6 x class ^ 0.4, as the repository's newer code
and the expected answers of our test data have it; older code multiplies the two).
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
    check_numbers,
    corners,
    input_size,
    misfit,
    needed_size,
    sigmoid,
)
from edge_agent.transform.tensor import TensorSpec

_STRIDE_PX = 16
_OBJECTNESS_WEIGHT = 0.6
_BOX = 5  # objectness, x, y, width, height come before the classes
_COCO_CLASSES = 80


@dataclass(frozen=True, slots=True)
class FastestdetHead:
    """[1, h, w, 5 + classes], or [1, 5 + classes, h, w] as ONNX has it."""

    grid: Size
    channels_first: bool
    classes: int
    background: int
    thinned: None = None
    usual_labels: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]
    ) -> "FastestdetHead":
        """Find out which way the map lies.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        size = needed_size("fastestdet", inputs)
        shape = outputs[0].shape if len(outputs) == 1 and are_numbers(outputs) else ()
        channels_first = _channels_first(shape, size)
        if channels_first is None:
            raise misfit(
                "fastestdet",
                f"one map [1, h, w, 5 + classes] or [1, 5 + classes, h, w] of the shape of its {size[0]} x {size[1]} px"
                " input",
                outputs,
                "export the model without post-processing, or state another output.decoder",
            )
        grid, channels = (shape[2:], shape[1]) if channels_first else (shape[1:3], shape[3])
        background = -1 if spec.background_class is None else spec.background_class
        return cls((grid[0], grid[1]), channels_first, channels - _BOX, background)

    @staticmethod
    def is_likely(outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> bool:
        """Only at its stride, and channels last only of COCO: a map of classes for segmentation looks alike."""
        size = input_size(inputs)
        if size is None or len(outputs) != 1 or not are_numbers(outputs):
            return False
        shape = outputs[0].shape
        channels_first = _channels_first(shape, size)
        if channels_first is None:
            return False
        rows = shape[2] if channels_first else shape[1]
        return rows * _STRIDE_PX == size[0] and (channels_first or shape[3] == _BOX + _COCO_CLASSES)

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        check_numbers(outputs)
        channels = _BOX + self.classes
        if self.channels_first:
            stored = outputs[0].stored.reshape(channels, -1)
        else:
            stored = outputs[0].stored.reshape(-1, channels).T
        numbers = Output(stored, outputs[0].tensor)
        scores = numbers.real(slice(_BOX, None))
        if 0 <= self.background < self.classes:
            scores[self.background] = 0.0
        classes = scores.argmax(axis=0)
        best = np.maximum(scores.max(axis=0), 0)
        score = np.maximum(numbers.real(0), 0) ** _OBJECTNESS_WEIGHT * best ** (1 - _OBJECTNESS_WEIGHT)
        cells = np.flatnonzero((score >= floor) & (classes != self.background))
        x, y, width, height = numbers.real((slice(1, _BOX), cells))
        rows, columns = np.divmod(cells, self.grid[1])
        center_y = (rows.astype(np.float32) + np.tanh(y)) / self.grid[0]
        center_x = (columns.astype(np.float32) + np.tanh(x)) / self.grid[1]
        boxes = corners(center_y, center_x, sigmoid(height), sigmoid(width))
        return Objects(boxes, classes[cells], score[cells])


def _channels_first(shape: tuple[int, ...], size: Size) -> bool | None:
    """Which way the map lies: its grid has the shape of the input. None: it is no such map."""
    if len(shape) != 4 or shape[0] != 1:
        return None
    for channels_first, grid, channels in ((True, shape[2:], shape[1]), (False, shape[1:3], shape[3])):
        if channels > _BOX and grid[0] * size[1] == grid[1] * size[0] and grid[0] <= size[0]:
            return channels_first
    return None
