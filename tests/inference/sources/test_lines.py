"""Lines out of what a descriptor gives in pieces, and rows out of lines."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import FrameError
from edge_agent.inference.sources.json_rows import parse_json_row, parse_line_row
from edge_agent.inference.sources.lines import MAX_LINE_BYTES, Lines
from tests.sim.clock import FakeClock


@contextmanager
def pipe_of_lines() -> Iterator[tuple[int, Lines]]:
    """Where to write, and what comes out. The writing end is left to the test."""
    ours, theirs = os.pipe()
    try:
        yield theirs, Lines(ours, FakeClock())
    finally:
        os.close(ours)


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_lines_are_the_same_however_they_come_in_pieces(pieces: list[bytes]) -> None:
    with pipe_of_lines() as (theirs, lines):
        found: list[bytes | None] = []
        for piece in pieces:
            os.write(theirs, piece)
            for _ in range(piece.count(b"\n")):
                found.append(lines.next(5))  # noqa: PERF401  # one after the other, as they come
        os.close(theirs)
        while (line := lines.next(5)) is not None:
            found.append(line)
        assert lines.next(5) is None
    expected = b"".join(pieces).split(b"\n")
    assert found == [line.removesuffix(b"\r") for line in (expected if expected[-1] else expected[:-1])]


def test_a_line_without_an_end_is_cut_and_the_next_one_is_whole() -> None:
    with pipe_of_lines() as (theirs, lines):
        os.set_blocking(theirs, False)
        rest = b"x" * (3 * MAX_LINE_BYTES) + b"\nnext\n"
        found: list[bytes | None] = []
        while len(found) < 2:
            if rest:
                rest = rest[os.write(theirs, rest[:30_000]) :]
            try:
                found.append(lines.next(0))
            except TimeoutError:
                continue
        os.close(theirs)
    assert found == [b"x" * (MAX_LINE_BYTES + 1), b"next"]
    with pytest.raises(FrameError, match="longer than 64000 bytes"):
        parse_json_row(found[0] or b"")


def test_a_wait_without_a_line_times_out_and_keeps_what_has_come_of_it() -> None:
    with pipe_of_lines() as (theirs, lines):
        os.write(theirs, b"half a li")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                lines.next(0.01)
        os.write(theirs, b"ne\n")
        assert lines.next(5) == b"half a line"
        os.close(theirs)


# --- rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b'{"a": 1, "b": {"c": [1]}}', {"a": 1, "b": {"c": [1]}}),
        (b"[1, 2.5, null]", [1, 2.5, None]),
        (b"\xef\xbb\xbf[1]", [1]),
        (b" 21.5 ", [21.5]),
    ],
)
def test_json_rows_are_objects_lists_and_single_numbers(content: bytes, row: object) -> None:
    assert parse_json_row(content) == row


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON, found ''"),
        (b"{broken", "expected JSON, found '{broken'"),
        (b"\xff\xfe", "text in UTF-8"),
        (b'"on"', "found a text"),
        (b"true", "found true"),
        (b"null", "found null"),
        (b"[" * 50_000, "nested too deep"),
        (b"1" * 5_000, "nested too deep or too long"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_that_is_no_row_says_so(content: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        parse_json_row(content)


@pytest.mark.parametrize("content", [b"1,2.5,3", b"1;2.5;3", b"1 2.5\t3", b"  1 , 2.5 ,3,\r", b"[1,2.5,3]"])
def test_a_line_of_numbers_may_have_any_of_the_usual_separators(content: bytes) -> None:
    row = parse_line_row(content, ("x", "y", "z"))
    assert isinstance(row, dict)
    assert [float(row[name]) for name in "xyz"] == [1, 2.5, 3]
    assert [float(str(value)) for value in parse_line_row(content)] == [1, 2.5, 3]


def test_a_missing_number_of_a_line_stays_missing() -> None:
    assert parse_line_row(b"1,,3") == ["1", "", "3"]
    assert parse_line_row(b"1,", ("x", "y")) == {"x": "1", "y": ""}


def test_a_line_of_another_length_than_its_names_is_no_row() -> None:
    with pytest.raises(FrameError, match=r"expected 2 values \(x, y\), found 3: '1 2 3'"):
        parse_line_row(b"1 2 3", ("x", "y"))


def test_json_names_its_values_itself() -> None:
    assert parse_line_row(b'{"t": 1}', ("x", "y")) == {"t": 1}


@given(content=st.one_of(st.binary(max_size=100), st.text(max_size=60).map(str.encode)), names=st.lists(st.text()))
def test_whatever_a_line_says_it_is_a_row_or_a_frame_error(content: bytes, names: list[str]) -> None:
    for parse in (parse_json_row, lambda line: parse_line_row(line, names)):
        try:
            row = parse(content)
        except FrameError:
            continue
        assert isinstance(row, dict | list)
