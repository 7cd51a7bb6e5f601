"""Latency histograms: quantiles within 2.5 %, and merging loses nothing."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.histogram import Histogram

LATENCIES_MS = st.lists(st.floats(min_value=0.002, max_value=100_000.0), min_size=1, max_size=200)


def histogram_of(values_ms: list[float]) -> Histogram:
    histogram = Histogram()
    for value_ms in values_ms:
        histogram.add(value_ms)
    return histogram


@given(values_ms=LATENCIES_MS, share=st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_two_and_a_half_percent(values_ms: list[float], share: float) -> None:
    true_ms = sorted(values_ms)[max(1, math.ceil(share * len(values_ms))) - 1]
    found_ms = histogram_of(values_ms).quantile_ms(share)
    assert found_ms == pytest.approx(true_ms, rel=0.025)


@given(first=LATENCIES_MS, second=LATENCIES_MS)
def test_merging_is_the_same_as_adding_everything_to_one(first: list[float], second: list[float]) -> None:
    merged = histogram_of(first)
    merged.merge(histogram_of(second))
    together = histogram_of(first + second)
    assert (merged.buckets, merged.max_ms, merged.count) == (together.buckets, together.max_ms, together.count)
    assert Histogram.merged([histogram_of(first), histogram_of(second)]).summary() == together.summary()


@given(values_ms=LATENCIES_MS)
def test_what_travels_as_json_comes_back_the_same(values_ms: list[float]) -> None:
    histogram = histogram_of(values_ms)
    again = Histogram.from_json(json.loads(json.dumps(histogram.to_json())), histogram.max_ms)
    assert again.summary() == histogram.summary()


@given(value_ms=st.floats(allow_nan=False, allow_infinity=False))
def test_any_latency_can_be_added_and_the_buckets_stay_few(value_ms: float) -> None:
    histogram = histogram_of([value_ms])
    assert histogram.count == 1
    (bucket,) = histogram.buckets
    assert -142 <= bucket <= 310


def test_no_quantile_is_above_the_largest_value() -> None:
    assert histogram_of([10.0, 10.0]).summary() == {"count": 2, "p50": 10.0, "p95": 10.0, "p99": 10.0, "max": 10.0}


def test_of_nothing_there_is_nothing() -> None:
    assert Histogram().summary() == {}
    assert Histogram().quantile_ms(0.5) is None
    assert Histogram().count == 0
