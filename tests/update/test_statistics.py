"""The statistics of trials against what they claim: by exact sums, and by simulated releases."""

import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.histogram import Histogram
from edge_agent.update.statistics import (
    at_most,
    gap_margin,
    largest_gap,
    quantile_bounds_ms,
    share_bounds,
    surely_above,
    surely_within,
)

SHARES = st.sampled_from([Fraction(1, 20), Fraction(1, 10), Fraction(1, 2), Fraction(19, 20)])


@given(of=st.integers(0, 60), hits=st.integers(-1, 61), share=SHARES)
def test_the_binomial_distribution_is_summed_exactly(of: int, hits: int, share: Fraction) -> None:
    exact = sum(math.comb(of, n) * share**n * (1 - share) ** (of - n) for n in range(max(0, min(hits, of) + 1)))

    assert at_most(hits, of, float(share)) == pytest.approx(float(exact), abs=1e-12)


def test_what_is_next_to_impossible_keeps_its_digits() -> None:
    exact = sum(math.comb(323, n) * Fraction(7, 8) ** n * Fraction(1, 8) ** (323 - n) for n in range(201))

    assert at_most(200, 323, 0.875) == pytest.approx(float(exact), rel=1e-9)
    assert not surely_above(200, 322, 0.875, 0.001)


def test_shares_beyond_what_a_share_can_be_are_answered_too() -> None:
    """A manifest may say anything."""
    for share in (-1.0, 0.0, 1.0, 7.0, math.nan):
        assert 0 <= at_most(3, 10, share) <= 1
        surely_above(3, 10, share, 0.001)
        surely_within(3, 10, share, 0.05)
    assert surely_above(1, 10, 0.0, 0.001)
    assert not surely_above(0, 10, 0.0, 0.001)
    assert not surely_above(10, 10, 1.0, 0.001)
    assert not surely_within(0, 10, 0.0, 0.05)


def test_a_release_that_keeps_to_the_share_is_seldom_accused_however_often_one_looks() -> None:
    """Ville's bound: a look after every frame, and in all of them together one in `doubt` is wrongly accused."""
    chance, accused, doubt = Random(1), 0, 0.05
    for _ in range(400):
        hits = 0
        for of in range(1, 151):
            hits += chance.random() < 0.1
            if surely_above(hits, of, 0.1, doubt):
                accused += 1
                break

    assert accused <= 400 * doubt


def test_a_release_that_is_far_beyond_is_accused_within_a_few_frames() -> None:
    assert not surely_above(3, 3, 0.1, 0.001)
    assert surely_above(4, 4, 0.1, 0.001)
    assert surely_above(30, 100, 0.1, 0.001)
    assert not surely_above(15, 100, 0.1, 0.001)


def test_without_a_failure_29_frames_show_at_most_a_tenth() -> None:
    """The rule of three, exactly: 0.9^28 > 0.05 >= 0.9^29."""
    assert not surely_within(0, 28, 0.1, 0.05)
    assert surely_within(0, 29, 0.1, 0.05)


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 10, 0.0, 0.2589), (1, 10, 0.0051, 0.3942), (5, 10, 0.2224, 0.7776), (10, 10, 0.7411, 1.0)],
)
def test_bounds_of_a_share_are_those_of_the_textbooks(hits: int, of: int, low: float, high: float) -> None:
    """Clopper and Pearson's; one-sided doubts of 5 %, from the beta distribution's tables."""
    assert share_bounds(hits, of, 0.05) == pytest.approx((low, high), abs=1e-4)


def test_nothing_seen_leaves_every_share_possible() -> None:
    assert share_bounds(0, 0, 0.05) == (0.0, 1.0)
    assert quantile_bounds_ms(Histogram(), 0.95, 0.001) == (0.0, math.inf)


@pytest.mark.parametrize(("count", "is_bounded"), [(134, False), (135, True)])
def test_a_95th_percentile_has_an_upper_bound_from_135_samples_on(count: int, *, is_bounded: bool) -> None:
    """0.95^134 > 0.001 >= 0.95^135: else all samples may lie below it."""
    low_ms, high_ms = quantile_bounds_ms(Histogram({10: count}), 0.95, 0.001)

    assert math.isfinite(high_ms) == is_bounded
    assert low_ms > 0


def test_the_true_quantile_lies_within_its_bounds() -> None:
    chance, outside = Random(2), 0
    true_ms = -10 * math.log(0.05)  # of an exponential distribution with mean 10 ms
    for _ in range(200):
        histogram = Histogram()
        for _ in range(300):
            histogram.add(chance.expovariate(0.1))
        low_ms, high_ms = quantile_bounds_ms(histogram, 0.95, 0.05)
        outside += not low_ms <= true_ms <= high_ms

    assert outside <= 200 * 2 * 0.05


def test_the_gap_is_that_of_the_cumulative_shares() -> None:
    assert largest_gap({1: 5}, {1: 50}) == 0
    assert largest_gap({1: 5}, {2: 50}) == 1
    assert largest_gap({1: 1, 2: 1}, {2: 1, 3: 1}) == pytest.approx(0.5)
    assert largest_gap({}, {2: 1}) == 0


def test_samples_of_one_distribution_lie_within_the_margin() -> None:
    chance, beyond = Random(3), 0
    for _ in range(200):
        one, other = ({}, {})  # type: tuple[dict[int, int], dict[int, int]]
        for sample, count in ((one, 60), (other, 200)):
            for _ in range(count):
                place = int(20 * chance.random())
                sample[place] = sample.get(place, 0) + 1
        beyond += largest_gap(one, other) > gap_margin((60, 200), 0.05)

    assert beyond <= 200 * 0.05
