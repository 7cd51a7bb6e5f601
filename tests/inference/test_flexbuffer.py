"""Options of custom operators, as flexbuffers of a real model and of Google's own writer."""

from contextlib import suppress
from typing import Any

import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inference.flatbuffer import DamagedError
from edge_agent.inference.flexbuffer import read_integer


def written(tree: Any) -> bytes:
    return bytes(flexbuffers.Dumps(tree))


@given(st.dictionaries(st.text("abcdefgh_", min_size=1, max_size=12), st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_every_integer_of_a_map_is_read(tree: dict[str, int]) -> None:
    content = written(tree)
    assert {key: read_integer(content, key) for key in tree} == tree
    assert read_integer(content, "not there") is None


def test_other_values_beside_it_do_no_harm() -> None:
    content = written({"a": 0.5, "list": [1, 2, 3], "num_classes": 90, "text": "x" * 300, "yes": True})
    assert read_integer(content, "num_classes") == 90
    assert read_integer(content, "text") is None


@pytest.mark.parametrize("content", [b"", b"\0", written([1, 2]), written(7)])
def test_what_is_no_map_is_damaged(content: bytes) -> None:
    with pytest.raises(DamagedError):
        read_integer(content, "a")


@given(st.binary(max_size=60), st.data())
def test_any_bytes_give_a_number_none_or_damage(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(written({"num_classes": 90, "x": 1.5}))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for each in (content, bytes(damaged)):
        with suppress(DamagedError):
            read_integer(each, "num_classes")
