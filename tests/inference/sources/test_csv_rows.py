"""CSV files as a source: columns, damaged rows, times, and real recordings."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.row_sources import CsvSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Sample, Unusable, Wanted
from edge_agent.transform.signal import Windower
from tests.inference.sources.rows import gaps, open_source, take_all, unusable, values

LOG = "# wrist\n\ntime,acc_x[mg],acc_y[mg]\nnoon,1,2\n1pm,3,4\n2pm,5,6\n"


def write(path: Path, text: str) -> CsvSource:
    path.write_text(text, encoding="utf-8")
    return CsvSource("csv", path)


def names(items: list[Any]) -> list[str]:
    return [item.name for item in items]


def test_rows_give_the_columns_the_model_names_whatever_their_unit(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", LOG)) as source:
        rows = take_all(source, ("acc_y", "acc_x"))
    assert values(rows) == [(2.0, 1.0), (4.0, 3.0), (6.0, 5.0)]
    assert names(rows) == ["log.csv:4", "log.csv:5", "log.csv:6"]
    assert all(isinstance(row, Sample) and row.channels == ("acc_y", "acc_x") for row in rows)


def test_columns_of_the_configuration_come_before_the_model_s(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", LOG)
    with open_source(CsvSource("csv", tmp_path / "log.csv", columns=("acc_y",))) as source:
        assert values(take_all(source, ("x",))) == [(2.0,), (4.0,), (6.0,)]


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", LOG)) as source, pytest.raises(SourceError, match="acc_x") as caught:
        source.take(Wanted(("acx_x",)))
    assert "acx_x" in str(caught.value)
    assert caught.value.hint


def test_a_bad_row_is_named_by_its_line_and_skipped(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", "a,b\n1,2\n3\n4,broken\n5,6\n")) as source:
        items = take_all(source)
    assert values(items) == [(1.0, 2.0), (5.0, 6.0)]
    assert unusable(items) == [
        "log.csv:3: expected 2 columns, found 1",
        "log.csv:4: expected a number, found 'broken'",
    ]


def test_other_columns_can_be_asked_for_on_the_way(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", LOG)) as source:
        assert values(take_all(source, ("acc_x",), at_most=1)) == [(1.0,)]
        rest = take_all(source, ("acc_y",))
    assert values(rest) == [(4.0,), (6.0,)]
    assert names(rest) == ["log.csv:5", "log.csv:6"]


def test_a_file_without_a_header_goes_on_with_its_next_row_after_such_a_change(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "log.csv", "1,2\n3,4\n5,6\n")) as source:
        assert values(take_all(source, (), at_most=1)) == [(1.0, 2.0)]
        assert values(take_all(source, ("a", "b"))) == [(3.0, 4.0), (5.0, 6.0)]


def test_a_repeating_file_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", LOG)
    with open_source(CsvSource("csv", tmp_path / "log.csv", repeat=True)) as source:
        rows = take_all(source, ("acc_x",), at_most=5)
    assert values(rows) == [(1.0,), (3.0,), (5.0,), (1.0,), (3.0,)]
    assert names(rows)[3] == "log.csv:4"
    assert not any(gaps(rows))


def test_a_repeating_file_without_a_usable_row_is_an_error_and_not_an_endless_loop(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", "a,b\nx,y\n")
    with open_source(CsvSource("csv", tmp_path / "log.csv", repeat=True)) as source:
        assert isinstance(source.take(Wanted()), Unusable)
        with pytest.raises(SourceError, match="none of its rows"):
            source.take(Wanted())


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"", "no rows"), (b"a,b\n\xff\xfe,1\n", "utf-8")]
)
def test_a_file_that_is_no_csv_is_told_with_a_hint(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught, open_source(CsvSource("csv", path)) as source:
        take_all(source)
    assert caught.value.hint


# --- missing values and times -------------------------------------------------------------------------------

HOLES = "a,b\n1,2\n,3\nnan,4\n5\n6,\n"


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("skip", [(1, 2)]),
        ("hold", [(1, 2), (1, 3), (1, 4), (6, 4)]),
        ("zero", [(1, 2), (0, 3), (0, 4), (6, 0)]),
    ],
)
def test_missing_values_are_skipped_held_or_zero_and_a_damaged_row_is_always_left_out(
    tmp_path: Path, missing: Any, expected: list[tuple[float, ...]]
) -> None:
    write(tmp_path / "log.csv", HOLES)
    with open_source(CsvSource("csv", tmp_path / "log.csv", missing=missing)) as source:
        items = take_all(source)
    assert values(items) == expected
    assert "log.csv:5: expected 2 columns, found 1" in unusable(items)
    assert len(items) == 5


@pytest.mark.parametrize(
    "times",
    [
        ["0", "1", "2.5", "60", "61"],
        ["2026-01-01 00:00:00", "2026-01-01 00:00:01", "2026-01-01 00:00:02.5", "2026-01-01 00:01", "2026-01-01 00:01"],
        ["2026-01-01T00:00:00Z", "2026-01-01T01:00:01+01:00", "2026-01-01T00:00:02Z", "20260101T0001", "20260101T0001"],
    ],
    ids=["seconds", "date and time", "with a zone"],
)
def test_a_gap_in_the_time_column_begins_a_window_anew_and_the_column_is_no_channel(
    tmp_path: Path, times: list[str]
) -> None:
    write(tmp_path / "log.csv", "x,time\n" + "".join(f"{number},{time}\n" for number, time in enumerate(times)))
    with open_source(CsvSource("csv", tmp_path / "log.csv", time_column="time", max_gap_s=5)) as source:
        items = take_all(source)
    assert values(items) == [(0.0,), (1.0,), (2.0,), (3.0,), (4.0,)]
    assert gaps(items) == [False, False, False, True, False]


def test_a_repeated_file_with_times_is_no_endless_recording(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", "time,x\n0,1\n1,2\n")
    with open_source(CsvSource("csv", tmp_path / "log.csv", time_column="time", repeat=True)) as source:
        assert gaps(take_all(source, at_most=4)) == [False, False, True, False]


def test_a_time_that_is_none_is_told_and_costs_its_row(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", "time,x\n0,1\nlater,2\n2,3\n")
    with open_source(CsvSource("csv", tmp_path / "log.csv", time_column="time", missing="zero")) as source:
        items = take_all(source)
    assert values(items) == [(1.0,), (3.0,)]
    assert unusable(items) == ["log.csv:3: expected seconds or a date and time (ISO 8601) as time, found 'later'"]


def test_a_time_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    for text in ("stamp,x\n0,1\n", "0,1\n1,2\n"):
        write(tmp_path / "log.csv", text)
        config = CsvSource("csv", tmp_path / "log.csv", time_column="stamps")
        with open_source(config) as source, pytest.raises(SourceError, match="no column stamps") as caught:
            source.take(Wanted())
        assert caught.value.hint


@given(
    content=st.binary(max_size=200),
    wanted=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    time_column=st.one_of(st.none(), st.text(max_size=3)),
)
def test_no_file_breaks_out_of_source_error(
    tmp_path_factory: Any, content: bytes, wanted: tuple[str, ...], time_column: str | None
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "log.csv"
    path.write_bytes(content)
    try:
        with open_source(CsvSource("csv", path, time_column=time_column, max_gap_s=1)) as source:
            items = take_all(source, wanted)
    except SourceError:
        return
    assert all(isinstance(item, Sample | Unusable) for item in items)


# --- real recordings ----------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_a_real_recording_gives_all_its_rows(shared_data: Path) -> None:
    path = shared_data / "sensor/har/1_walking/log_0.csv"
    with open_source(CsvSource("csv", path)) as source:
        rows = take_all(source, ("acc_x", "acc_y", "acc_z"))
    assert values(rows)[0] == (-846.03534, 318.21255, 119.35533)
    assert len(values(rows)) == len(rows) == len(path.read_text().splitlines()) - 3  # comment, blank, header


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["machine_temperature_system_failure.csv", "ec2_cpu_utilization_fe7f93.csv"])
def test_the_recordings_of_the_numenta_benchmark_have_the_rows_and_gaps_they_are_known_for(
    shared_data: Path, name: str
) -> None:
    checks = json.loads((shared_data / "expected.json").read_text())["checks"]
    check = next(each for each in checks if each["id"] == f"nab:{name}")
    config = CsvSource("csv", shared_data / check["data"], time_column="timestamp", max_gap_s=check["longest_gap_s"])
    with open_source(config) as source:
        rows = take_all(source)
    found = [value for (value,) in values(rows)]
    assert (len(found), len(rows)) == (check["rows"], check["rows"])
    assert (round(min(found), 3), round(max(found), 3)) == (check["min"], check["max"])
    # No pause is longer than that; what begins anew is where the time goes back.
    assert sum(gaps(rows)) == check["non_increasing_timestamps"]
    with open_source(CsvSource("csv", config.path, time_column="timestamp", max_gap_s=299)) as source:
        assert sum(gaps(take_all(source))) == len(found) - 1


@pytest.mark.shared_data
def test_no_window_reaches_across_the_hour_that_a_recording_has_twice(shared_data: Path) -> None:
    config = CsvSource(
        "csv", shared_data / "sensor/nab/machine_temperature_system_failure.csv", time_column="timestamp"
    )
    times = [datetime.fromisoformat(line.partition(",")[0]) for line in config.path.read_text().splitlines()[1:]]
    (backwards,) = [number for number in range(1, len(times)) if times[number] <= times[number - 1]]
    windower, windows = Windower(12, 12), 0
    with open_source(config) as source:
        for row in take_all(source):
            assert isinstance(row, Sample)
            if row.after_gap:
                windower.clear()
            windows += windower.push(row.values) is not None
    assert windows == backwards // 12 + (len(times) - backwards) // 12
