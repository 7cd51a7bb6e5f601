"""Label files as they are found in the wild."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.tasks.labels import format_labels, parse_labels


def test_one_label_a_line() -> None:
    assert parse_labels(b"cat\ndog\r\n  bird \n\n") == ("cat", "dog", "bird")


def test_an_empty_line_between_labels_is_a_label() -> None:
    assert parse_labels(b"cat\n\ndog\n") == ("cat", "", "dog")


def test_numbered_lines_lose_their_numbers() -> None:
    assert parse_labels(b"0 good\n1 bad\n") == ("good", "bad")


def test_numbered_lines_may_leave_out_indices() -> None:
    assert parse_labels(b"0  person\n2  car\n") == ("person", "", "car")


@pytest.mark.parametrize("content", [b"7 up\ncola\n", b"0\n1\n2\n", b"1 a\n0 b\n", b"0 a\n0 b\n", b"99999999 a\n"])
def test_numbers_that_are_no_index_belong_to_the_label(content: bytes) -> None:
    assert parse_labels(content) == tuple(content.decode().splitlines())


def test_a_byte_order_mark_is_no_part_of_the_first_label() -> None:
    assert parse_labels(b"\xef\xbb\xbfcat\n") == ("cat",)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b"])
def test_what_is_not_text_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="text"):
        parse_labels(content)


@given(st.lists(st.from_regex(r"[a-z][a-z ]*[a-z]", fullmatch=True), max_size=10))
def test_what_is_written_is_read_again(labels: list[str]) -> None:
    assert parse_labels(format_labels(tuple(labels))) == tuple(labels)


@given(st.binary(max_size=200))
def test_any_bytes_give_labels_or_a_value_error(content: bytes) -> None:
    with suppress(ValueError):
        assert all(isinstance(label, str) for label in parse_labels(content))
