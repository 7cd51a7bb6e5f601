"""How sure a figure is, and whether a difference of two is more than chance.

Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927 (a share);
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, §13.3 (percentile interval; samples are drawn in pairs,
so that what is hard for both models counts for neither); McNemar, Psychometrika 12, 1947, in its exact binomial form.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float | None]  # of how often each sample counts; None: not defined
_Z95 = 1.959963984540054  # of the standard normal distribution, two-sided 95 %
_SEED = 0


class Interval(NamedTuple):
    """95 % of it lies within."""

    low: float
    high: float


class McNemar(NamedTuple):
    """What changed between two models on the same samples."""

    only_first: int  # right in the first model alone
    only_second: int
    p_value: float  # two-sided, of both being equally good


def wilson(right: float, count: int) -> Interval:
    """Of a share of `count` samples."""
    share, square = right / count, _Z95 * _Z95
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _Z95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def bootstrap(statistic: Statistic, samples: int, *, resamples: int) -> Interval | None:
    """Of any figure; None where most draws leave it undefined. The same each time: the draws are seeded."""
    generator = np.random.default_rng(_SEED)
    even = np.full(samples, 1 / samples)
    drawn = (statistic(generator.multinomial(samples, even).astype(np.float64)) for _ in range(resamples))
    values = [value for value in drawn if value is not None and math.isfinite(value)]
    if len(values) < resamples / 2:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(float(low), float(high))


def paired_difference(first: Statistic, second: Statistic, samples: int, *, resamples: int) -> Interval | None:
    """Of `first - second`, both on the same draws."""

    def difference(weights: Floats) -> float | None:
        one, other = first(weights), second(weights)
        return None if one is None or other is None else one - other

    return bootstrap(difference, samples, resamples=resamples)


def nothing_seen(samples: int) -> Interval:
    """Of a share that no sample spoke for: it may still be as large as would have stayed unseen in 5 of 100 cases
    (Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249, 1983).
    """
    most = 1 - 0.05 ** (1 / samples)
    return Interval(-most, most)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Whether two models are right equally often, told from the samples on which only one is."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    count, fewer = only_first + only_second, min(only_first, only_second)
    log_all = count * math.log(2)
    tail = sum(
        math.exp(math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - log_all)
        for k in range(fewer + 1)
    )
    return McNemar(only_first, only_second, min(1.0, 2 * tail))
