"""Anomalies told from the normal by one score: where the threshold would be best, and what a given one does.

Source: the threshold of Youden, "Index for rating diagnostic tests", Cancer 3, 1950 (largest detection rate minus false
alarm rate). The area under the curve is `roc`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Rates(NamedTuple):
    """What a threshold does: an error above it is called an anomaly."""

    threshold: float
    detected: float  # share of the anomalies
    false_alarms: float  # share of the normal
    precision: float
    f1: float


def rates(errors: Floats, anomalous: NDArray[np.bool_], threshold: float) -> Rates:
    told = errors > threshold
    hits, alarms = int((told & anomalous).sum()), int((told & ~anomalous).sum())
    wrong = int(anomalous.sum()), int((~anomalous).sum())
    detected, false_alarms = (part / max(whole, 1) for part, whole in zip((hits, alarms), wrong, strict=True))
    precision = hits / (hits + alarms) if hits + alarms else 0.0
    f1 = 2 * hits / (2 * hits + alarms + wrong[0] - hits) if hits else 0.0
    return Rates(threshold, detected, false_alarms, precision, f1)


def best_threshold(errors: Floats, anomalous: NDArray[np.bool_]) -> Rates:
    """The threshold of Youden; between two errors, in their middle."""
    values = np.unique(errors)
    middles = (values[1:] + values[:-1]) / 2
    candidates = np.r_[middles, values[-1]]
    sorted_p, sorted_n = np.sort(errors[anomalous]), np.sort(errors[~anomalous])
    detected = 1 - np.searchsorted(sorted_p, candidates, "right") / max(len(sorted_p), 1)
    alarms = 1 - np.searchsorted(sorted_n, candidates, "right") / max(len(sorted_n), 1)
    return rates(errors, anomalous, float(candidates[int(np.argmax(detected - alarms))]))
