"""Golden vectors survive the trip, and nothing else gets in."""

import io
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.chunks import CHUNK_BYTES, build_index
from edge_agent.release.golden import GoldenVectors, format_golden, parse_golden

PICTURE = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
SCORES = np.array([[0.25, 0.75]], np.float32)
VECTORS = GoldenVectors(((PICTURE,), (PICTURE[:, ::-1],)), ((SCORES,), (SCORES[:, ::-1],)))


def test_what_is_written_is_read_again() -> None:
    found = parse_golden(format_golden(VECTORS))
    assert len(found) == 2
    for expected, read in zip((*VECTORS.inputs, *VECTORS.outputs), (*found.inputs, *found.outputs), strict=True):
        assert len(expected) == len(read)
        for one, other in zip(expected, read, strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_scalars_bools_and_several_tensors_are_kept() -> None:
    vectors = GoldenVectors(
        ((np.array(True), np.zeros((0, 2), np.int64), np.array([1.5], ">f4")),), ((np.array(2, np.float32), SCORES),)
    )
    found = parse_golden(format_golden(vectors))
    assert [array.shape for array in found.inputs[0]] == [(), (0, 2), (1,)]
    assert found.inputs[0][2].tolist() == [1.5]
    assert found.outputs[0][0] == 2


def test_the_same_vectors_are_the_same_bytes() -> None:
    assert format_golden(VECTORS) == format_golden(parse_golden(format_golden(VECTORS)))


def test_numpy_reads_it_too() -> None:
    with np.load(io.BytesIO(format_golden(VECTORS)), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["input_0_0"], PICTURE)
        assert np.array_equal(arrays["output_1_0"], SCORES[:, ::-1])


def test_other_answers_leave_the_chunks_of_the_inputs_as_they_are() -> None:
    inputs = tuple((np.random.default_rng(seed).integers(0, 255, (1, 200, 200, 3), np.uint8),) for seed in range(4))
    one = format_golden(GoldenVectors(inputs, ((SCORES,),) * 4))
    other = format_golden(GoldenVectors(inputs, ((SCORES[:, ::-1],),) * 4))
    chunks = [build_index({"golden.npz": content}).members["golden.npz"][1] for content in (one, other)]
    assert len(one) == len(other) > 7 * CHUNK_BYTES
    assert chunks[0][:-1] == chunks[1][:-1]
    assert chunks[0][-1] != chunks[1][-1]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ((), ()),
        (((PICTURE,),), ()),
        (((PICTURE,), ()), ((SCORES,), (SCORES,))),
        (((PICTURE,),), ((SCORES.astype(np.float64),),)),
        (((np.array(["text"]),),), ((SCORES,),)),
        (((),), ((SCORES,),)),
    ],
)
def test_what_is_no_set_of_vectors_cannot_be_made(inputs: object, outputs: object) -> None:
    with pytest.raises(ValueError, match="golden"):
        GoldenVectors(inputs, outputs)  # type: ignore[arg-type]


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name + ".npy", content)
    return buffer.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def good() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, SCORES)
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([object], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        archive(),
        archive(input_0_0=good()),
        archive(input_0_0=good(), output_0_0=good(), extra=good()),
        archive(input_0_0=good(), output_1_0=good()),
        archive(input_0_0=pickled(), output_0_0=good()),
        archive(input_0_0=npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"x" * 8), output_0_0=good()),
        archive(
            input_0_0=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"), output_0_0=good()
        ),
        archive(input_0_0=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), output_0_0=good()),
        archive(input_0_0=npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", b"1234"), output_0_0=good()),
        archive(input_0_0=npy("__import__('os').abort()"), output_0_0=good()),
        archive(input_0_0=npy("[" * 5000), output_0_0=good()),
        archive(input_0_0=npy("7"), output_0_0=good()),
    ],
)
def test_what_is_no_golden_file_is_an_artifact_error(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"golden\.npz") as caught:
        parse_golden(content)
    assert caught.value.reason is Reason.BAD_MANIFEST


def test_a_compressed_member_is_refused_for_it_could_be_a_bomb() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("input_0_0.npy", bytes(10_000_000))
    with pytest.raises(ArtifactError, match="compressed"):
        parse_golden(buffer.getvalue())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_golden_file_gives_vectors_or_an_artifact_error(data: st.DataObject) -> None:
    content = bytearray(format_golden(VECTORS))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with suppress(ArtifactError):
        parse_golden(bytes(content[: cut or None]))
