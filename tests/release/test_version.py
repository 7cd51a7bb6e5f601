"""Versions are compared as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.release.manifest import VERSION
from edge_agent.release.version import is_older

_VERSIONS = st.from_regex(VERSION, fullmatch=True)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.9", "1.10"),
        ("1.0.0", "1.0.1"),
        ("1", "1.0.1"),
        ("0.9.9", "1"),
        ("v1.2", "1.3"),
        ("2.0-rc1", "2.0"),
        ("2.0rc1", "2.0rc2"),
        ("1.9", "2.0-rc1"),
        ("2026-09-30", "2026-10-01"),
        ("1.0-1", "1.0-2"),
    ],
)
def test_the_older_one_is_told(older: str, newer: str) -> None:
    assert is_older(older, newer)
    assert not is_older(newer, older)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1"), ("1.0", "1.0.0"), ("v2", "2"), ("1.0+build5", "1.0+build9"), ("nightly", "1.0"), ("main", "nightly")],
)
def test_neither_is_older(one: str, other: str) -> None:
    assert not is_older(one, other)
    assert not is_older(other, one)


@given(_VERSIONS, _VERSIONS, _VERSIONS)
def test_it_is_an_order(one: str, two: str, three: str) -> None:
    assert not (is_older(one, two) and is_older(two, one))
    if is_older(one, two) and is_older(two, three):
        assert is_older(one, three)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_numbers_are_compared_part_by_part(one: list[int], two: list[int]) -> None:
    length = max(len(one), len(two))
    padded = [parts + [0] * (length - len(parts)) for parts in (one, two)]
    assert is_older(".".join(map(str, one)), ".".join(map(str, two))) == (padded[0] < padded[1])
