"""The page of `benchmarks.source_models`: it hides no row in which another tool is better."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.source_models_data import CASES
from benchmarks.source_models_page import OURS, TENSORFLOW, Row, format_page, parse_rows, shortfalls

PAGE = (Path(__file__).parent.parent.parent / "docs" / "converter-table.md").read_text(encoding="utf-8")
MINE = Row("a.h5", "int8", OURS, 1000, 20.0, 0.99, 7, 8, 1.0, 3.0)


def test_the_page_has_every_source_model_in_every_scheme() -> None:
    mine = {(row.model, row.scheme) for row in parse_rows(PAGE) if row.by == OURS}
    assert mine == {(case.name, scheme) for case in CASES for scheme in ("float32", "float16", "dynamic", "int8")}


def test_the_page_says_where_ours_is_not_better() -> None:
    rows = parse_rows(PAGE)
    assert len({row.by for row in rows}) == 3
    assert [line[2:] for line in PAGE.split("## Where")[1].splitlines() if line.startswith("* ")] == shortfalls(rows)


def test_what_is_printed_is_read_back() -> None:
    rows = [MINE, replace(MINE, by=TENSORFLOW, refused=True), replace(MINE, scheme="float32", snr_db=None, labeled=0)]
    rows[2] = replace(rows[2], right=0)
    assert parse_rows(format_page(rows, "")) == rows


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ({"size_bytes": 999}, "1 bytes more"),
        ({"snr_db": 20.1}, "SNR 0.1 dB lower"),
        ({"same": 1.0}, "same answers 0.990, theirs 1.000"),
        ({"right": 8}, "right answers 7, theirs 8"),
        ({"latency_ms": 0.9}, "latency 1.11 of theirs"),
    ],
)
def test_whatever_another_does_better_is_said(better: dict[str, float], words: str) -> None:
    other = replace(MINE, by=TENSORFLOW, **better)  # type: ignore[arg-type]  # floats for all
    assert shortfalls([MINE, other]) == [f"a.h5, int8, than TensorFlow: {words}"]


def test_equal_is_not_worse() -> None:
    assert shortfalls([MINE, replace(MINE, by=TENSORFLOW, latency_ms=0.96)]) == []
