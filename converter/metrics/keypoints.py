"""Keypoints: object keypoint similarity, and the share of correct keypoints.

Source: cocodataset.org, keypoints evaluation, and pycocotools/cocoeval.py, computeOks, with its constants for the 17
keypoints of COCO; PCK of Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", TPAMI 35,
2013: within 0.2 x the longer side of the person's box.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PCK_SHARE = 0.2
# params.kpt_oks_sigmas, in the order of COCO's keypoints
COCO_SIGMAS: Floats = (
    np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float64) / 1000
)
_USUAL_SIGMA = 0.05  # of other keypoints: what COCO has on average, to one digit


def sigmas(count: int) -> Floats:
    """How exactly people mark each of `count` keypoints, as a share of the root of the person's area."""
    return COCO_SIGMAS if count == len(COCO_SIGMAS) else np.full(count, _USUAL_SIGMA)


def similarity(found: Floats, truth: Floats, area: float, box: tuple[float, float, float, float]) -> float:
    """OKS of keypoints [k, 3] (x, y, score) with true ones (x, y, visibility; 0: not labeled).

    `area` (px²) and `box` (left, top, right, bottom) are the true person's. Of one without labeled keypoints it is
    how far the found ones lie outside of the doubled box.
    """
    variances = np.square(2 * sigmas(len(truth)))
    labeled = truth[:, 2] > 0
    if labeled.any():
        dx, dy = found[:, 0] - truth[:, 0], found[:, 1] - truth[:, 1]
    else:
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        dx = _outside(found[:, 0], left - width, left + 2 * width)
        dy = _outside(found[:, 1], top - height, top + 2 * height)
    exponent = (dx * dx + dy * dy) / variances / (area + np.spacing(1)) / 2
    return float(np.exp(-(exponent[labeled] if labeled.any() else exponent)).mean())


def correct(found: Floats, truth: Floats, box: tuple[float, float, float, float]) -> tuple[int, int]:
    """How many labeled keypoints lie within `PCK_SHARE` of the box's longer side, and how many are labeled."""
    labeled = truth[:, 2] > 0
    reach = PCK_SHARE * max(box[2] - box[0], box[3] - box[1])
    distance = np.hypot(found[:, 0] - truth[:, 0], found[:, 1] - truth[:, 1])
    return int((distance[labeled] <= reach).sum()), int(labeled.sum())


def _outside(values: Floats, low: float, high: float) -> Floats:
    beyond: Floats = np.maximum(0, low - values) + np.maximum(0, values - high)
    return beyond
