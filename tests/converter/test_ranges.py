"""Range estimators on distributions whose best range is known, and treatments on a real model."""

import numpy as np
import pytest
from numpy.typing import NDArray

from converter.quantization.observe import BINS, Histogram
from converter.quantization.ranges import estimate
from converter.quantization.treatment import RangeEstimator

GENERATOR = np.random.default_rng(0)
NORMAL = GENERATOR.standard_normal(200_000)


def _histogram(values: NDArray[np.float64]) -> Histogram:
    counts, _ = np.histogram(values, BINS, (values.min(), values.max()))
    return Histogram(float(values.min()), float(values.max()), counts.astype(np.int64))


def _error(values: NDArray[np.float64], low: float, high: float) -> float:
    step = (high - low) / 255
    stored = np.clip(np.rint(values / step), np.rint(low / step), np.rint(high / step)) * step
    return float(np.mean(np.square(stored - values)))


def test_min_max_covers_everything_and_zero() -> None:
    low, high = estimate(_histogram(NORMAL + 10), "min_max", 99.9)
    assert low == 0.0
    assert high == pytest.approx((NORMAL + 10).max())


def test_percentile_keeps_the_share_it_is_given() -> None:
    low, high = estimate(_histogram(NORMAL), "percentile", 99.0)
    assert low == pytest.approx(np.quantile(NORMAL, 0.005), abs=0.02)
    assert high == pytest.approx(np.quantile(NORMAL, 0.995), abs=0.02)


@pytest.mark.parametrize("estimator", ["mse", "entropy", "percentile"])
def test_a_lonely_outlier_does_not_stretch_the_range(estimator: RangeEstimator) -> None:
    values = np.append(NORMAL, 60.0)
    counted = _histogram(values)
    counts = counted.counts * 100  # as if there were 20 million values
    counts[-1] = 1
    low, high = estimate(Histogram(counted.smallest, counted.largest, counts), estimator, 99.99)
    assert high < 20
    assert _error(NORMAL, low, high) < _error(NORMAL, values.min(), 60.0) / 4


def test_mse_finds_a_range_with_no_more_error_than_any_narrower_one() -> None:
    heavy = GENERATOR.laplace(size=200_000)
    low, high = estimate(_histogram(heavy), "mse", 99.99)
    found = _error(heavy, low, high)
    assert found < _error(heavy, heavy.min(), heavy.max())
    assert all(found <= 1.02 * _error(heavy, low * share, high * share) for share in (0.7, 0.85, 1.15, 1.3))


@pytest.mark.parametrize("estimator", ["min_max", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("values", [np.zeros(10), np.array([3.0, 3.0]), np.maximum(NORMAL, 0), -np.abs(NORMAL)])
def test_a_range_holds_zero_and_lies_within_the_values(estimator: RangeEstimator, values: NDArray[np.float64]) -> None:
    low, high = estimate(_histogram(values), estimator, 99.9)
    assert min(values.min(), 0) - 1e-9 <= low <= 0 <= high <= max(values.max(), 0) + 1e-9
