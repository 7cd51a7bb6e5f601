"""Maps of classes: intersection over union, and Dice.

Source: mean IoU over the classes of the whole set as in the Pascal VOC segmentation task (Everingham et al., IJCV 111,
2015, §4.2), pixels marked void (255) left out; Dice, "Measures of the Amount of Ecologic Association Between Species",
1945, from the same counts.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
VOID = 255


class Counts(NamedTuple):
    """Pixels of one picture, or of several together, by class."""

    both: Floats
    truth: Floats
    found: Floats


def count_pixels(truth: NDArray[np.integer], found: NDArray[np.integer], classes: int) -> Counts:
    """Of two maps of one shape. Void pixels of the truth count nowhere."""
    known = truth != VOID
    a, b = truth[known].astype(np.intp), found[known].astype(np.intp)
    counted = (np.bincount(values, minlength=classes)[:classes] for values in (a[a == b], a, b))
    return Counts(*(values.astype(np.float64) for values in counted))


def iou(counts: Counts) -> Floats:
    """Of each class; NaN where it is in neither map."""
    return _share(counts.both, counts.truth + counts.found - counts.both)


def dice(counts: Counts) -> Floats:
    """Of each class; NaN where it is in neither map."""
    return _share(2 * counts.both, counts.truth + counts.found)


def _share(part: Floats, whole: Floats) -> Floats:
    shares: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return shares
