"""How the outputs of each family of pose models become keypoints in the model's input. The rest is left to `pose`.

Sources: with each family, and for all of them "MoveNet" (tfhub.dev/google/movenet), "PersonLab" (arXiv 1803.08225),
"Deep High-Resolution Representation Learning" (arXiv 1902.09212) and "BlazePose" (arXiv 2006.10204).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.heads.head import (
    Activation,
    Output,
    Real,
    Size,
    activated,
    are_numbers,
    input_size,
    misfit,
    needed_size,
    sigmoid,
)
from edge_agent.transform.tensor import Array, TensorSpec

Outputs = tuple[TensorSpec, ...]


class Pose(NamedTuple):
    """A body, face or hand in the model's input, real values."""

    keypoints: Real  # [k, 3] x, y normalized: 0..1 of the input, score
    score: float
    box: Real | None = None  # [4] ymin, xmin, ymax, xmax normalized, of models that give one


class PoseReader(Protocol):
    """Immutable; any thread may use it."""

    @property
    def keypoints(self) -> int:
        """How many each pose has."""
        ...

    def poses(self, outputs: Sequence[Output]) -> list[Pose]:
        """All that the model gives, in its order."""
        ...


@dataclass(frozen=True, slots=True)
class Movenet:
    """[1, 1, k, 3], or [1, n, 3k + 5] of several bodies with boxes: y, x, score each, normalized.

    Source: the model cards of MoveNet.SinglePose and MoveNet.MultiPose (tfhub.dev/google/movenet). A single pose's
    score is the mean of its keypoints', as tensorflow/examples, lite/examples/pose_estimation has it.
    """

    keypoints: int
    several: bool

    @classmethod
    def build(cls, spec: OutputSpec, outputs: Outputs, inputs: Outputs) -> "Movenet":  # noqa: ARG003 - as all
        """Check the output.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        shape = outputs[0].shape if len(outputs) == 1 and are_numbers(outputs) else ()
        if len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == 3:
            return cls(shape[2], several=False)
        if len(shape) == 3 and shape[0] == 1 and shape[2] > 5 and (shape[2] - 5) % 3 == 0:
            return cls((shape[2] - 5) // 3, several=True)
        raise misfit(
            "movenet",
            "one output [1, 1, keypoints, 3], or [1, poses, 3 x keypoints + 5]",
            outputs,
            "use heatmap or blazepose for other models",
        )

    @staticmethod
    def is_likely(outputs: Outputs, inputs: Outputs) -> bool:  # noqa: ARG004 - as all
        shape = outputs[0].shape if len(outputs) == 1 else ()
        return shape == (1, 1, 17, 3) or (len(shape) == 3 and shape[0] == 1 and shape[1] <= 20 and shape[2] == 56)

    def poses(self, outputs: Sequence[Output]) -> list[Pose]:
        rows = outputs[0].real().reshape(-1, 3 * self.keypoints + (5 if self.several else 0))
        keypoints = rows[:, : 3 * self.keypoints].reshape(len(rows), self.keypoints, 3)[..., (1, 0, 2)]
        if not self.several:
            return [Pose(keypoints[0], float(keypoints[0, :, 2].mean()))]
        return [Pose(of_one, float(row[-1]), row[-5:-1]) for of_one, row in zip(keypoints, rows, strict=True)]


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A map for each keypoint, its largest value the place; refined by offsets where there are any.

    With offsets, PoseNet: heat-maps [1, h, w, k] before sigmoid, offsets [1, h, w, 2k], first y then x, in px of the
    input (tensorflow/tfjs-models, posenet/src/single_pose; "PersonLab", arXiv 1803.08225). Without, HRNet and Simple
    Baselines: a quarter of a cell towards the larger neighbor (leoxiaobin/deep-high-resolution-net.pytorch,
    lib/core/inference.py, get_final_preds); [1, h, w, k], or [1, k, h, w] as ONNX has it.
    """

    keypoints: int
    size: Size
    grid: Size
    positions: tuple[int, ...]  # of heat-maps, and of offsets
    channels_first: bool
    activation: Activation

    @classmethod
    def build(cls, spec: OutputSpec, outputs: Outputs, inputs: Outputs) -> "Heatmap":
        """Find the maps.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        size = needed_size("heatmap", inputs)
        positions = spec.output_order or _with_offsets(outputs) or ((0,) if len(outputs) == 1 else ())
        if not 1 <= len(positions) <= 2 or max(positions) >= len(outputs) or not are_numbers(outputs):
            raise _no_maps(outputs)
        maps = outputs[positions[0]].shape
        if len(positions) == 2:
            if not _are_maps_and_offsets(maps, outputs[positions[1]].shape):
                raise _no_maps(outputs)
            return cls(maps[3], size, (maps[1], maps[2]), positions, channels_first=False, activation="sigmoid")
        channels_first = _maps_lie_channels_first(maps, size)
        if channels_first is None:
            raise _no_maps(outputs)
        grid, keypoints = (maps[2:], maps[1]) if channels_first else (maps[1:3], maps[3])
        return cls(keypoints, size, (grid[0], grid[1]), positions, channels_first, spec.activation)

    @staticmethod
    def is_likely(outputs: Outputs, inputs: Outputs) -> bool:
        """Maps at a quarter of the input's size with COCO's keypoints, or maps with offsets."""
        size = input_size(inputs)
        if size is None or not are_numbers(outputs):
            return False
        if _with_offsets(outputs):
            return True
        quarter = (size[0] // 4, size[1] // 4)
        return len(outputs) == 1 and outputs[0].shape in {(1, *quarter, 17), (1, 17, *quarter)}

    def poses(self, outputs: Sequence[Output]) -> list[Pose]:
        stored = outputs[self.positions[0]].stored
        maps = stored.reshape(self.keypoints, -1) if self.channels_first else stored.reshape(-1, self.keypoints).T
        best = maps.argmax(axis=1)
        of_keypoint = np.arange(self.keypoints)
        scores = Output(maps[of_keypoint, best], outputs[self.positions[0]].tensor).real()
        rows, columns = np.divmod(best, self.grid[1])
        if len(self.positions) == 2:
            y, x = self._by_offsets(outputs[self.positions[1]], rows, columns)
        else:
            y, x = self._by_neighbors(maps.reshape(self.keypoints, *self.grid), rows, columns)
        if self.activation != "none":
            scores = activated(scores, "sigmoid")
        keypoints = np.stack([x, y, scores], axis=1).astype(np.float32)
        return [Pose(keypoints, float(scores.mean()))]

    def _by_offsets(self, offsets: Output, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> list[Real]:
        moved = offsets.shaped(*self.grid, 2, self.keypoints).real((rows, columns, slice(None), np.arange(len(rows))))
        cells = (rows, columns)
        # The first cell is the input's first pixel and the last cell its last one: 257 px are 9 cells, 32 px apart
        strides = [(side - 1) / max(1, count - 1) for side, count in zip(self.size, self.grid, strict=True)]
        places = [(cells[axis] * strides[axis] + moved[:, axis]) / self.size[axis] for axis in (0, 1)]
        return [place.astype(np.float32) for place in places]

    def _by_neighbors(self, maps: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> list[Real]:
        height, width = self.grid
        inside = (rows > 1) & (rows < height - 1) & (columns > 1) & (columns < width - 1)
        of_keypoint, row, column = np.arange(len(rows))[inside], rows[inside], columns[inside]
        y, x = rows.astype(np.float32), columns.astype(np.float32)
        # Stored values have the order of real ones, and that is all that counts here.
        below, above = (maps[of_keypoint, row + step, column].astype(np.float32) for step in (1, -1))
        right, left = (maps[of_keypoint, row, column + step].astype(np.float32) for step in (1, -1))
        y[inside] += np.sign(below - above) / 4
        x[inside] += np.sign(right - left) / 4
        return [y / np.float32(height), x / np.float32(width)]


@dataclass(frozen=True, slots=True)
class Blazepose:
    """Rows of x, y, z in px of the input, and before sigmoid visibility and presence; whether there is a body at all.

    Source: mediapipe/modules/pose_landmark/tensors_to_pose_landmarks_and_segmentation.pbtxt (39 rows, of which 33 are
    landmarks and the rest auxiliary) and mediapipe/modules/hand_landmark (21 rows of x, y, z). A keypoint's score is
    its visibility, as in tensorflow/tfjs-models, pose-detection/src/blazepose_tfjs.
    """

    keypoints: int
    rows: int
    columns: int
    positions: tuple[int, ...]  # of landmarks, and of the score
    scale: Size  # what coordinates are divided by, y and x

    @classmethod
    def build(cls, spec: OutputSpec, outputs: Outputs, inputs: Outputs) -> "Blazepose":
        """Find the landmarks.

        Raises:
            ModelError: INCOMPATIBLE.
        """
        order = spec.output_order or tuple(range(len(outputs)))
        known = [position for position in order if position < len(outputs) and _landmarks(outputs[position])]
        if not known or not are_numbers(outputs):
            raise misfit(
                "blazepose",
                "landmarks [1, 195] or [1, 39, 5] (a body), [1, 33, 4 or 5], or [1, 63] (a hand)",
                outputs,
                "use movenet or heatmap for other models",
            )
        rows, columns = _landmarks(outputs[known[0]]) or (0, 0)
        scores = [place for place in order if place < len(outputs) and int(np.prod(outputs[place].shape)) == 1]
        scale = (1, 1) if spec.box_units == "normalized" else needed_size("blazepose", inputs)
        return cls(min(rows, 33), rows, columns, (known[0], *scores[:1]), scale)

    @staticmethod
    def is_likely(outputs: Outputs, inputs: Outputs) -> bool:
        return input_size(inputs) is not None and any(
            tensor.shape in {(1, 195), (1, 39, 5), (1, 33, 4), (1, 33, 5)} for tensor in outputs
        )

    def poses(self, outputs: Sequence[Output]) -> list[Pose]:
        rows = outputs[self.positions[0]].shaped(self.rows, self.columns).real(slice(self.keypoints))
        told = [float(outputs[position].real().reshape(-1)[0]) for position in self.positions[1:]]
        visible = sigmoid(rows[:, 3]) if self.columns > 3 else np.full(len(rows), told[0] if told else 1.0)
        keypoints = np.stack([rows[:, 0] / self.scale[1], rows[:, 1] / self.scale[0], visible], axis=1)
        score = told[0] if told else float(visible.mean())
        return [Pose(keypoints.astype(np.float32), score)]


_FLAT = {195: (39, 5), 165: (33, 5), 132: (33, 4), 63: (21, 3)}  # values: rows and columns


def _landmarks(tensor: TensorSpec) -> tuple[int, int] | None:
    """Rows and columns; None: these are no landmarks."""
    shape = tensor.shape
    if len(shape) == 3 and shape[0] == 1 and shape[1] > 1 and 3 <= shape[2] <= 5:
        return shape[1], shape[2]
    if len(shape) >= 2 and shape[0] == 1 and int(np.prod(shape)) == max(shape):
        return _FLAT.get(max(shape))
    return None


def _with_offsets(outputs: Outputs) -> tuple[int, int] | None:
    """Positions of heat-maps and offsets, told apart by their channels."""
    for maps, one in enumerate(outputs):
        for offsets, other in enumerate(outputs):
            if _are_maps_and_offsets(one.shape, other.shape):
                return maps, offsets
    return None


def _are_maps_and_offsets(maps: tuple[int, ...], offsets: tuple[int, ...]) -> bool:
    return len(maps) == 4 and maps[0] == 1 and offsets == (*maps[:3], 2 * maps[3])


def _maps_lie_channels_first(shape: tuple[int, ...], size: Size) -> bool | None:
    """The maps have the shape of the input; None: these are no maps."""
    if len(shape) != 4 or shape[0] != 1:
        return None
    for channels_first, grid in ((False, shape[1:3]), (True, shape[2:])):
        if grid[0] * size[1] == grid[1] * size[0] and 1 < grid[0] <= size[0]:
            return channels_first
    return None


def _no_maps(outputs: Outputs) -> ModelError:
    return misfit(
        "heatmap",
        "heat-maps [1, h, w, keypoints] with offsets [1, h, w, 2 x keypoints], or one output of heat-maps of the "
        "input's shape",
        outputs,
        "name their positions in output.output_order, heat-maps first",
    )
