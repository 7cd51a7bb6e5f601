"""What the heads of the YOLO family share: the grid their boxes come from, and the unit these are in."""

import math
from typing import Literal

import numpy as np

from edge_agent.tasks.heads.head import Objects, Output, Real, Size

Units = Literal["normalized", "pixels"] | None

_STRIDES_PX = (8, 16, 32)
_LARGEST_NORMALIZED = 2.0  # a box may reach beyond the picture, but not that far; in pixels every head has larger ones


def cells(size: Size) -> int:
    """How many cells the three grids of an input have: 8400 at 640 x 640."""
    return sum(math.prod(math.ceil(side / stride) for side in size) for stride in _STRIDES_PX)


def is_in_pixels(units: Units, numbers: Output) -> bool:
    """Whether coordinates are in px of the input: as stated, else by the largest of `numbers`.

    The exporters of one and the same model differ: Ultralytics' own to TFLite divides by the input's size, one by way
    of ONNX does not. All boxes of a head together cover the picture, so the largest number tells, in every frame.
    """
    if units is not None or not numbers.stored.size:
        return units == "pixels"
    largest = numbers.stored.max(keepdims=True)
    return bool(Output(largest, numbers.tensor).real().max() > _LARGEST_NORMALIZED)


def normalized(found: Objects, size: Size) -> Objects:
    """Of objects in px of the input."""
    boxes: Real = np.divide(found.boxes, (*size, *size), dtype=np.float32)
    if found.keypoints is None:
        return found._replace(boxes=boxes)
    keypoints: Real = np.divide(found.keypoints, (size[1], size[0], 1), dtype=np.float32)
    return found._replace(boxes=boxes, keypoints=keypoints)


def points(raw: Real, count: int) -> Real | None:
    """Keypoints [n, count, 3] of rows [n, 3 x count] of x, y, score."""
    return raw.reshape(len(raw), count, 3) if count else None
