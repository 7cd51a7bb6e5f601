"""CSV text as sensors and spreadsheets write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import SourceError
from edge_agent.transform.rows import Row, parse_number, parse_rows, parse_time_s

TEXT = """# a comment

acc_x[mg],acc_y[mg],acc_z[mg]
1,2,3
-4.5,5e1, 6
"""


def values(text: str, columns: tuple[str, ...] = ()) -> list[tuple[float, ...] | None]:
    return [row.values for row in parse_rows(text.splitlines(), columns)]


def test_rows_are_read_in_order_of_the_file() -> None:
    assert values(TEXT) == [(1, 2, 3), (-4.5, 50, 6)]


def test_columns_are_found_by_name_with_or_without_their_unit() -> None:
    assert values(TEXT, ("acc_z", "acc_x[mg]")) == [(3, 1), (6, -4.5)]


def test_a_missing_column_is_named_with_the_nearest_one() -> None:
    with pytest.raises(SourceError, match=r"acc_u \(did you mean acc_\w\?\).*acc_x\[mg\]") as caught:
        values(TEXT, ("acc_x", "acc_u"))
    assert caught.value.hint


def test_a_file_without_a_header_is_all_rows() -> None:
    assert values("1,2\n3,4\n") == [(1, 2), (3, 4)]


def test_a_file_without_a_header_needs_as_many_columns_as_are_wanted() -> None:
    assert values("1,2\n", ("x", "y")) == [(1, 2)]
    with pytest.raises(SourceError, match="no header and 2 columns"):
        values("1,2\n", ("x", "y", "z"))


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_the_usual_separators_are_known(separator: str) -> None:
    assert values(f"x{separator}y\n1{separator}2\n") == [(1, 2)]


def test_a_bad_row_says_what_is_wrong_and_the_next_one_is_read() -> None:
    rows = list(parse_rows(["x,y", "1,oops", "1", "nan,2", "3,4"]))
    assert rows[0] == Row(2, None, "expected a number, found 'oops'")
    assert rows[1] == Row(3, None, "expected 2 columns, found 1")
    assert rows[2] == Row(4, None, "expected a number, found 'nan'")
    assert rows[3] == Row(5, (3.0, 4.0))


def test_a_bad_cell_in_a_column_that_is_not_wanted_does_no_harm() -> None:
    assert values("time,x\nnow,1\n", ("x",)) == [(1,)]


def test_a_file_of_nothing_is_a_source_error() -> None:
    with pytest.raises(SourceError, match="no rows"):
        values("# only a comment\n")


def test_a_time_column_is_none_of_all_columns() -> None:
    text = "time,x,y\nnoon,1,2\n"
    assert [row.values for row in parse_rows(text.splitlines(), time_column="time")] == [(1, 2)]
    assert [row.values for row in parse_rows(text.splitlines(), ("y",), time_column="time")] == [(2,)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5),
        ("2014-02-14 14:27:00", 1392388020.0),
        ("2014-02-14T14:27:00Z", 1392388020.0),
        ("2014-02-14T15:27:00.5+01:00", 1392388020.5),
        ("2014-02-14", 1392336000.0),
        ("14:27", None),
        ("nan", None),
        ("", None),
    ],
)
def test_a_time_is_seconds_or_a_date_and_time(text: str, seconds: float | None) -> None:
    assert parse_time_s(text) == seconds


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_none(text: str) -> None:
    parse_time_s(text)
    assert parse_number(text) is None or parse_time_s(text) == parse_number(text)


@given(st.text(max_size=200), st.lists(st.text(max_size=5), max_size=3))
def test_any_text_gives_rows_or_a_source_error(text: str, columns: list[str]) -> None:
    try:
        rows = list(parse_rows(text.splitlines(), columns))
    except SourceError:
        return
    assert all((row.values is None) == bool(row.problem) for row in rows)
