"""What the training steps do to weights, in numpy: the same for every framework.

Every function takes float32 weights of any shape and gives new ones.
"""

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
_KMEANS_ROUNDS = 15
_RAMP = 2 / 3  # of a pruning step's batches; in the rest the weights that are left settle


def scheduled_sparsity(sparsity: float, batch: int, batches: int) -> float:
    """How much is to be 0 after `batch` of `batches`: cubic, fast at first, whole after two thirds of them.

    Zhu and Gupta, "To prune, or not to prune", 2017, equation 1, from a sparsity of 0.
    """
    done = min(1.0, batch / max(1.0, _RAMP * batches))
    return sparsity * (1 - (1 - done) ** 3)


def magnitude_mask(weights: Weights, sparsity: float) -> Weights:
    """1 for the weights that stay: all but the `sparsity` of them that are nearest to 0."""
    count = int(sparsity * weights.size)
    mask = np.ones(weights.size, np.float32)
    mask[np.argpartition(np.abs(weights), count - 1, axis=None)[:count] if count else []] = 0
    return mask.reshape(weights.shape)


def cluster_index(weights: Weights, clusters: int) -> NDArray[np.intp]:
    """Which of at most `clusters` values each weight belongs to, by k-means on the line, begun at the quantiles.

    Weights that are 0 stay together and apart from the others, so that pruned ones stay pruned.
    """
    flat = weights.ravel()
    there, index_there = np.unique(flat, return_inverse=True)
    if there.size <= clusters:  # clustered already: each stays where it is
        return index_there.reshape(-1)
    index = np.zeros(flat.size, np.intp)
    rest = flat != 0
    pruned = not rest.all()
    values, wanted = flat[rest], clusters - pruned
    if values.size:
        centers = np.unique(np.quantile(values, np.linspace(0, 1, max(1, wanted))))
        for _ in range(_KMEANS_ROUNDS):
            nearest = np.searchsorted((centers[1:] + centers[:-1]) / 2, values)
            sums, counts = np.bincount(nearest, values, centers.size), np.bincount(nearest, minlength=centers.size)
            centers = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), centers))
        index[rest] = np.searchsorted((centers[1:] + centers[:-1]) / 2, values) + pruned
    return index


def to_centers(weights: Weights, index: NDArray[np.intp]) -> Weights:
    """Each weight replaced by the mean of its cluster: a step of the weights becomes a step of the centers."""
    counts = np.maximum(np.bincount(index), 1)
    centers = np.bincount(index, weights.ravel()) / counts
    return np.asarray(centers[index], np.float32).reshape(weights.shape)


def fake_quantize(weights: Weights, bits: int, channel_axis: int | None) -> Weights:
    """Rounded to `bits`, symmetric, one scale for each output channel; as the quantizer will do it."""
    axes = tuple(axis for axis in range(weights.ndim) if axis != channel_axis) if channel_axis is not None else None
    most = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(weights).max(axis=axes, keepdims=True), 1e-8) / most
    return np.asarray(np.clip(np.round(weights / scale), -most, most) * scale, np.float32)
