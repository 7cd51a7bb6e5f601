"""Classification: accuracy, top-k, precision, recall and F1, the confusion matrix.

Source: van Rijsbergen, "Information Retrieval", 1979, chapter 7 (precision, recall, F); macro averages over classes and
micro over samples, a class without a prediction having precision 0, as scikit-learn's
`precision_recall_fscore_support(zero_division=0)` has it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]


class PerClass(NamedTuple):
    """One value for each class; `support` is how many samples are of it."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Indices


def confusion(truth: Indices, found: Indices, classes: int) -> NDArray[np.int64]:
    """[truth, found]: how many samples of each class got which answer."""
    flat = np.bincount(truth * classes + found, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def per_class(matrix: NDArray[np.int64]) -> PerClass:
    right = np.diag(matrix).astype(np.float64)
    support, told = matrix.sum(axis=1), matrix.sum(axis=0)
    precision, recall = _share(right, told), _share(right, support)
    return PerClass(precision, recall, _share(2 * right, support + told), support)


def macro(matrix: NDArray[np.int64]) -> dict[str, float]:
    """Mean precision, recall and F1 over the classes that occur in the truth or in the answers."""
    each = per_class(matrix)
    seen = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    names = ("precision", "recall", "f1")
    return {name: float(values[seen].mean()) for name, values in zip(names, each[:3], strict=True)}


def micro(matrix: NDArray[np.int64]) -> dict[str, float]:
    """Over all samples together. Where each has one class and one answer, all three are the accuracy."""
    share = float(np.trace(matrix) / matrix.sum())
    return {"precision": share, "recall": share, "f1": share}


def in_top(scores: Floats, truth: Indices, count: int) -> NDArray[np.bool_]:
    """Of each sample whether its class is among the `count` best scores [samples, classes]; equal ones in their order,
    as the device tells them.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    inside: NDArray[np.bool_] = (order == truth[:, np.newaxis]).any(axis=1)
    return inside


def _share(part: Floats, whole: NDArray[np.int64]) -> Floats:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
