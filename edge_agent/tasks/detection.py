"""Objects with boxes. What each family of heads makes of a model's outputs is left to `heads`; here is the rest.

Threshold, suppression of what overlaps (`nms`), the way back into the picture, and labels are the same for all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.heads.blazeface import BlazefaceHead
from edge_agent.tasks.heads.fastestdet import FastestdetHead
from edge_agent.tasks.heads.head import Head, Objects, Output, Real, not_numbers
from edge_agent.tasks.heads.ssd_anchors import SsdAnchorsHead
from edge_agent.tasks.heads.ssd_postprocess import OutputOrder, SsdPostprocessHead, objects, output_order
from edge_agent.tasks.heads.ultraface import UltrafaceHead
from edge_agent.tasks.heads.yolov5 import Yolov5Head
from edge_agent.tasks.heads.yolov8 import Yolov8Head
from edge_agent.tasks.keypoints import usual_names
from edge_agent.tasks.labels import check_detection_labels
from edge_agent.tasks.nms import suppress
from edge_agent.tasks.prediction import Box, Keypoint, Prediction
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, TensorSpec

__all__ = ["DetectionDecoder", "Objects", "OutputOrder", "guess_decoder", "objects", "output_order"]

Outputs = tuple[TensorSpec, ...]

# In the order in which they are thought of: a head that asks more of the shapes comes first.
_HEADS: dict[str, tuple[Callable[[OutputSpec, Outputs, Outputs], Head], Callable[[Outputs, Outputs], bool]]] = {
    "ssd_postprocess": (SsdPostprocessHead.build, SsdPostprocessHead.is_likely),
    "blazeface": (BlazefaceHead.build, BlazefaceHead.is_likely),
    "ultraface": (UltrafaceHead.build, UltrafaceHead.is_likely),
    "ssd_anchors": (SsdAnchorsHead.build, SsdAnchorsHead.is_likely),
    "yolov5": (Yolov5Head.build, Yolov5Head.is_likely),
    "yolov8": (Yolov8Head.build, Yolov8Head.is_likely),
    "fastestdet": (FastestdetHead.build, FastestdetHead.is_likely),
}


def guess_decoder(outputs: Outputs, inputs: Outputs) -> str | None:
    """The decoder whose outputs have these shapes at this input (`OutputSpec.decoder`); None: not a known one."""
    return next((name for name, (_, is_likely) in _HEADS.items() if is_likely(outputs, inputs)), None)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionDecoder:
    """A class index beyond the labels has no label: label files of sparse data sets (COCO) often end early."""

    spec: OutputSpec
    tensors: Outputs
    labels: tuple[str, ...]
    head: Head

    @classmethod
    def build(
        cls, spec: OutputSpec, outputs: Outputs, labels: tuple[str, ...], inputs: Outputs = ()
    ) -> "DetectionDecoder":
        """Find the head's outputs, of the decoder that the manifest names, else of one guessed by their shapes.

        Raises:
            ModelError: INCOMPATIBLE, they are not those of the decoder; LABELS_MISMATCH, there are more labels than
                the model has classes.
        """
        name = spec.decoder or guess_decoder(outputs, inputs) or "ssd_postprocess"
        if name not in _HEADS:
            raise ModelError(
                f"output.decoder {name!r} does not find objects",
                reason=Reason.INCOMPATIBLE,
                hint=f"task detection has {', '.join(_HEADS)}",
            )
        head = _HEADS[name][0](spec, outputs, inputs)
        check_detection_labels(labels, head.classes)
        return cls(spec, outputs, labels or head.usual_labels, head)

    @property
    def capacity(self) -> int:
        """The most objects that `objects` may give: where it does, weaker ones were left out."""
        return self.head.thinned or self.spec.max_objects

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """Objects at or above the threshold, the best first, boxes and keypoints in source px.

        Without a placement they stay normalized, 0..1 of the model's input.
        """
        stored = [Output(array, tensor) for array, tensor in zip(outputs, self.tensors, strict=True)]
        found = self._found(stored, self.spec.score_threshold)
        placement = prepared.placement or Placement.fit("stretch", (1, 1), (1, 1))
        predictions: list[Prediction] = []
        for position in range(len(found.scores)):
            top, left, bottom, right = (float(value) for value in found.boxes[position])
            box = placement.to_source(Box(left, top, right, bottom))
            if box.left < box.right and box.top < box.bottom:  # else wholly outside of the picture, in a letterbox bar
                index, score = int(found.classes[position]), float(found.scores[position])
                keypoints = self._keypoints(found, position, placement)
                predictions.append(Prediction(index, score, self._label(index), box, keypoints))
        return predictions[: self.spec.top_k]

    def objects(self, real_outputs: Sequence[Real]) -> Objects:
        """What `decode` sees of real outputs, the best first, before it goes back into the picture.

        Objects down to half the threshold are in it too, so that one that is just below it can be judged.

        Raises:
            ModelError: TRIAL_ERRORS, they are not numbers.
        """
        outputs = [Output.of_real(real, tensor) for real, tensor in zip(real_outputs, self.tensors, strict=True)]
        floor = 0.0 if self.head.thinned else self.spec.score_threshold / 2
        return self._found(outputs, floor)

    def _found(self, outputs: Sequence[Output], floor: float) -> Objects:
        with np.errstate(over="ignore", invalid="ignore"):  # of absurd numbers; what becomes of them is seen here
            found = self.head.candidates(outputs, floor)
        if not all(np.isfinite(part).all() for part in found if part is not None):
            raise not_numbers()
        if self.head.thinned is not None:
            return found.picked(np.argsort(-found.scores, kind="stable"))
        has_area = (found.boxes[:, 2] > found.boxes[:, 0]) & (found.boxes[:, 3] > found.boxes[:, 1])
        found = found.picked(has_area)
        kept = suppress(
            found.boxes,
            found.scores,
            None if self.spec.class_agnostic else found.classes,
            iou_threshold=self.spec.iou_threshold,
            max_objects=self.spec.max_objects,
        )
        return found.picked(kept)

    def _label(self, index: int) -> str | None:
        """Labels may leave the background out: they are one fewer than the classes then."""
        background, classes = self.head.background, self.head.classes
        if classes is not None and 0 <= background < classes and len(self.labels) == classes - 1:
            index -= index > background
        return self.labels[index] if 0 <= index < len(self.labels) else None

    def _keypoints(self, found: Objects, position: int, placement: Placement) -> tuple[Keypoint, ...]:
        if found.keypoints is None:
            return ()
        rows = found.keypoints[position]
        names = self.spec.keypoints or usual_names(len(rows))
        points = [(placement.point_to_source(float(x), float(y)), float(score)) for x, y, score in rows]
        return tuple(
            Keypoint(x, y, score, names[index] if index < len(names) else None)
            for index, ((x, y), score) in enumerate(points)
        )
