"""Metrics of which the answer is known by hand."""

import math

import numpy as np
import pytest

from converter.metrics import interval, keypoints, overlap, reliability, roc, separation
from converter.metrics.objects import Evaluated, FoundObject, Picture, TrueObject


def test_dice_and_intersection_over_union_leave_void_pixels_out() -> None:
    truth = np.array([[1, 1, 0, 0], [1, 1, 0, 255]])
    found = np.array([[1, 0, 0, 0], [1, 1, 1, 1]])
    counts = overlap.count_pixels(truth, found, 3)
    assert overlap.iou(counts)[:2].tolist() == pytest.approx([2 / 4, 3 / 5])
    assert overlap.dice(counts)[1] == pytest.approx(2 * 3 / (4 + 4))
    assert math.isnan(overlap.iou(counts)[2])  # in neither map: no reason for a mean of 0


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    confidence = np.array([0.75, 0.75, 0.75, 0.75, 1.0])
    right = np.array([True, True, True, False, False])
    assert reliability.calibration_error(confidence, right) == pytest.approx(0.2)  # the last one is off by 1
    assert reliability.calibration_error(np.full(10, 0.9), np.arange(10) > 0) == pytest.approx(0)


def test_an_area_under_the_curve_needs_both_groups() -> None:
    assert roc.area(np.array([0.1, 0.2]), np.array([True, True])) is None
    assert roc.area(np.array([0.5, 0.5]), np.array([True, False])) == 0.5
    assert roc.area(np.array([0.1, 0.2, 0.3]), np.array([False, False, True])) == 1.0


def test_the_best_threshold_lies_between_the_groups() -> None:
    errors, anomalous = np.array([1.0, 2.0, 3.0, 7.0, 8.0]), np.array([False, False, False, True, True])
    best = separation.best_threshold(errors, anomalous)
    assert (best.threshold, best.detected, best.false_alarms, best.f1) == (5.0, 1.0, 0.0, 1.0)
    worse = separation.rates(errors, anomalous, 2.0)
    assert [worse.detected, worse.false_alarms] == pytest.approx([1, 1 / 3])
    assert worse.precision == pytest.approx(2 / 3)


def test_correct_keypoints_are_counted_by_the_size_of_the_person() -> None:
    truth = np.array([[0, 0, 2], [50, 50, 1], [10, 10, 0]], np.float64)
    found = np.array([[19, 0, 1], [50, 71, 1], [10, 10, 1]], np.float64)
    assert keypoints.correct(found, truth, (0, 0, 100, 60)) == (1, 2)


def test_an_object_that_is_ignored_is_neither_right_nor_wrong() -> None:
    box = (0.0, 0.0, 50.0, 50.0)
    other = (100.0, 100.0, 150.0, 150.0)
    true = [TrueObject("cat", box, 2500.0), TrueObject("cat", other, 2500.0, ignored=True)]
    both = [FoundObject("cat", 0.8, box), FoundObject("cat", 0.9, other)]
    assert Evaluated([Picture(true, both)]).precision() == pytest.approx(1.0)
    assert Evaluated([Picture(true, both[:1])]).precision() == pytest.approx(1.0)
    counted = [TrueObject("cat", box, 2500.0), TrueObject("cat", other, 2500.0)]
    half = Evaluated([Picture(counted, both[:1])]).precision()
    assert half == pytest.approx(51 / 101)


def test_an_object_that_counts_is_matched_before_a_crowd_that_covers_more() -> None:
    single = TrueObject("cat", (0.0, 0.0, 60.0, 100.0), 6000.0)
    crowd = TrueObject("cat", (0.0, 0.0, 300.0, 300.0), 90_000.0, crowd=True)
    found = FoundObject("cat", 0.8, (0.0, 0.0, 100.0, 100.0))
    assert Evaluated([Picture([crowd, single], [found])]).precision(threshold=0.5) == pytest.approx(1.0)


def test_the_interval_of_a_share_is_wilsons() -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion", Stat. in Medicine 17, 1998, table I."""
    assert interval.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert interval.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert interval.wilson(29, 29)[1] == 1.0


def test_mcnemar_is_exact() -> None:
    first, second = np.zeros(20, bool), np.zeros(20, bool)
    first[:9] = second[8:10] = True
    found = interval.mcnemar(first, second)
    assert (found.only_first, found.only_second) == (8, 1)
    assert found.p_value == pytest.approx(2 * (1 + 9) / 2**9)
    assert interval.mcnemar(first, first).p_value == 1.0


def test_a_paired_interval_is_narrower_than_what_two_separate_ones_would_say() -> None:
    """Both models fail on the same hard samples: pairing takes these out."""
    generator = np.random.default_rng(3)
    one = (generator.random(400) < 0.7).astype(np.float64)
    other = one.copy()
    other[:4] = 1 - other[:4]

    def share(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> interval.Statistic:
        return lambda weights: float(weights @ values / weights.sum())

    paired = interval.paired_difference(share(one), share(other), 400, resamples=500)
    alone = interval.bootstrap(share(one), 400, resamples=500)
    assert paired is not None
    assert alone is not None
    assert paired.high - paired.low < (alone.high - alone.low) / 3
    assert paired == interval.paired_difference(share(one), share(other), 400, resamples=500)  # the same each time


def test_a_figure_that_most_draws_leave_undefined_has_no_interval() -> None:
    assert interval.bootstrap(lambda _: None, 10, resamples=20) is None
