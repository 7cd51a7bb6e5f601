"""Ultra-Light-Fast-Generic-Face-Detector (RFB-320, slim-640): faces as normalized corners, with their probability.

Source: Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, vision/ssd/ssd.py (in test mode: softmax, corners) and
vision/ssd/config/fd_config.py (its grid); run_video_face_detect_onnx.py takes class 1 as the face.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.heads.head import (
    Activation,
    Objects,
    Output,
    activated,
    are_numbers,
    best_class,
    boxes_and_scores,
    check_numbers,
    input_size,
    misfit,
    needed_size,
    rows_of,
)
from edge_agent.transform.tensor import TensorSpec

_STRIDES = {8: 3, 16: 2, 32: 2, 64: 3}  # px: boxes in each cell; fd_config.py, shrinkage_list and min_boxes


@dataclass(frozen=True, slots=True)
class UltrafaceHead:
    """Boxes [1, n, 4] xmin, ymin, xmax, ymax and scores [1, n, classes], the background first."""

    positions: tuple[int, int]  # of boxes and scores
    classes: int
    background: int
    activation: Activation
    scale: tuple[float, float]  # what box coordinates are divided by, y and x: 1, or the input in px
    thinned: None = None

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]
    ) -> "UltrafaceHead":
        """Find the two outputs.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        positions = boxes_and_scores(spec, outputs, _fit)
        if positions is None:
            raise misfit(
                "ultraface",
                "two outputs, boxes [1, n, 4] and scores [1, n, 2]",
                outputs,
                "name their positions in output.output_order, boxes first",
            )
        background = 0 if spec.background_class is None else spec.background_class
        scale = needed_size("ultraface", inputs) if spec.box_units == "pixels" else (1, 1)
        return cls(positions, outputs[positions[1]].shape[-1], background, spec.activation, scale)

    @staticmethod
    def is_likely(outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> bool:
        positions, size = boxes_and_scores(OutputSpec(), outputs, _fit), input_size(inputs)
        if positions is None or size is None or outputs[positions[1]].shape[-1] != 2:
            return False
        cells = {stride: math.prod(math.ceil(side / stride) for side in size) for stride in _STRIDES}
        return outputs[positions[0]].shape[1] == sum(cells[stride] * boxes for stride, boxes in _STRIDES.items())

    @property
    def usual_labels(self) -> tuple[str, ...]:
        return ("background", "face") if self.classes == 2 else ()

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        boxes, scores = (outputs[position] for position in self.positions)
        check_numbers((boxes, scores))
        real = activated(scores.shaped(-1, self.classes).real(), self.activation)
        classes, best = best_class(real, self.background)
        rows = np.flatnonzero(best >= floor)
        corners = boxes.shaped(-1, 4).real(rows)[:, (1, 0, 3, 2)]
        scale = np.array((*self.scale, *self.scale), np.float32)
        return Objects(corners / scale, classes[rows], best[rows])


def _fit(boxes: TensorSpec, scores: TensorSpec) -> bool:
    rows = rows_of(boxes, 4)
    return (
        rows > 1
        and len(scores.shape) == 3
        and scores.shape[-1] >= 2
        and rows_of(scores, scores.shape[-1]) == rows
        and are_numbers((boxes, scores))
    )
