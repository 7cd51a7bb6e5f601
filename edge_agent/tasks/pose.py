"""Bodies, faces and hands as keypoints in px of the picture. What outputs mean is left to `poses`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.heads.head import Output, Real, check_numbers, not_numbers
from edge_agent.tasks.keypoints import usual_names
from edge_agent.tasks.poses import Blazepose, Heatmap, Movenet, Outputs, Pose, PoseReader
from edge_agent.tasks.prediction import Box, Keypoint, Prediction
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

# From here on a keypoint counts as seen: HRNet's in_vis_thre, lib/config/default.py
KEYPOINT_THRESHOLD = 0.2
SAME_POSE = 0.1  # the largest `disagreement` of what a person would call the same pose

_READERS: dict[str, tuple[Callable[[OutputSpec, Outputs, Outputs], PoseReader], Callable[[Outputs, Outputs], bool]]] = {
    "movenet": (Movenet.build, Movenet.is_likely),
    "blazepose": (Blazepose.build, Blazepose.is_likely),
    "heatmap": (Heatmap.build, Heatmap.is_likely),
}


def guess_pose_decoder(outputs: Outputs, inputs: Outputs) -> str | None:
    """The decoder whose outputs have these shapes at this input (`OutputSpec.decoder`); None: not a known one."""
    return next((name for name, (_, is_likely) in _READERS.items() if is_likely(outputs, inputs)), None)


@dataclass(frozen=True, slots=True, eq=False)
class PoseDecoder:
    """Every prediction has index 0 and one label: the one there is, else `person`."""

    spec: OutputSpec
    tensors: Outputs
    label: str
    names: tuple[str, ...]  # of the keypoints; empty: they have none
    reader: PoseReader

    @classmethod
    def build(cls, spec: OutputSpec, outputs: Outputs, labels: tuple[str, ...], inputs: Outputs = ()) -> "PoseDecoder":
        """Find the outputs of the decoder that the manifest names, else of one guessed by their shapes.

        Raises:
            ModelError: INCOMPATIBLE, they are not those of the decoder, or a line of the skeleton has no end;
                LABELS_MISMATCH, there is more than one label, or another number of names than of keypoints.
        """
        name = spec.decoder or guess_pose_decoder(outputs, inputs)
        if name not in _READERS:
            found = ", ".join(tensor.label for tensor in outputs) or "none"
            stated = f"output.decoder {name!r} finds no keypoints" if name else f"no pose decoder fits {found}"
            raise ModelError(
                stated, reason=Reason.INCOMPATIBLE, hint=f"state output.decoder: task pose has {', '.join(_READERS)}"
            )
        reader = _READERS[name][0](spec, outputs, inputs)
        _check_names(spec, labels, reader.keypoints)
        names = spec.keypoints or usual_names(reader.keypoints)
        return cls(spec, outputs, labels[0] if labels else "person", names, reader)

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """Poses at or above the threshold, the best first, in source px; keypoints may lie outside of the picture.

        The box is the model's, else the one around the keypoints that are seen; None where there is neither. Without
        a placement all stays normalized, 0..1 of the model's input.
        """
        stored = [Output(array, tensor) for array, tensor in zip(outputs, self.tensors, strict=True)]
        placement = prepared.placement or Placement.fit("stretch", (1, 1), (1, 1))
        good = [pose for pose in self._read(stored) if pose.score >= self.spec.score_threshold]
        return [self._prediction(pose, placement) for pose in good[: self.spec.top_k]]

    def poses(self, real_outputs: Sequence[Real]) -> list[Pose]:
        """All poses of real outputs, the best first, before they go back into the picture.

        Raises:
            ModelError: TRIAL_ERRORS, they are not numbers.
        """
        outputs = [Output.of_real(real, tensor) for real, tensor in zip(real_outputs, self.tensors, strict=True)]
        return self._read(outputs)

    def _read(self, outputs: Sequence[Output]) -> list[Pose]:
        check_numbers(outputs)
        with np.errstate(over="ignore", invalid="ignore"):  # of absurd numbers; what becomes of them is seen here
            poses = self.reader.poses(outputs)
        if not all(np.isfinite(pose.keypoints).all() and np.isfinite(pose.score) for pose in poses):
            raise not_numbers()
        return sorted(poses, key=lambda pose: -pose.score)[: self.spec.max_objects]

    def _prediction(self, pose: Pose, placement: Placement) -> Prediction:
        points = [placement.point_to_source(float(x), float(y)) for x, y, _ in pose.keypoints]
        scores = [float(score) for score in pose.keypoints[:, 2]]
        names = self.names or (None,) * len(points)
        keypoints = tuple(
            Keypoint(*point, score, name) for point, score, name in zip(points, scores, names, strict=True)
        )
        sides = pose.box
        if sides is None:
            seen = pose.keypoints[pose.keypoints[:, 2] >= KEYPOINT_THRESHOLD]
            sides = (
                np.array([seen[:, 1].min(), seen[:, 0].min(), seen[:, 1].max(), seen[:, 0].max()])
                if len(seen)
                else None
            )
        return Prediction(0, pose.score, self.label, _box(sides, placement), keypoints)


def disagreement(expected: Sequence[Pose], found: Sequence[Pose], threshold: float) -> float:
    """How far two answers for one picture differ: 0 is the same, 1 as wrong as can be.

    Poses are paired, the nearest ones first. Of a pair with one at or above the threshold: the largest distance of a
    keypoint that both see, in shares of the input's sides, 1 at most; of a keypoint that only one sees, how far its
    score stands above `KEYPOINT_THRESHOLD`; and the difference of the poses' scores. A pose that only one found counts
    by how far its score stands above the threshold.
    """
    pairs = _pairs(expected, found)
    lonely = [pose for position, pose in enumerate(expected) if position not in {one for one, _ in pairs}]
    lonely += [pose for position, pose in enumerate(found) if position not in {other for _, other in pairs}]
    worst = max([0.0, *(pose.score - threshold for pose in lonely)])
    for one, other in ((expected[one], found[other]) for one, other in pairs):
        if max(one.score, other.score) >= threshold:
            worst = max(worst, abs(one.score - other.score), _of_keypoints(one.keypoints, other.keypoints))
    return worst


def _pairs(expected: Sequence[Pose], found: Sequence[Pose]) -> list[tuple[int, int]]:
    distances = sorted(
        (_mean_distance(one.keypoints, other.keypoints), position, place)
        for position, one in enumerate(expected)
        for place, other in enumerate(found)
    )
    pairs: dict[int, int] = {}
    for _, position, place in distances:
        if position not in pairs and place not in pairs.values():
            pairs[position] = place
    return list(pairs.items())


def _of_keypoints(one: Real, other: Real) -> float:
    seen = [side[:, 2] >= KEYPOINT_THRESHOLD for side in (one, other)]
    both, either = seen[0] & seen[1], seen[0] ^ seen[1]
    by_one = np.maximum(one[:, 2], other[:, 2]) - KEYPOINT_THRESHOLD
    return float(max(_distances(one, other)[both].max(initial=0.0), by_one[either].max(initial=0.0)))


def _mean_distance(one: Real, other: Real) -> float:
    """Of the keypoints that both see; 1 where there are none: what is not seen may lie anywhere."""
    both = (one[:, 2] >= KEYPOINT_THRESHOLD) & (other[:, 2] >= KEYPOINT_THRESHOLD)
    return float(_distances(one, other)[both].mean()) if both.any() else 1.0


def _distances(one: Real, other: Real) -> Real:
    distances: Real = np.minimum(np.hypot(one[:, 0] - other[:, 0], one[:, 1] - other[:, 1]), 1.0)
    return distances


def _box(sides: Real | None, placement: Placement) -> Box | None:
    if sides is None:
        return None
    top, left, bottom, right = (float(value) for value in sides)
    box = placement.to_source(Box(left, top, right, bottom))
    return box if box.left < box.right and box.top < box.bottom else None


def _check_names(spec: OutputSpec, labels: tuple[str, ...], keypoints: int) -> None:
    if len(labels) > 1:
        raise ModelError(
            f"a pose model has one label; there are {len(labels)}",
            reason=Reason.LABELS_MISMATCH,
            hint="names of keypoints belong into output.keypoints",
        )
    if spec.keypoints and len(spec.keypoints) != keypoints:
        raise ModelError(
            f"the model has {keypoints} keypoints; output.keypoints names {len(spec.keypoints)}",
            reason=Reason.LABELS_MISMATCH,
        )
    loose = [pair for pair in spec.skeleton if not all(0 <= end < keypoints for end in pair)]
    if loose:
        raise ModelError(
            f"output.skeleton has a line {loose[0]}; the model has keypoints 0 to {keypoints - 1}",
            reason=Reason.INCOMPATIBLE,
        )
