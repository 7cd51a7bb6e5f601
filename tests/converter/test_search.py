"""Which candidate is taken, and what is shown of the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.quantization.search import Curve, Limits, Tried, candidates, choose, format_curve, pareto, within


def _tried(label: str, size: int = 100, fidelity: float = 1.0, ms: float = 1.0, **changes: object) -> Tried:
    plain: dict[str, object] = {"way": {"scheme": "int8"}, "snr_db": 20.0, "partitions": 1}
    return Tried(label, size_bytes=size, fidelity=fidelity, latency_ms=ms, **{**plain, **changes})  # type: ignore[arg-type]  # fields by name


def _curve(*tried: Tried, reference: float = 1.0) -> Curve:
    return Curve(tried, "top-1 agreement", reference)


FLOAT = _tried("float32", 400, 1.0, 4.0, snr_db=200.0)
INT8 = _tried("int8", 100, 0.97, 1.0)
MIXED = _tried("int8, 2 layers in float32", 120, 0.995, 1.5)
CURVE = _curve(FLOAT, INT8, MIXED)


@pytest.mark.parametrize(
    ("limits", "label"),
    [
        (Limits(), "int8, 2 layers in float32"),
        (Limits(max_drop=0.05), "int8"),
        (Limits(max_drop=0.001), "float32"),
        (Limits(max_drop=0.05, max_latency_ms=1.2), "int8"),
        (Limits(max_drop=None, max_size_bytes=110), "int8"),
    ],
)
def test_the_fastest_within_the_limits_is_taken(limits: Limits, label: str) -> None:
    chosen = choose(CURVE, limits)
    assert chosen is not None
    assert chosen.label == label


@pytest.mark.parametrize(
    "limits", [Limits(max_drop=0.0, max_latency_ms=3.0), Limits(max_size_bytes=99), Limits(max_latency_ms=0.5)]
)
def test_where_none_keeps_to_the_limits_none_is_taken(limits: Limits) -> None:
    assert choose(CURVE, limits) is None


def test_of_two_that_are_as_fast_the_smaller_is_taken_whatever_the_noise() -> None:
    curve = _curve(_tried("big", 200, 1.0, 1.0), _tried("small", 100, 1.0, 1.03))
    chosen = choose(curve, Limits())
    assert chosen is not None
    assert chosen.label == "small"


def test_a_drop_is_taken_from_what_the_float_model_reaches_itself() -> None:
    curve = _curve(_tried("int8", fidelity=0.89), reference=0.90)
    assert choose(curve, Limits(max_drop=0.01)) is not None
    assert choose(curve, Limits(max_drop=0.005)) is None


def test_a_broken_candidate_is_never_taken_and_never_worth_having() -> None:
    broken = _tried("int8", 1, 1.0, 0.1, broken="it does not load")
    assert choose(_curve(FLOAT, broken), Limits()) is FLOAT
    assert pareto([FLOAT, broken]) == (FLOAT,)


def test_what_another_beats_in_everything_is_counted_but_not_shown() -> None:
    worse = _tried("worse", 130, 0.99, 1.6)
    curve = _curve(FLOAT, INT8, MIXED, worse)
    chosen = choose(curve, Limits())
    text = format_curve(curve, Limits(), chosen)
    assert "worse" not in text
    assert "and 1 that others beat" in text
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert rows["int8"].endswith("--max-drop")
    assert rows["int8, 2 layers in float32"].endswith("chosen")
    shown = {one.label: one for one in candidates(curve, chosen)}
    assert (shown["worse"].pareto, shown["int8"].pareto) == (False, True)
    assert [one.label for one in shown.values() if one.chosen] == ["int8, 2 layers in float32"]


TRIED = st.builds(
    lambda size, fidelity, ms, snr: _tried("x", size, fidelity, ms, snr_db=snr),
    st.integers(1, 5),
    st.integers(0, 4).map(lambda number: number / 4),
    st.integers(1, 5).map(float),
    st.integers(0, 3).map(float),
)


@given(st.lists(TRIED, min_size=1, max_size=8))
def test_whatever_is_taken_keeps_to_the_limits_and_nothing_left_out_is_better(tried: list[Tried]) -> None:
    best = pareto(tried)
    assert best
    for one in tried:
        assert any(
            other.size_bytes <= one.size_bytes
            and other.fidelity >= one.fidelity
            and other.snr_db >= one.snr_db
            and other.latency_ms <= one.latency_ms
            for other in best
        )
    limits = Limits(max_drop=0.25, max_size_bytes=4, max_latency_ms=4.0)
    chosen = choose(_curve(*tried), limits)
    if chosen is None:
        assert not any(within(one, limits, _curve(*tried)) for one in tried)
    else:
        assert within(chosen, limits, _curve(*tried))
