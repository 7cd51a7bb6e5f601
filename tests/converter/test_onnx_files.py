"""What is read and refused of an ONNX file before any framework is loaded."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import ConversionError
from converter.frontends.contract import Wanted
from converter.frontends.onnx import convert_onnx
from converter.frontends.onnx_model.ends import find_ends
from converter.frontends.onnx_model.model import read_onnx
from converter.frontends.onnx_model.wire import length_prefixed
from converter.frontends.sizes import Declared, fix_sizes
from tests.converter.onnx_files import STRING, outside, write_onnx

FLOAT32 = np.dtype(np.float32)


def refused(path: Path, wanted: Wanted | None = None) -> str:
    with pytest.raises(ConversionError) as caught:
        convert_onnx(path, path.parent, wanted or Wanted())
    assert caught.value.hint
    return str(caught.value)


def test_a_file_is_read_with_its_weights_and_attributes(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    model = read_onnx(path)
    assert (model.opset, model.producer) == (17, "by hand")
    assert [node.operator for node in model.graph.nodes] == ["MatMul", "LeakyRelu"]
    assert model.graph.nodes[1].attributes == {"alpha": 0.25}
    assert model.graph.weights["w"].tolist() == [[0.5, 0.5]] * 4
    assert [(end.name, end.shape) for end in model.graph.inputs] == [("x", (1, 4))]


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write_onnx(tmp_path / "m.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    for size in range(1, len(whole)):
        cut.write_bytes(whole[:size])
        assert "not a whole ONNX file" in refused(cut)


@given(content=st.binary(max_size=200))
def test_garbage_raises_nothing_but_our_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.onnx"
    path.write_bytes(content)
    with pytest.raises(ConversionError):
        convert_onnx(path, path.parent, Wanted(inputs=("no such tensor",)))


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_one_damaged_byte_raises_nothing_but_our_error(
    place: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_onnx(tmp_path_factory.getbasetemp() / "damaged.onnx")
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    with pytest.raises(ConversionError):
        convert_onnx(path, path.parent, Wanted(inputs=("no such tensor",)))


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    broken = {"w": np.array([[np.nan, 1]] * 4, np.float32)}
    assert "1 weights hold NaN or Inf (w)" in refused(write_onnx(tmp_path / "m.onnx", weights=broken))


def test_a_missing_file_of_weights_is_named_and_none_outside_the_folder_is_read(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", weights={}, more=length_prefixed(5, outside("w", 8, "m.onnx.data")))
    assert "keeps its weights in m.onnx.data" in refused(path)
    (tmp_path / "m.onnx.data").write_bytes(bytes(32))
    assert read_onnx(path).graph.weights["w"].tolist() == [0] * 8
    path = write_onnx(tmp_path / "m.onnx", weights={}, more=length_prefixed(5, outside("w", 8, "../../etc/passwd")))
    assert "outside of its own folder" in refused(path)


def test_an_opset_of_other_times_is_named(tmp_path: Path) -> None:
    assert "is of opset 3; 7 to 24 are read" in refused(write_onnx(tmp_path / "m.onnx", opset=3))
    assert "is of opset 99" in refused(write_onnx(tmp_path / "m.onnx", opset=99))


def test_an_input_of_strings_is_refused(tmp_path: Path) -> None:
    assert "input x is no tensor of numbers" in refused(write_onnx(tmp_path / "m.onnx", kind=STRING))


def test_names_that_the_model_does_not_have_are_told_with_those_it_has(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    assert "no tensor z to be an output" in refused(path, Wanted(outputs=("z",)))
    with pytest.raises(ConversionError, match="need input x too"):
        find_ends(read_onnx(path), Wanted(inputs=("y",), outputs=("between",)))
    cut = find_ends(read_onnx(path), Wanted(inputs=("between",)))
    assert [node.operator for node in cut.nodes] == ["LeakyRelu"]


def test_an_open_batch_is_one_and_other_open_sizes_are_asked_for(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", shape=["batch", "steps"])
    assert "input x [batch, steps] has sizes that are not fixed" in refused(path)
    ends = [Declared("x", ("batch", 3, "size"), FLOAT32), Declared("state", (2, "batch", "size"), FLOAT32)]
    assert fix_sizes(ends, {"x": (1, 3, 16)}) == {"x": (1, 3, 16), "state": (2, 1, 16)}
    assert fix_sizes(ends[:1], {"": (4, 3, 8)}) == {"x": (4, 3, 8)}
    for wanted, said in (
        ({"x": (1, 4, 16)}, "cannot have the shape"),
        ({"x": (1, 3)}, "cannot have the shape"),
        ({"y": (1, 3, 16)}, "no input 'y'"),
        ({"": (1, 3, 16)}, "2 inputs, and the shape names none"),
    ):
        with pytest.raises(ConversionError, match=said):
            fix_sizes(ends, wanted)
