"""The range of an activation that int8 covers, told from a histogram of its values.

What lies outside is clipped, and a narrower range has finer steps: each estimator draws that line its own way.
Measured effects of all of them: docs/quantization.md.
"""

import numpy as np
from numpy.typing import NDArray

from converter.quantization.observe import BINS, Histogram
from converter.quantization.treatment import RangeEstimator

_LEVELS = 256
_LEAST = 1e-9  # a probability that stands for none
_SHARES = np.linspace(0.2, 1.0, 65)  # of the range towards zero, that are tried


def estimate(histogram: Histogram, estimator: RangeEstimator, percentile: float) -> tuple[float, float]:
    """Smallest and largest value that are covered; zero is always within, for padding and ReLU are exact then."""
    lowest, highest = min(histogram.smallest, 0.0), max(histogram.largest, 0.0)
    if not highest > lowest or histogram.counts.sum() == 0 or estimator in ("min_max", "best"):
        return lowest, highest
    values = _centers(histogram)
    if estimator == "percentile":
        return _percentile(histogram, percentile)
    if estimator == "mse":
        return _least_error(values, histogram.counts, lowest, highest)
    return _least_divergence(values, histogram.counts, lowest, highest)


def _percentile(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """The middle share of the values; as McKinstry et al. 2018, arXiv:1809.04191, and Wu et al. 2020,
    arXiv:2004.09602, section 5.1, but by both ends.
    """
    edges = np.linspace(histogram.smallest, histogram.largest, BINS + 1)
    reached = np.concatenate([[0.0], np.cumsum(histogram.counts)]) / histogram.counts.sum()
    outside = (1 - percentile / 100) / 2
    low, high = np.interp([outside, 1 - outside], reached, edges)
    return min(float(low), 0.0), max(float(high), 0.0)


def _least_error(values: NDArray[np.float64], counts: NDArray[np.int64], lowest: float, highest: float) -> (
    tuple[float, float]
):  # fmt: skip
    """The range with the least mean square error of clipping and rounding: Banner et al. 2019, arXiv:1810.05723 (there
    by a formula, here by trying), and Nagel et al. 2021, arXiv:2106.08295, section 3.1.
    """
    lows, highs = lowest * _SHARES, highest * _SHARES
    clipped_low = np.array([np.dot(counts, np.square(np.minimum(values - low, 0))) for low in lows])
    clipped_high = np.array([np.dot(counts, np.square(np.maximum(values - high, 0))) for high in highs])
    step = (highs[None, :] - lows[:, None]) / (_LEVELS - 1)
    rounded = counts[np.abs(values) > (highest - lowest) / BINS].sum()  # zero itself is exact
    error = clipped_low[:, None] + clipped_high[None, :] + rounded * np.square(step) / 12
    low, high = np.unravel_index(int(np.argmin(error)), error.shape)
    return float(lows[low]), float(highs[high])


def _least_divergence(values: NDArray[np.float64], counts: NDArray[np.int64], lowest: float, highest: float) -> (
    tuple[float, float]
):  # fmt: skip
    """The range whose quantized distribution has the least Kullback-Leibler divergence from that of the values:
    Migacz 2017, "8-bit Inference with TensorRT" (GTC S7310); there symmetric, here first one end moves, then the other.
    """
    high = min(highest * _SHARES[::-1], key=lambda end: _divergence(values, counts, lowest, end))
    low = min(lowest * _SHARES[::-1], key=lambda end: _divergence(values, counts, end, high))
    return float(low), float(high)


def _divergence(values: NDArray[np.float64], counts: NDArray[np.int64], low: float, high: float) -> float:
    inside = (values >= low) & (values <= high)
    kept = counts[inside].astype(np.float64)
    if kept.sum() == 0 or high <= low:
        return np.inf
    reference = kept.copy()  # with what is clipped at its ends
    reference[0] += counts[values < low].sum()
    reference[-1] += counts[values > high].sum()
    level = np.rint((values[inside] - low) / (high - low) * (_LEVELS - 1)).astype(np.int64)
    filled = kept > 0
    total, bins = np.bincount(level, kept, _LEVELS), np.bincount(level, filled, _LEVELS)
    quantized = np.where(filled, total[level] / np.maximum(bins[level], 1), 0)
    p, q = reference / reference.sum(), quantized / quantized.sum()
    both = p > 0
    return float(np.sum(p[both] * np.log(p[both] / np.maximum(q[both], _LEAST))))


def _centers(histogram: Histogram) -> NDArray[np.float64]:
    edges = np.linspace(histogram.smallest, histogram.largest, BINS + 1)
    centers: NDArray[np.float64] = (edges[1:] + edges[:-1]) / 2
    return centers
