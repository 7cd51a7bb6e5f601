"""MediaPipe's detectors of faces, palms and poses: fixed-size anchors, a box and keypoints for each.

Source: mediapipe/modules/face_detection/face_detection_short_range_common.pbtxt and face_detection_full_range_
common.pbtxt, palm_detection, pose_detection; mediapipe/calculators/tensor/tensors_to_detections_calculator.cc with
`reverse_output_order` (x before y). "BlazeFace" (arXiv 1907.05047). MediaPipe blends boxes that overlap; here the
best one stands for them, as everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_agent.release.outputs import Anchors, OutputSpec
from edge_agent.tasks.heads.anchors import count, decode_boxes, lay_out
from edge_agent.tasks.heads.head import (
    Objects,
    Output,
    Real,
    Size,
    are_numbers,
    boxes_and_scores,
    check_numbers,
    input_size,
    misfit,
    needed_size,
    rows_of,
    sigmoid,
)
from edge_agent.tasks.heads.ssd_anchors import check_count
from edge_agent.transform.tensor import TensorSpec

_LARGEST_LOGIT = 100.0  # score_clipping_thresh
# As released: short-range face 128 px (896 anchors) and palm 192 px (2016); full-range face 192 px (2304); palm
# 256 px (2944) and pose 224 px (2254).
_USUAL = (
    Anchors(),
    Anchors(strides=(4,), interpolated_ratio=0.0),
    Anchors(strides=(8, 16, 32, 32, 32)),
)
_LABELS = {6: ("face",), 7: ("palm",), 4: ("person",)}  # by the number of keypoints


@dataclass(frozen=True, slots=True, eq=False)
class BlazefaceHead:
    """Regressors [1, n, 4 + 2k] as x, y, width, height and k keypoints; classificators [1, n, 1] before sigmoid."""

    positions: tuple[int, int]  # of regressors and classificators
    anchors: Anchors
    laid_out: Real
    keypoints: int
    classes: int = 1
    background: int = -1
    thinned: None = None

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]
    ) -> "BlazefaceHead":
        """Find the two outputs and their anchors: those stated, else those of the released model of that size.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        positions = boxes_and_scores(spec, outputs, _fit)
        if positions is None:
            raise misfit(
                "blazeface",
                "two outputs, regressors [1, n, 4 + 2 x keypoints] and classificators [1, n, 1]",
                outputs,
                "name their positions in output.output_order, regressors first",
            )
        _, rows, columns = outputs[positions[0]].shape
        size = needed_size("blazeface", inputs)
        anchors = spec.anchors or _usual(rows, size) or _of_size(_USUAL[0], size)
        check_count(anchors, rows, size, "blazeface")
        return cls(positions, anchors, lay_out(anchors, size, square=False), (columns - 4) // 2)

    @staticmethod
    def is_likely(outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> bool:
        positions, size = boxes_and_scores(OutputSpec(), outputs, _fit), input_size(inputs)
        if positions is None or size is None:
            return False
        return _usual(outputs[positions[0]].shape[1], size) is not None

    @property
    def usual_labels(self) -> tuple[str, ...]:
        return _LABELS.get(self.keypoints, ())

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        regressors, scores = (outputs[position] for position in self.positions)
        check_numbers((regressors, scores))
        best = sigmoid(np.clip(scores.shaped(-1).real(), -_LARGEST_LOGIT, _LARGEST_LOGIT))
        rows = np.flatnonzero(best >= floor)
        raw, anchors = regressors.shaped(len(best), -1).real(rows), self.laid_out[rows]
        boxes = decode_boxes(raw[:, (1, 0, 3, 2)], anchors, self.anchors)
        scale = np.array((self.anchors.scales[1], self.anchors.scales[0]), np.float32)  # x, y
        points = raw[:, 4:].reshape(len(rows), self.keypoints, 2) / scale
        points = points * anchors[:, None, (3, 2)] + anchors[:, None, (1, 0)]
        of_points = np.broadcast_to(best[rows, None, None], (len(rows), self.keypoints, 1))  # they have none themselves
        keypoints = np.concatenate([points, of_points], axis=2)
        return Objects(boxes, np.zeros(len(rows), np.intp), best[rows], keypoints if self.keypoints else None)


def _usual(rows: int, size: Size) -> Anchors | None:
    return next((_of_size(anchors, size) for anchors in _USUAL if count(anchors, size) == rows), None)


def _of_size(anchors: Anchors, size: Size) -> Anchors:
    """Numbers are in px of the input."""
    height, width = map(float, size)
    return replace(anchors, scales=(height, width, height, width))


def _fit(regressors: TensorSpec, scores: TensorSpec) -> bool:
    rows, columns = rows_of(scores, 1), regressors.shape[-1] if regressors.shape else 0
    return (
        rows > 1
        and len(scores.shape) == 3
        and len(regressors.shape) == 3
        and rows_of(regressors, columns) == rows
        and columns >= 4
        and columns % 2 == 0
        and are_numbers((regressors, scores))
    )
