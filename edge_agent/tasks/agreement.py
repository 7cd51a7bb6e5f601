"""How far two sets of outputs of the same input differ: golden against found, float against quantized.

One number by one rule for the probe on the device and the fidelity table on the laptop: 0 is the same, 1 about as
wrong as can be (raw values may exceed it), infinity is not comparable. Which limit it is held to is left to them.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.release.outputs import OutputSpec, TaskName
from edge_agent.tasks import pose
from edge_agent.tasks.anomaly import error_output
from edge_agent.tasks.classification import scores, scores_position
from edge_agent.tasks.detection import DetectionDecoder, Objects
from edge_agent.tasks.segmentation import ClassMap, background_of, classes_of, map_output, mask_level
from edge_agent.transform.tensor import TensorSpec

Real = NDArray[np.float32]
_OF_VALUES = ("raw", "regression", "plugin")  # judged by the range of each output
_SAME_SHARE = 0.05  # of an output's range: the same value
_SAME_ERROR = 0.5  # of the threshold: the same error
_SAME_OBJECT_IOU = 0.5  # the usual match of detection benchmarks (Pascal VOC development kit, §3.3)


def disagreement(  # noqa: PLR0911 - one for each task
    task: TaskName,
    expected: Sequence[Real],
    found: Sequence[Real],
    *,
    spec: OutputSpec,
    outputs: tuple[TensorSpec, ...],
    ranges: Sequence[float] | None = None,
    inputs: tuple[TensorSpec, ...] = (),
) -> float:
    """Disagreement of the real outputs of one input.

    Classification: the largest difference of a score, after the activation. Detection: of each object at or above
    the threshold that both found (same class, IoU of 0.5 or more), the difference of scores, or score x (1 - IoU); of
    an object only one found, how far its score stands above what the other would have kept. Pose: see
    `pose.disagreement`. Segmentation: the share of the map's pixels whose classes differ. Anomaly: how far the error
    can have moved, as a share of the threshold (of mse, of their roots). All others, and anomaly without a threshold:
    the largest error as a share of the output's range (`ranges`, see `output_ranges`; None: the range within
    `expected`). `inputs` are the model's, for decoders that need them.

    Raises:
        ModelError: INCOMPATIBLE, the outputs are not those of the task; TRIAL_ERRORS, pixels of no class.
    """
    if len(expected) != len(found) or any(a.shape != b.shape for a, b in zip(expected, found, strict=True)):
        return math.inf
    if not all(np.isfinite(array).all() for array in (*expected, *found)):
        return math.inf
    if task == "detection":
        decoder = DetectionDecoder.build(spec, outputs, (), inputs)
        both = decoder.objects(expected), decoder.objects(found)
        return _of_objects(*both, spec.score_threshold, decoder.capacity)
    if task == "pose":
        poses = pose.PoseDecoder.build(spec, outputs, (), inputs).poses
        return pose.disagreement(poses(expected), poses(found), spec.score_threshold)
    if task == "segmentation":
        one, other, _ = _class_maps(spec, outputs, expected, found)
        return float(np.mean(one != other))
    if task == "anomaly" and spec.threshold is not None:
        position = error_output(spec, outputs, inputs)
        return _of_errors(spec, expected[position], found[position], spec.threshold)
    if task in _OF_VALUES or task == "anomaly":
        ranges = ranges if ranges is not None else output_ranges([expected])
        errors = [float(np.abs(b - a).max(initial=0.0)) for a, b in zip(expected, found, strict=True)]
        return max((error / size for error, size in zip(errors, ranges, strict=True)), default=0.0)
    position = scores_position(spec, outputs)
    a, b = (scores(side[position], spec.activation) for side in (expected, found))
    return float(np.abs(b - a).max(initial=0.0))


def output_ranges(vectors: Sequence[Sequence[Real]]) -> list[float]:
    """What an error of each raw output is measured against: largest minus smallest value over all vectors.

    An output that never changes is measured against its size; one that is always 0, against 1.
    """
    ranges = []
    for outputs in zip(*vectors, strict=True):
        low, high = min(float(array.min()) for array in outputs), max(float(array.max()) for array in outputs)
        ranges.append((high - low) or abs(high) or 1.0)
    return ranges


def top1_agrees(  # noqa: PLR0911 - one for each task
    task: TaskName,
    expected: Sequence[Real],
    found: Sequence[Real],
    *,
    spec: OutputSpec,
    outputs: tuple[TensorSpec, ...],
    ranges: Sequence[float] | None = None,
    inputs: tuple[TensorSpec, ...] = (),
) -> bool:
    """Whether both give the same first answer.

    Classification: the same best class. Detection: the same best object, or none at or above the threshold in
    either. Pose: within `pose.SAME_POSE`. Segmentation: the same largest class beside the background. An anomaly's
    error: on the same side of the threshold where the model gives it itself, else moved by half of the threshold at
    most. Other values have no first answer: within 5 % of their range.
    """
    difference = disagreement(task, expected, found, spec=spec, outputs=outputs, ranges=ranges, inputs=inputs)
    if math.isinf(difference):
        return False
    if task == "detection":
        decoder = DetectionDecoder.build(spec, outputs, (), inputs)
        return _same_best(decoder.objects(expected), decoder.objects(found), spec.score_threshold)
    if task == "pose":
        return difference <= pose.SAME_POSE
    if task == "segmentation":
        one, other, background = _class_maps(spec, outputs, expected, found)
        return _largest(one, background) == _largest(other, background)
    if task == "anomaly" and spec.threshold is not None:
        position = error_output(spec, outputs, inputs)
        if spec.error == "output":
            anomalous = [float(side[position].reshape(-1)[0]) > spec.threshold for side in (expected, found)]
            return anomalous[0] == anomalous[1]
        return difference <= _SAME_ERROR
    if task in _OF_VALUES or task == "anomaly":
        return difference <= _SAME_SHARE
    position = scores_position(spec, outputs)
    return int(np.argmax(expected[position])) == int(np.argmax(found[position]))


def _class_maps(
    spec: OutputSpec, outputs: tuple[TensorSpec, ...], expected: Sequence[Real], found: Sequence[Real]
) -> tuple[ClassMap, ClassMap, int | None]:
    """Both maps, and the class that is the background."""
    position, layout = map_output(spec, outputs)
    level = mask_level(spec, None)
    one, other = (classes_of(layout.grid(side[position]), layout, level) for side in (expected, found))
    return one, other, background_of(spec, layout)


def _largest(found: ClassMap, background: int | None) -> int | None:
    """The class of most pixels; None: there is only the background."""
    pixels = np.bincount(found.reshape(-1))
    if background is not None and background < pixels.size:
        pixels[background] = 0
    return int(np.argmax(pixels)) if pixels.any() else None


def _of_errors(spec: OutputSpec, expected: Real, found: Real, threshold: float) -> float:
    """What the error can have moved by, whatever the input was: by the triangle inequality no mean absolute error and
    no root of a mean squared error differs by more than the reconstructions do from each other.
    """
    by = found.astype(np.float64) - expected
    if spec.error == "mse":
        return math.sqrt(float(np.square(by).mean()) / threshold)
    return float(np.abs(by).mean()) / threshold


def _of_objects(expected: Objects, found: Objects, threshold: float, capacity: int) -> float:
    """The worst object. Matching is greedy by score, as in the benchmarks."""
    worst = 0.0
    free = set(range(len(found.scores)))
    lonely: list[tuple[float, Objects]] = []  # score, and the side that lacks the object
    for position in np.argsort(-expected.scores, kind="stable"):
        score = float(expected.scores[position])
        overlaps = {other: _overlap(expected, int(position), found, other) for other in free}
        best = max(overlaps, key=lambda other: overlaps[other], default=-1)
        if best < 0 or overlaps[best] < _SAME_OBJECT_IOU:
            lonely.append((score, found))
            continue
        free.remove(best)
        stronger = max(score, float(found.scores[best]))
        if stronger >= threshold:
            worst = max(worst, abs(score - float(found.scores[best])), stronger * (1 - overlaps[best]))
    lonely += [(float(found.scores[position]), expected) for position in free]
    for score, lacking in lonely:
        # A full list drops its weakest: what hardly stands above that may be missing by rounding alone.
        weakest = float(lacking.scores.min()) if len(lacking.scores) == capacity else 0.0
        worst = max(worst, score - max(threshold, weakest))
    return worst


def _same_best(expected: Objects, found: Objects, threshold: float) -> bool:
    seen = [int((side.scores >= threshold).sum()) for side in (expected, found)]
    if not all(seen):
        return not any(seen)
    best = [int(np.argmax(side.scores)) for side in (expected, found)]
    return _overlap(expected, best[0], found, best[1]) >= _SAME_OBJECT_IOU


def _overlap(one: Objects, position: int, other: Objects, other_position: int) -> float:
    """Intersection over union of two objects, 0 of different classes."""
    if one.classes[position] != other.classes[other_position]:
        return 0.0
    a, b = one.boxes[position].astype(np.float64), other.boxes[other_position].astype(np.float64)
    height, width = (max(0.0, min(a[2 + axis], b[2 + axis]) - max(a[axis], b[axis])) for axis in (0, 1))
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - height * width
    return float(height * width / union) if union > 0 else float(np.array_equal(a, b))
