"""Values against measured ones: mean absolute error, root of the mean squared error, R².

Source: R² = 1 - residual / total sum of squares, Draper and Smith, "Applied Regression Analysis", 3rd edition, §1.3; of
several values the mean of theirs, as scikit-learn's `r2_score` has it.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def absolute_error(truth: Floats, found: Floats) -> Floats:
    """Mean over samples of each value, of arrays [samples, values]."""
    mean: Floats = np.abs(found - truth).mean(axis=0)
    return mean


def root_squared_error(truth: Floats, found: Floats) -> Floats:
    root: Floats = np.sqrt(np.square(found - truth).mean(axis=0))
    return root


def r_squared(truth: Floats, found: Floats, weights: Floats | None = None) -> Floats:
    """Of each value; NaN where the truth never changes. `weights`: how often each sample counts."""
    w = np.ones(len(truth)) if weights is None else weights
    middle = np.average(truth, axis=0, weights=w)
    residual, total = w @ np.square(found - truth), w @ np.square(truth - middle)
    return np.where(total > 0, 1 - np.divide(residual, total, out=np.zeros_like(total), where=total > 0), np.nan)
