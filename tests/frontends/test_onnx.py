"""ONNX files, converted and held to ONNX Runtime's answers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from converter.errors import ConversionError
from converter.frontends.contract import TFLITE_NAME, Wanted, read_notes
from converter.frontends.onnx import convert_onnx
from tests.frontends.conversions import convert

Make = Callable[[str], Path]

BUILD = """
import numpy as np, onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh
R = np.random.default_rng(0)
def f32(*shape): return (R.normal(size=shape) * 0.3).astype(np.float32)
def i64(*numbers): return np.array(numbers, np.int64)
def save(nodes, inputs, outputs, weights, opset=17, path="model.onnx", **more):
    ends = [h.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
    graph = h.make_graph(nodes, "g", ends, [h.make_tensor_value_info(n, T.FLOAT, None) for n in outputs],
                         [nh.from_array(a, n) for n, a in weights.items()])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8), path, **more)
n = h.make_node
"""
# As PyTorch writes a small network: an open batch, a shuffle of channels, a softmax of opset 11, and a flattened end.
NETWORK = """
nodes = [
    n("Conv", ["image.1", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
    n("Relu", ["c1"], ["r1"]),
    n("Pad", ["r1", "pads"], ["p1"]),
    n("AveragePool", ["p1"], ["a1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    n("Reshape", ["a1", "split"], ["s1"]),
    n("Transpose", ["s1"], ["s2"], perm=[0, 2, 1, 3, 4]),
    n("Reshape", ["s2", "joined"], ["s3"]),
    n("Mul", ["s3", "two"], ["m1"]),
    n("Add", ["m1", "each"], ["m2"]),
    n("Transpose", ["m2"], ["t1"], perm=[0, 3, 2, 1]),
    n("Softmax", ["t1"], ["t2"], axis=3),
    n("Transpose", ["t2"], ["map/0"], perm=[0, 3, 2, 1]),
    n("Flatten", ["m2"], ["f1"]),
    n("Gemm", ["f1", "w2", "b2"], ["758"], transB=1),
]
weights = dict(w1=f32(4, 3, 3, 3), b1=f32(4), pads=i64(0, 0, 0, 1, 0, 0, 0, 1), split=i64(0, 2, 2, 8, 11),
               joined=i64(0, 4, 8, 11), two=np.array(2.0, np.float32), each=f32(4, 1, 1), w2=f32(5, 4 * 8 * 11),
               b2=f32(5))
save(nodes, {"image.1": (T.FLOAT, ["batch", 3, 16, 18])}, ["map/0", "758"], weights, opset=11)
"""


def refused(path: Path, folder: Path, wanted: Wanted | None = None) -> str:
    with pytest.raises(ConversionError) as caught:
        convert_onnx(path, folder, wanted or Wanted())
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert not (folder / TFLITE_NAME).exists()
    return str(caught.value)


@pytest.mark.cold
def test_a_network_of_pictures_comes_out_channels_last_and_transposes_nothing_but_its_shuffle(make_model: Make) -> None:
    folder = make_model(BUILD + NETWORK)
    ran = convert(convert_onnx, folder / "model.onnx", folder / "out")
    assert ran.error < 1e-5
    assert ran.spread > 1e-3
    assert ran.shapes == {"image.1": (1, 16, 18, 3), "map/0": (1, 8, 11, 4), "758": (1, 5)}
    moved = [operator for operator in ran.graph.operators if operator.name == "TRANSPOSE"]
    assert [len(ran.graph.tensors[operator.outputs[0]].shape) for operator in moved] == [5]  # the shuffle of channels
    first = (folder / "out" / TFLITE_NAME).read_bytes()
    convert(convert_onnx, folder / "model.onnx", folder / "out")
    assert (folder / "out" / TFLITE_NAME).read_bytes() == first


def test_a_model_is_cut_where_it_is_asked_to_be(make_model: Make) -> None:
    folder = make_model(BUILD + NETWORK)
    ran = convert(convert_onnx, folder / "model.onnx", folder / "out", Wanted(inputs=("r1",), outputs=("m2",)))
    assert ran.error < 1e-5
    assert ran.shapes == {"r1": (1, 8, 9, 4), "m2": (1, 8, 11, 4)}
    assert "CONV_2D" not in ran.operators


def test_an_if_that_sizes_decide_becomes_the_branch_that_is_taken(make_model: Make) -> None:
    folder = make_model(
        BUILD
        + """
def branch(node, name):
    return h.make_graph([node], name, [], [h.make_tensor_value_info(node.output[0], T.FLOAT, None)])
nodes = [
    n("Shape", ["x"], ["s"]), n("Gather", ["s", "last"], ["size"], axis=0), n("Equal", ["size", "six"], ["is_six"]),
    n("If", ["is_six"], ["chosen"], then_branch=branch(n("MatMul", ["x", "w"], ["a"]), "then"),
      else_branch=branch(n("Hardmax", ["x"], ["b"]), "else")),
    n("Tanh", ["chosen"], ["y"]),
]
save(nodes, {"x": (T.FLOAT, [1, 6])}, ["y"], dict(w=f32(6, 2), last=np.array(1), six=np.array(6)))
"""
    )
    ran = convert(convert_onnx, folder / "model.onnx", folder / "out")
    assert ran.error < 1e-5
    assert ran.shapes == {"x": (1, 6), "y": (1, 2)}


def test_windows_come_out_as_rows_of_channels_and_whole_numbers_with_32_bits(make_model: Make) -> None:
    folder = make_model(
        BUILD
        + """
nodes = [
    n("Conv", ["window", "w"], ["c"], kernel_shape=[3]), n("Relu", ["c"], ["r"]),
    n("ReduceMean", ["r"], ["mean"], axes=[2], keepdims=0), n("Gather", ["table", "place"], ["row"], axis=0),
    n("Cast", ["double"], ["single"], to=T.FLOAT), n("Add", ["mean", "row"], ["sum"]),
    n("Add", ["sum", "single"], ["y"]),
]
inputs = {"window": (T.FLOAT, [1, 3, 20]), "place": (T.INT64, [1]), "double": (T.DOUBLE, [1, 5]),
          "unused": (T.FLOAT, [1, 2])}
save(nodes, inputs, ["y"], dict(w=f32(5, 3, 3), table=f32(4, 5)))
"""
    )
    ran = convert(convert_onnx, folder / "model.onnx", folder / "out")
    assert ran.error < 1e-5
    assert ran.shapes == {"window": (1, 20, 3), "place": (1,), "double": (1, 5), "y": (1, 5)}
    types = [ran.graph.tensors[place].type for place in ran.graph.inputs]
    assert types == ["FLOAT32", "INT32", "FLOAT32"]
    assert read_notes(folder / "out") == ("float64 becomes float32: 1 inputs (double)",)


def test_weights_in_a_file_of_their_own_are_read_and_missed(make_model: Make, tmp_path: Path) -> None:
    folder = make_model(
        BUILD
        + """
save([n("MatMul", ["x", "w"], ["y"])], {"x": (T.FLOAT, [1, 64])}, ["y"], dict(w=f32(64, 64)),
     save_as_external_data=True, location="model.weights", size_threshold=0)
"""
    )
    assert convert(convert_onnx, folder / "model.onnx", folder / "out").error < 1e-5
    weights = folder / "model.weights"
    weights.write_bytes(weights.read_bytes()[:100])
    out = tmp_path / "again"
    out.mkdir()
    assert "keeps its weights in model.weights" in refused(folder / "model.onnx", out)
    weights.unlink()
    assert "keeps its weights in model.weights" in refused(folder / "model.onnx", out)


def test_an_operator_without_a_form_for_whole_numbers_is_named_with_their_input(make_model: Make) -> None:
    folder = make_model(
        BUILD
        + """
nodes = [n("MatMul", ["numbers", "w"], ["y"]), n("Cast", ["y"], ["z"], to=T.FLOAT)]
save(nodes, {"numbers": (T.INT64, [1, 8])}, ["z"], dict(w=np.ones((8, 4), np.int64)))
"""
    )
    out = folder / "out"
    out.mkdir()
    assert "takes no whole numbers, and input numbers is of whole numbers" in refused(folder / "model.onnx", out)


def test_all_operators_that_are_not_converted_are_named_at_once(make_model: Make) -> None:
    folder = make_model(
        BUILD
        + """
nodes = [n("NonZero", ["x"], ["a"]), n("Cast", ["a"], ["b"], to=T.FLOAT), n("Mish2", ["b"], ["c"], domain="me"),
         n("Det", ["c"], ["y"])]
save(nodes, {"x": (T.FLOAT, [1, 6])}, ["y"], {})
quantized = [n("QuantizeLinear", ["x", "s", "z"], ["q"]), n("DequantizeLinear", ["q", "s", "z"], ["y"])]
save(quantized, {"x": (T.FLOAT, [1, 6])}, ["y"], dict(s=np.float32(0.1), z=np.int8(0)), path="quantized.onnx")
decided = h.make_graph([n("Neg", ["x"], ["a"])], "g", [], [h.make_tensor_value_info("a", T.FLOAT, None)])
nodes = [n("ReduceSum", ["x"], ["sum"], keepdims=0), n("Greater", ["sum", "zero"], ["c"]),
         n("If", ["c"], ["y"], then_branch=decided, else_branch=decided)]
save(nodes, {"x": (T.FLOAT, [1, 6])}, ["y"], dict(zero=np.float32(0)), path="if.onnx")
"""
    )
    out = folder / "out"
    out.mkdir()
    assert "3 operators are not converted: Det, NonZero, me.Mish2" in refused(folder / "model.onnx", out)
    assert "quantized already (DequantizeLinear, QuantizeLinear)" in refused(folder / "quantized.onnx", out)
    assert "an If is decided by c" in refused(folder / "if.onnx", out)


@pytest.mark.shared_data
def test_fastestdet_answers_as_in_onnx_without_a_transpose(shared_data: Path, tmp_path: Path) -> None:
    ran = convert(convert_onnx, shared_data / "source_models/FastestDet.onnx", tmp_path / "out")
    assert ran.error < 1e-4
    assert ran.shapes == {"input.1": (1, 352, 352, 3), "758": (1, 22, 22, 85)}
    assert not {"TRANSPOSE", "GATHER"} & set(ran.operators)
    assert all(tensor.finite for tensor in ran.graph.tensors)  # pools are not padded with minus infinity


@pytest.mark.shared_data
def test_silero_converts_with_its_state_once_its_window_is_said(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "source_models/silero_vad_16k_op15.onnx"
    assert "input [batch, sequence] has sizes that are not fixed" in refused(source, tmp_path)
    ran = convert(convert_onnx, source, tmp_path / "out", Wanted(input_shapes={"input": (1, 576)}))
    assert ran.error < 1e-4
    assert ran.shapes["state"] == ran.shapes["stateN"] == (2, 1, 128)
    assert ran.shapes["output"] == (1, 1)
