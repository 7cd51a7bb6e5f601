"""How well scores part two groups, and classes from the rest.

Source: Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
Radiology 143, 1982: the area is the probability that a positive sample scores above a negative one, a tie counting
one half. One against the rest, averaged over classes: Provost and Domingos, "Well-trained PETs", 2000.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def area(scores: Floats, positive: NDArray[np.bool_], weights: Floats | None = None) -> float | None:
    """The area under the curve; None where there is only one of the two groups. `weights`: how often each counts."""
    w = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ranked, p, n = scores[order], np.where(positive, w, 0.0)[order], np.where(positive, 0.0, w)[order]
    if p.sum() <= 0 or n.sum() <= 0:
        return None
    begins = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    tied_p, tied_n = np.add.reduceat(p, begins), np.add.reduceat(n, begins)
    below = np.cumsum(tied_n) - tied_n
    return float((tied_p * (below + tied_n / 2)).sum() / (p.sum() * n.sum()))


def area_of_classes(scores: Floats, truth: NDArray[np.intp]) -> float | None:
    """The mean area of each class against the rest, of scores [samples, classes]; None: there is only one class.

    Classes without a sample are left out.
    """
    areas = [area(scores[:, index], truth == index) for index in np.unique(truth)]
    known = [value for value in areas if value is not None]
    return sum(known) / len(known) if known else None
