"""Samples on the wire: cut, put together, and nothing but MessageError of whatever else comes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.messages import MAX_PAYLOAD_BYTES, MessageError
from edge_agent.link.samples import (
    MAX_SAMPLE_BYTES,
    PART_BYTES,
    Answered,
    Ask,
    LeftOut,
    Part,
    format_answered,
    format_ask,
    parse_ask,
    parse_sample,
    parts_of,
    split_sample,
)

NAME = "20250615T150640.250Z.jpg"
LINE = b'{"input":"20250615T150640.250Z.jpg"}'


def parts(content: bytes, line: bytes = LINE) -> list[Part]:
    found = [parse_sample(payload) for payload in parts_of("birds", NAME, line, content)]
    return [part for part in found if isinstance(part, Part)]


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, 3 * PART_BYTES + 7])
def test_a_sample_comes_out_as_it_went_in(size: int) -> None:
    content = (b"picture\n" * (size // 8 + 1))[:size]
    payloads = list(parts_of("birds", NAME, LINE, content))
    assert max(map(len, payloads)) <= MAX_PAYLOAD_BYTES
    found = parts(content)
    assert [(part.part, part.parts) for part in found] == [(number, len(found)) for number in range(len(found))]
    assert {(part.pipeline, part.name) for part in found} == {("birds", NAME)}
    assert split_sample(b"".join(part.content for part in found), found[0].digest) == (LINE, content)


def test_one_that_is_too_large_is_not_cut() -> None:
    list(parts_of("birds", NAME, b"", bytes(MAX_SAMPLE_BYTES - 1)))
    with pytest.raises(MessageError, match="at most 4000000 are sent"):
        list(parts_of("birds", NAME, b"", bytes(MAX_SAMPLE_BYTES)))


def test_other_bytes_than_were_sent_are_no_sample() -> None:
    (part,) = parts(b"picture")
    with pytest.raises(MessageError, match="the digest is another"):
        split_sample(part.content + b"x", part.digest)


def test_an_ask_and_the_end_of_an_answer_are_read_back() -> None:
    ask = Ask("edgectl-1", 20, {"birds": NAME})
    assert parse_ask(format_ask(ask)) == ask
    answered = Answered("edgectl-1", {"birds": (NAME,)}, {"birds": 3}, (LeftOut("birds", NAME, "too large"),))
    assert parse_sample(format_answered(answered)) == answered


HEAD = {"schema": 1, "pipeline": "birds", "name": NAME, "part": 0, "parts": 1, "digest": "0" * 64}


@pytest.mark.parametrize(
    "wrong",
    [
        {"pipeline": "../birds"}, {"pipeline": ""}, {"name": "x" * 65}, {"digest": "0"}, {"part": -1}, {"part": 1},
        {"parts": 1_000_000}, {"parts": 0}, {"part": "0"}, {"name": None},
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    assert isinstance(parse_sample(json.dumps(HEAD).encode() + b"\nx"), Part)
    with pytest.raises(MessageError):
        parse_sample(json.dumps(HEAD | wrong).encode() + b"\nx")


@pytest.mark.parametrize("content", [b"", bytes(PART_BYTES + 1)])
def test_a_part_of_another_size_is_refused(content: bytes) -> None:
    with pytest.raises(MessageError):
        parse_sample(json.dumps(HEAD).encode() + b"\n" + content)


@pytest.mark.parametrize(
    "wrong", [{"id": "a b"}, {"most": 0}, {"most": "1"}, {"after": {str(n): "" for n in range(65)}}]
)
def test_an_ask_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    tree = {"schema": 1, "id": "a", "most": 1, "after": {}}
    assert parse_ask(json.dumps(tree).encode()) == Ask("a", 1)
    with pytest.raises(MessageError):
        parse_ask(json.dumps(tree | wrong).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["schema", "pipeline", "name", "part", "parts", "digest", "ask", "sent", "left", "left_out", "id"]
)


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda tree, rest: json.dumps(tree).encode() + rest,
        st.dictionaries(KEYS, JSON),
        st.sampled_from([b"", b"\n", b"\nx"]),
    )
)
def test_of_anything_else_only_our_own_error_comes(payload: bytes) -> None:
    for parse in (parse_sample, parse_ask):
        try:
            parse(payload)
        except MessageError:
            continue
