"""What every source of rows does with missing values, columns and gaps in time."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.row_sources import RowOptions
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Sample, Unusable, Wanted
from edge_agent.inference.sources.row_options import RawRow, RowReader, check_columns

Cells = Mapping[str, object] | Sequence[object]
NAN = math.nan


def read(
    rows: Sequence[Cells],
    options: RowOptions | None = None,
    wanted: tuple[str, ...] = (),
    *,
    times_s: Sequence[float | None] | None = None,
    paths: Mapping[str, str] | None = None,
    ordered: bool = False,
) -> list[Sample | Unusable]:
    reader = RowReader(options or RowOptions(), paths or {}, ordered=ordered)
    times = times_s or [None] * len(rows)
    raws = [RawRow(str(number), 5.0, row, time_s) for number, (row, time_s) in enumerate(zip(rows, times, strict=True))]
    return [reader.read(raw, Wanted(wanted)) for raw in raws]


def values(items: list[Sample | Unusable]) -> list[tuple[float, ...] | None]:
    return [item.values if isinstance(item, Sample) else None for item in items]


def gaps(items: list[Sample | Unusable]) -> list[bool]:
    return [item.after_gap for item in items if isinstance(item, Sample)]


# --- columns ------------------------------------------------------------------------------------------------


def test_the_model_s_channels_are_picked_in_its_order_and_told_with_the_sample() -> None:
    assert read([{"a": 1, "b": 2, "c": 3}], wanted=("c", "a")) == [Sample("0", 5.0, ("c", "a"), (3.0, 1.0))]


def test_columns_of_the_configuration_come_first_and_the_sample_still_answers_what_was_wanted() -> None:
    assert read([{"a": 1, "b": 2}], RowOptions(columns=("b",)), ("x",)) == [Sample("0", 5.0, ("x",), (2.0,))]


def test_where_nobody_chooses_it_is_every_number_of_the_first_row() -> None:
    rows = [{"name": "office", "t": 21.5, "on": True, "at": None}, {"name": "7", "on": False, "t": 22, "more": 9}]
    assert values(read(rows)) == [(21.5, 1.0), (22.0, 0.0)]


def test_a_plain_list_is_taken_by_position() -> None:
    assert values(read([[1, "2.5", 3]], wanted=("x", "y", "z"))) == [(1.0, 2.5, 3.0)]
    assert read([[1, 2]], wanted=("x", "y", "z")) == [Unusable("0", "0: expected 3 values (x, y, z), found 2")]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("climate.temp", 21.0), ("list.1", 8.0), ("list.2.deep", 9.0), ("a.b", 3.0), ("a.c.d", 4.0), ("acc_x", 5.0),
        ("acc_x[mg]", 5.0), ("acc_y[mg]", 6.0),
    ],
)  # fmt: skip
def test_a_column_may_be_a_path_and_have_a_unit(column: str, value: float) -> None:
    row = {
        "climate": {"temp": 21}, "list": [7, 8, {"deep": 9}], "a.b": 3, "a": {"c.d": 4}, "acc_x[mg]": 5, "acc_y": 6
    }  # fmt: skip
    assert values(read([row], wanted=(column,))) == [(value,)]


@pytest.mark.parametrize("column", ["climate", "climate.", "climate.temp.x", "list.3", "list.-1", "list.x", "", "."])
def test_a_path_that_leads_nowhere_is_a_missing_value(column: str) -> None:
    row = {"climate": {"temp": 21}, "list": [7, 8]}
    assert values(read([row], wanted=(column,))) == [None]


def test_fields_say_where_a_column_stands_and_the_others_are_found_by_their_own_names() -> None:
    row = {"climate": {"temp": 21}, "humidity": 40}
    paths = {"temperature": "climate.temp"}
    assert values(read([row], wanted=("humidity", "temperature"), paths=paths)) == [(40.0, 21.0)]
    assert values(read([row], paths=paths)) == [(21.0,)]


def test_a_misspelled_column_names_what_there_is() -> None:
    (item,) = read([{"temperature": 1, "humidity": 2}], wanted=("temprature",))
    assert isinstance(item, Unusable)
    assert "no temprature (did you mean temperature?); it has temperature, humidity" in item.detail


def test_a_source_of_fixed_columns_refuses_others_at_once() -> None:
    check_columns(("accel_x[m/s2]",), ("accel_x", "accel_y"), "lsm6ds")
    with pytest.raises(SourceError, match=r"lsm6ds has no acel_y \(did you mean accel_y\?\); it has accel_x, accel_y"):
        check_columns(("accel_x", "acel_y"), ("accel_x", "accel_y"), "lsm6ds")


# --- missing values -----------------------------------------------------------------------------------------

MISSING: list[object] = [None, "", "nan", "-", NAN, math.inf, 10**400, [], {}, "1,5"]


@pytest.mark.parametrize("value", MISSING, ids=lambda value: repr(value)[:12])
def test_by_default_a_row_with_a_missing_value_is_left_out_and_says_which(value: object) -> None:
    items = read([{"a": 1, "b": 2}, {"a": 1, "b": value}, {"a": 3, "b": 4}])
    assert values(items) == [(1.0, 2.0), None, (3.0, 4.0)]
    assert isinstance(items[1], Unusable)
    assert items[1].detail.startswith("1: expected a number as b, found ")


@pytest.mark.parametrize("value", MISSING, ids=lambda value: repr(value)[:12])
def test_a_missing_value_can_be_the_one_before_or_zero(value: object) -> None:
    rows: list[Cells] = [{"a": 1, "b": 2}, {"a": value, "b": 3}, {"a": value, "b": value}]
    assert values(read(rows, RowOptions(missing="hold"))) == [(1.0, 2.0), (1.0, 3.0), (1.0, 3.0)]
    assert values(read(rows, RowOptions(missing="zero"))) == [(1.0, 2.0), (0.0, 3.0), (0.0, 0.0)]


def test_without_a_value_before_there_is_nothing_to_hold() -> None:
    options = RowOptions(missing="hold")
    items = read([{"a": 1}, {"b": 2}, {"b": 3}], options, ("a", "b"))
    assert values(items) == [None, (1.0, 2.0), (1.0, 3.0)]
    assert isinstance(items[0], Unusable)
    assert "no value before it to hold" in items[0].detail


# --- gaps ---------------------------------------------------------------------------------------------------


def test_a_longer_pause_than_allowed_is_a_gap_and_the_same_pause_is_not() -> None:
    items = read([[1], [2], [3], [4]], RowOptions(max_gap_s=10), times_s=[0, 10, 20.5, 30])
    assert gaps(items) == [False, False, True, False]


def test_a_gap_is_told_with_the_first_row_behind_it_that_can_be_used() -> None:
    items = read([[1], [None], [None], [4], [5]], RowOptions(max_gap_s=10), times_s=[0, 100, 101, 102, 103])
    assert values(items) == [(1.0,), None, None, (4.0,), (5.0,)]
    assert gaps(items) == [False, True, False]


def test_what_was_measured_before_a_gap_is_not_held_and_what_came_behind_it_is() -> None:
    rows = [{"a": 1, "b": 1}, {"a": 2}, {"b": 3}, {"b": 4}]
    items = read(rows, RowOptions(missing="hold", max_gap_s=10), ("a", "b"), times_s=[0, 50, 51, 52])
    assert values(items) == [(1.0, 1.0), None, (2.0, 3.0), (2.0, 4.0)]
    assert gaps(items) == [False, True, False]


def test_a_recording_whose_time_goes_back_begins_anew_and_one_that_stands_still_does_not() -> None:
    rows = [[1], [2], [3], [4]]
    assert gaps(read(rows, times_s=[5, 5, 4, 5], ordered=True)) == [False, False, True, False]
    assert gaps(read(rows, times_s=[5, 5, 4, 5])) == [False] * 4


def test_without_times_nothing_is_a_gap() -> None:
    assert gaps(read([[1], [2]], RowOptions(max_gap_s=1))) == [False, False]


# --- whatever comes -----------------------------------------------------------------------------------------

CELL = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
ROW = st.one_of(st.lists(CELL, max_size=4), st.dictionaries(st.text(max_size=3), CELL, max_size=4))
NAMES = st.lists(st.text(max_size=4), max_size=3, unique=True).map(tuple)
STREAM = st.lists(st.tuples(ROW, st.one_of(st.none(), st.floats(0, 1e6)), st.booleans()), max_size=8)


@given(
    stream=STREAM,
    columns=NAMES,
    wanted=NAMES,
    missing=st.sampled_from(["skip", "hold", "zero"]),
    max_gap_s=st.one_of(st.none(), st.floats(0.1, 100)),
    ordered=st.booleans(),
)
def test_any_rows_give_finite_samples_of_one_width_or_are_unusable(
    *,
    stream: list[tuple[Cells, float | None, bool]],
    columns: tuple[str, ...],
    wanted: tuple[str, ...],
    missing: Literal["skip", "hold", "zero"],
    max_gap_s: float | None,
    ordered: bool,
) -> None:
    reader = RowReader(RowOptions(columns=columns, missing=missing, max_gap_s=max_gap_s), ordered=ordered)
    gap_is_due = False
    for cells, time_s, after_gap in stream:
        item = reader.read(RawRow("row", 0.0, cells, time_s, after_gap), Wanted(wanted))
        gap_is_due = gap_is_due or after_gap
        if isinstance(item, Unusable):
            assert item.detail
            continue
        assert item.channels == wanted
        assert all(math.isfinite(value) for value in item.values)
        if columns or wanted:
            assert len(item.values) == len(columns or wanted)
        assert item.after_gap or not gap_is_due
        gap_is_due = False
