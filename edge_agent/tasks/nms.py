"""Non-maximum suppression: of boxes that overlap, the one with the best score stands for the object.

Greedy, as in "Rich feature hierarchies for accurate object detection" (Girshick et al., arXiv 1311.2524, §2.2): from
the best score down, a box is dropped if it overlaps one that was kept by more than a threshold.
"""

import numpy as np
from numpy.typing import NDArray

# Beyond these the worst scores are left out: far more than a picture has objects, at a bounded cost
MAX_CANDIDATES = 3000
_BLOCK = 128  # boxes that are compared with each other at once; larger ones compare more than they need


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.intp] | None,
    *,
    iou_threshold: float,
    max_objects: int,
) -> NDArray[np.intp]:
    """Positions of the boxes that are kept, the best first; equal scores in the order they come.

    Boxes [n, 4] ymin, xmin, ymax, xmax, of any unit; one without area overlaps nothing. Only boxes of the same class
    drop each other (None: all are of one).
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    sides = np.ascontiguousarray(boxes[order].T, dtype=np.float64)
    of_class = np.zeros(len(order), np.intp) if classes is None else classes[order]
    kept: list[int] = []
    for start in range(0, len(order), _BLOCK):
        end = min(start + _BLOCK, len(order))
        block = np.arange(start, end)
        free = ~_clashes(sides, of_class, np.array(kept, np.intp), block, iou_threshold).any(axis=0)
        clashes = _clashes(sides, of_class, block, block, iou_threshold)
        while free.any() and len(kept) < max_objects:
            best = int(free.argmax())
            kept.append(start + best)
            free &= ~clashes[best]
            free[best] = False
        if len(kept) == max_objects:
            break
    return order[kept]


def _clashes(
    sides: NDArray[np.float64],
    classes: NDArray[np.intp],
    ones: NDArray[np.intp],
    others: NDArray[np.intp],
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """[ones, others]: whether two boxes are of one class and overlap by more than the threshold."""
    a, b = sides[:, ones, None], sides[:, None, others]
    shared = np.maximum(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]), 0)
    shared *= np.maximum(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]), 0)
    areas_a, areas_b = (np.maximum(box[2] - box[0], 0) * np.maximum(box[3] - box[1], 0) for box in (a, b))
    same = classes[ones, None] == classes[None, others]
    clashes: NDArray[np.bool_] = same & (shared > iou_threshold * (areas_a + areas_b - shared))
    return clashes
