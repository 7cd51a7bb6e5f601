"""SSD heads without the post-processing operator: box encodings and class scores for each anchor.

Source: TensorFlow Object Detection API, object_detection/meta_architectures/ssd_meta_arch.py (postprocess) and
object_detection/protos/ssd.proto; MediaPipe's object detection (ssdlite_object_detection.tflite) has the same head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import Anchors, OutputSpec
from edge_agent.tasks.heads.anchors import count, decode_boxes, lay_out
from edge_agent.tasks.heads.head import (
    Activation,
    Objects,
    Output,
    Real,
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

# ssd_mobilenet_v1_coco.config and v2: 1917 anchors at 300 x 300, 2034 at 320 x 320
OBJECT_DETECTION_API = Anchors(
    strides=(16, 32, 64, 128, 256, 512),
    min_scale=0.2,
    max_scale=0.95,
    aspect_ratios=(1.0, 2.0, 0.5, 3.0, 0.3333),
    fixed_size=False,
    reduced_in_lowest_layer=True,
    scales=(10.0, 10.0, 5.0, 5.0),
    exponential=True,
)


@dataclass(frozen=True, slots=True, eq=False)
class SsdAnchorsHead:
    """Box encodings [1, n, 4] and scores [1, n, classes], the background among them."""

    positions: tuple[int, int]  # of boxes and scores
    anchors: Anchors
    laid_out: Real
    classes: int
    background: int
    activation: Activation
    thinned: None = None
    usual_labels: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]
    ) -> "SsdAnchorsHead":
        """Find the two outputs, and lay out as many anchors as there are boxes.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        positions = boxes_and_scores(spec, outputs, _fit)
        if positions is None:
            raise misfit(
                "ssd_anchors",
                "two outputs, box encodings [1, n, 4] and scores [1, n, classes]",
                outputs,
                "name their positions in output.output_order, boxes first",
            )
        anchors, size = spec.anchors or OBJECT_DETECTION_API, needed_size("ssd_anchors", inputs)
        scores = outputs[positions[1]]
        check_count(anchors, scores.shape[1], (size[0], size[1]), "ssd_anchors")
        laid_out = lay_out(anchors, size, square=True)
        background = 0 if spec.background_class is None else spec.background_class
        return cls(positions, anchors, laid_out, scores.shape[-1], background, spec.activation)

    @staticmethod
    def is_likely(outputs: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...]) -> bool:
        positions, size = boxes_and_scores(OutputSpec(), outputs, _fit), input_size(inputs)
        if positions is None or size is None:
            return False
        return outputs[positions[0]].shape[1] == count(OBJECT_DETECTION_API, size)

    def candidates(self, outputs: Sequence[Output], floor: float) -> Objects:
        boxes, scores = (outputs[position] for position in self.positions)
        check_numbers((boxes, scores))
        real = activated(scores.shaped(-1, self.classes).real(), self.activation)
        classes, best = best_class(real, self.background)
        rows = np.flatnonzero(best >= floor)
        raw = boxes.shaped(-1, 4).real(rows)
        return Objects(decode_boxes(raw, self.laid_out[rows], self.anchors), classes[rows], best[rows])


def check_count(anchors: Anchors, found: int, size: tuple[int, int], decoder: str) -> None:
    """See that there are as many anchors as boxes.

    Raises:
        ModelError: INCOMPATIBLE.
    """
    expected = count(anchors, size)
    if expected != found:
        raise ModelError(
            f"{decoder}: these anchors are {expected} at an input of {size[0]} x {size[1]} px (strides "
            f"{', '.join(map(str, anchors.strides))}); this model gives {found} boxes",
            reason=Reason.INCOMPATIBLE,
            hint="state output.anchors as the model's own configuration has them",
        )


def _fit(boxes: TensorSpec, scores: TensorSpec) -> bool:
    rows = rows_of(boxes, 4)
    return rows > 1 and len(scores.shape) >= 3 and rows_of(scores, scores.shape[-1]) == rows and are_numbers([scores])
