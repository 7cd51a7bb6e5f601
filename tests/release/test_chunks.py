"""Chunks: named by what they are, cut so that what did not change does not travel."""

import hashlib
import json
import zlib
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.chunks import (
    CHUNK_BYTES,
    Index,
    build_index,
    cut,
    digest_of_chunk,
    format_index,
    pack,
    parse_index,
    unpack,
)

MODEL = bytes(range(256)) * 600  # 153,600 bytes: three chunks
MEMBERS = {"manifest.json": b"{}", "model.tflite": MODEL}
INDEX = build_index(MEMBERS)
BLOBS = {chunk.digest: digest_of_chunk(chunk.digest.encode()) for chunk in INDEX.chunks()}
SEALED_INDEX = replace(INDEX, blobs=BLOBS)


def test_the_chunks_of_a_member_make_the_member() -> None:
    contents = {digest_of_chunk(chunk): chunk for member in MEMBERS.values() for chunk in cut(member)}
    rebuilt = {name: bytearray(len(member)) for name, member in MEMBERS.items()}
    for chunk in INDEX.chunks():
        assert len(contents[chunk.digest]) == chunk.size_bytes
        rebuilt[chunk.member][chunk.offset : chunk.offset + chunk.size_bytes] = contents[chunk.digest]
    assert rebuilt == MEMBERS
    assert INDEX.size_bytes == sum(map(len, MEMBERS.values()))


def test_a_longer_manifest_moves_none_of_the_models_chunks() -> None:
    assert (
        build_index({**MEMBERS, "manifest.json": b"{}" * 999}).members["model.tflite"] == INDEX.members["model.tflite"]
    )


def test_an_empty_member_has_no_chunks() -> None:
    assert build_index({"labels.txt": b""}).members["labels.txt"] == (0, ())


def test_an_index_is_read_as_it_was_written() -> None:
    assert parse_index(format_index(INDEX)) == INDEX
    assert format_index(INDEX) == format_index(build_index(dict(reversed(MEMBERS.items()))))


@given(st.binary(max_size=2000))
def test_what_is_packed_is_unpacked(content: bytes) -> None:
    assert unpack(pack(content), digest_of_chunk(content)) == content


def test_a_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    with pytest.raises(ArtifactError) as caught:
        unpack(bomb, hashlib.sha256(bytes(50_000_000)).hexdigest())
    assert caught.value.reason is Reason.CORRUPT_CHUNK


@given(st.binary(max_size=300))
def test_a_payload_that_is_not_the_chunk_is_refused(payload: bytes) -> None:
    with pytest.raises(ArtifactError) as caught:
        unpack(payload, digest_of_chunk(b"the chunk"))
    assert caught.value.reason is Reason.CORRUPT_CHUNK


@pytest.mark.parametrize(
    "members",
    [
        {"../escape": (1, ("0" * 64,))},
        {"model.tflite": (1, ())},
        {"model.tflite": (CHUNK_BYTES + 1, ("0" * 64,))},
        {"model.tflite": (-1, ())},
        {"model.tflite": (1, ("0" * 63,))},
        {"model.tflite": (1, ("G" * 64,))},
    ],
)
def test_an_index_that_describes_no_artifact_cannot_be_made(members: dict[str, tuple[int, tuple[str, ...]]]) -> None:
    with pytest.raises(ValueError, match=r"chunk|member"):
        Index(members)


def test_an_encrypted_index_is_read_back_and_names_a_blob_for_each_chunk() -> None:
    assert parse_index(format_index(SEALED_INDEX)) == SEALED_INDEX
    first, second, *_ = BLOBS
    wrong: tuple[dict[str, str], ...] = (
        {first: BLOBS[first]},
        {**BLOBS, "0" * 64: "1" * 64},
        {**BLOBS, first: BLOBS[second]},
        {**BLOBS, first: "x"},
    )
    for blobs in wrong:
        with pytest.raises(ValueError, match="blob"):
            replace(INDEX, blobs=blobs)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"chunk_bytes":1,"members":{}}',
        b'{"chunk_bytes":60000,"members":[]}',
        b'{"chunk_bytes":60000,"members":{"model.tflite":{"size":1e999,"chunks":[]}}}',
        b'{"chunk_bytes":60000,"members":{"model.tflite":{"size":0,"chunks":7}}}',
    ],
)
def test_what_is_no_index_is_an_artifact_error(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="index") as caught:
        parse_index(content)
    assert caught.value.reason is Reason.INTEGRITY


@given(st.data())
def test_a_changed_index_gives_an_index_or_an_artifact_error(data: st.DataObject) -> None:
    tree = json.loads(format_index(SEALED_INDEX))
    place = data.draw(st.sampled_from([tree, tree["members"], tree["members"]["model.tflite"], tree["blobs"]]))
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(values)
    with suppress(ArtifactError):
        parse_index(json.dumps(tree).encode())
