"""Whether a score of 0.8 is right in 80 of 100 cases.

Source: the expected calibration error of Guo et al., "On Calibration of Modern Neural Networks", 2017,
arXiv:1706.04599, equation 3: equally wide bins (low, high] of the first answer's score.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 15  # as in the paper


def calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """The mean distance of confidence and share of right answers, over bins, by how many samples are in them."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
