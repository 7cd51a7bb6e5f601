"""Motion JPEG taken apart: as the standard has it, as cameras have it, and as nobody should."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inference.sources.multipart import MultipartError, Parts, boundary_of

CONTENTS = [b"first\r\n--not the boundary\r\n", b"second\n", b"third"]


def parts_of(stream: bytes, boundary: bytes = b"frame", *, piece: int = 7, max_bytes: int = 10_000) -> list[bytes]:
    """All parts, with the stream coming in pieces."""
    source = io.BytesIO(stream)
    parts = Parts(lambda size: source.read(min(size, piece)), boundary, max_bytes)
    found: list[bytes] = []
    while (part := parts.next()) is not None:
        found.append(part)
    return found


def as_standard(content: bytes) -> bytes:
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(content), content)


def without_length(content: bytes) -> bytes:
    return b"--frame\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n" % content


def with_bare_line_feeds(content: bytes) -> bytes:
    return b"--frame\nContent-type: image/jpeg\ncontent-length:%d\n\n%s\n" % (len(content), content)


def with_blank_lines_between(content: bytes) -> bytes:
    return b"\r\n\r\n" + as_standard(content) + b"\r\n"


def without_dashes(content: bytes) -> bytes:
    return as_standard(content)[2:]


@pytest.mark.parametrize("piece", [1, 7, 4096])
@pytest.mark.parametrize(
    "write", [as_standard, without_length, with_bare_line_feeds, with_blank_lines_between, without_dashes]
)
def test_each_camera_has_its_own_way_and_all_are_understood(write: object, piece: int) -> None:
    stream = b"".join(write(content) for content in CONTENTS) + b"--frame--\r\n"  # type: ignore[operator]  # see above
    assert parts_of(stream, piece=piece) == CONTENTS


def test_a_boundary_that_is_named_with_its_dashes_is_found() -> None:
    boundary = boundary_of("multipart/x-mixed-replace; boundary=--frame")
    assert boundary == b"frame"
    assert parts_of(b"".join(map(as_standard, CONTENTS)), boundary) == CONTENTS


def test_a_boundary_that_is_not_named_is_any_line_of_dashes() -> None:
    assert boundary_of("multipart/x-mixed-replace") == b""
    assert parts_of(b"".join(map(as_standard, CONTENTS)), b"") == CONTENTS


@pytest.mark.parametrize("content_type", ["image/jpeg", "text/html; charset=utf-8", "", "video/mp2t"])
def test_other_answers_are_told_apart(content_type: str) -> None:
    assert boundary_of(content_type) is None


def test_a_part_that_is_cut_off_is_not_given() -> None:
    assert parts_of(as_standard(b"whole") + as_standard(b"half of it")[:-8]) == [b"whole"]


@pytest.mark.parametrize(
    "stream",
    [
        b"x" * 20_000,
        b"no boundary\n" * 2000,
        b"--frame\r\nContent-Length: 999999\r\n\r\n",
        b"--frame\r\n" + b"name: value\r\n" * 1000,
        b"--frame\r\n\r\n" + b"x" * 20_000,
    ],
    ids=["one line", "no boundary", "too large", "headers", "no end"],
)
def test_what_would_fill_the_memory_is_refused(stream: bytes) -> None:
    with pytest.raises(MultipartError):
        parts_of(stream, piece=4096)


@given(
    stream=st.lists(
        st.one_of(st.binary(max_size=30), st.sampled_from([b"--frame", b"\r\n", b"\n", b"Content-Length: 5"]))
    ).map(b"".join),
    boundary=st.sampled_from([b"frame", b""]),
)
def test_no_stream_breaks_out_of_its_error(stream: bytes, boundary: bytes) -> None:
    try:
        found = parts_of(stream, boundary, max_bytes=100)
    except MultipartError:
        return
    assert sum(map(len, found)) <= len(stream)


@given(text=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60))
def test_no_content_type_breaks_it(text: str) -> None:
    boundary_of(text)
    boundary_of(f"multipart/x-mixed-replace; boundary={text}")
