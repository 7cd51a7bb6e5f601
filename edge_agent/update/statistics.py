"""How sure a few samples can make one. Exact where it is cheap, and nothing that needs more than the standard library.

What the samples are, and what follows from them, is left to `checks`. Every bound is one-sided, and `doubt` is the
chance that it is wrong.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from edge_agent.histogram import Histogram

_TOO_SMALL = 1e-18  # of a sum of floats; what is left out adds up to less than a digit of it


def at_most(hits: int, of: int, share: float) -> float:
    """Chance of `hits` or fewer among `of`, where each is one with chance `share` (the binomial distribution)."""
    if hits < 0:
        return 0.0
    if hits >= of or not share > 0:
        return 1.0
    if share >= 1:
        return 0.0
    if hits > of * share:  # the lesser tail is summed: of the other one a small difference would be lost
        return max(0.0, 1.0 - at_most(of - hits - 1, of, 1 - share))
    logs = math.lgamma(of + 1) - math.lgamma(hits + 1) - math.lgamma(of - hits + 1)
    term = math.exp(logs + hits * math.log(share) + (of - hits) * math.log1p(-share))
    total, n = term, hits
    while n > 0 and term > total * _TOO_SMALL:  # each is smaller than the one above it, by a ratio that shrinks too
        term *= n * (1 - share) / ((of - n + 1) * share)
        total, n = total + term, n - 1
    return min(1.0, total)


def surely_above(hits: int, of: int, share: float, doubt: float) -> bool:
    """Whether the true share is above `share`, however often one has looked before.

    The likelihoods of all greater shares, mixed evenly, against that of `share`: the ratio of a release that keeps to
    it ever reaches 1 / doubt with a chance of at most `doubt` (Ville's inequality; Robbins, "Statistical methods
    related to the law of the iterated logarithm", Annals of Mathematical Statistics 41, 1970, §3).
    """
    if not 0 < share < 1:
        return hits > 0 and not share > 0
    mixed = math.lgamma(hits + 1) + math.lgamma(of - hits + 1) - math.lgamma(of + 2)
    above = at_most(hits, of + 1, share)
    if above <= 0:
        return False
    kept = hits * math.log(share) + (of - hits) * math.log1p(-share)
    return mixed + math.log(above) - math.log1p(-share) - kept >= -math.log(doubt)


def surely_within(hits: int, of: int, share: float, doubt: float) -> bool:
    """Whether the true share is at most `share`: exact, for one look (Clopper and Pearson, Biometrika 26, 1934)."""
    return share >= 1 or at_most(hits, of, share) <= doubt


def share_bounds(hits: int, of: int, doubt: float) -> tuple[float, float]:
    """The least and the greatest share that `hits` of `of` leave possible, each with `doubt` (Clopper and Pearson)."""
    if of == 0:
        return 0.0, 1.0
    high = 1.0 if hits == of else _bisect(lambda share: at_most(hits, of, share) > doubt)
    low = 0.0 if hits == 0 else 1 - _bisect(lambda share: at_most(of - hits, of, share) > doubt)
    return low, high


def quantile_bounds_ms(histogram: Histogram, share: float, doubt: float) -> tuple[float, float]:
    """Between which the quantile surely lies, each side with `doubt`; 0 and infinity where there are too few samples.

    By order statistics, so whatever the distribution is (David and Nagaraja, "Order Statistics", 2003, §7.1), widened
    to the buckets' edges.
    """
    count = histogram.count
    lower = _largest(count, lambda rank: 1 - at_most(rank - 1, count, share) >= 1 - doubt)
    upper = _largest(count, lambda rank: at_most(rank - 1, count, share) < 1 - doubt) + 1
    low_ms = histogram.edges_ms(lower)[0] if lower > 0 else 0.0
    return low_ms, histogram.edges_ms(upper)[1] if upper <= count else math.inf


def largest_gap(one: Mapping[int, int], other: Mapping[int, int]) -> float:
    """Kolmogorov and Smirnov's distance of two binned samples: of their cumulative shares, at the bins' edges, 0..1.

    Bins can only make it smaller.
    """
    totals = sum(one.values()), sum(other.values())
    if not all(totals):
        return 0.0
    gap, sums = 0.0, [0, 0]
    for place in sorted({*one, *other}):
        sums = [sums[0] + one.get(place, 0), sums[1] + other.get(place, 0)]
        gap = max(gap, abs(sums[0] / totals[0] - sums[1] / totals[1]))
    return gap


def gap_margin(counts: Sequence[int], doubt: float) -> float:
    """By how much `largest_gap` may differ from that of the true distributions.

    Each sample's own distance is bounded with half of the doubt (Massart, "The tight constant in the
    Dvoretzky-Kiefer-Wolfowitz inequality", Annals of Probability 18, 1990).
    """
    each = doubt / len(counts)
    return sum(math.sqrt(math.log(2 / each) / (2 * count)) if count else 1.0 for count in counts)


def _bisect(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return high


def _largest(count: int, holds: Callable[[int], bool]) -> int:
    """The largest rank of 1 .. `count` that holds, 0 where none does; those that hold come first."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
