"""Small ONNX models, each of one operator, run by ONNX Runtime and by our own; prints how far they are apart.

A child of `test_onnx_operators`, since neither framework may be loaded into the tests' own process.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converter.frontends.contract import Wanted
from converter.frontends.onnx import _reference
from converter.frontends.onnx_model.ends import declared_inputs, find_ends
from converter.frontends.onnx_model.model import read_onnx
from converter.frontends.onnx_model.plan import make_plan
from converter.frontends.onnx_model.program import Program, channels_last_axes
from converter.frontends.sizes import fix_sizes

Array = NDArray[Any]
R = np.random.default_rng(1)


def f32(*shape: int) -> Array:
    return R.normal(size=shape).astype(np.float32)


def i64(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def one(
    operator: str,
    shape: Sequence[int],
    weights: Sequence[Array | None] = (),
    *,
    opset: int = 17,
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node on an input `x`, shifted so that both signs occur."""
    names = [f"w{number}" if array is not None else "" for number, array in enumerate(weights)]
    told = [f"y{number}" for number in range(outputs)]
    half = helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(np.float32(0.5)))
    nodes = [
        half,
        helper.make_node("Sub", ["x", "half"], ["shifted"]),
        helper.make_node(operator, ["shifted", *names], told, domain=domain, **attributes),
    ]
    return model(nodes, {"x": shape}, told, {n: w for n, w in zip(names, weights, strict=True) if w is not None}, opset)


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int]],
    outputs: Sequence[str],
    weights: dict[str, Array],
    opset: int = 17,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "case",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def cases() -> Iterator[tuple[str, onnx.ModelProto]]:
    picture = (1, 4, 7, 9)
    for name in (
        "Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Floor", "Ceil", "Erf", "Softplus", "Softsign", "HardSwish",
        "Sign", "Round", "Sin", "Cos", "Atan", "Identity", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid",
        "ThresholdedRelu", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "LogSoftmax", "Softmax",
    ):  # fmt: skip
        yield name, one(name, picture)
    for name in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
        yield f"{name} a number", one(name, picture, [np.array(2.5, np.float32)])
        yield f"{name} channels", one(name, picture, [f32(4, 1, 1)])
    yield "Pow", one("Pow", picture, [np.array(2, np.float32)])
    yield "PRelu", one("PRelu", picture, [f32(4, 1, 1)])
    yield "Clip", one("Clip", picture, [np.array(-0.2, np.float32), np.array(0.3, np.float32)])
    yield "Clip below", one("Clip", picture, [np.array(-0.2, np.float32)])
    yield "Clip of opset 10", one("Clip", picture, opset=10, min=-0.1, max=0.2)
    yield "Softmax of opset 11", one("Softmax", (1, 4, 5), opset=11, axis=1)
    yield "Softmax over channels", one("Softmax", picture, axis=1)
    yield "Gemm", one("Gemm", (1, 6), [f32(6, 3), f32(3)])
    yield "Gemm transposed, scaled", one("Gemm", (1, 6), [f32(3, 6), f32(1, 3)], transB=1, alpha=0.5, beta=2.0)
    yield "MatMul", one("MatMul", (1, 5, 6), [f32(6, 3)])
    yield "MatMul batched", one("MatMul", (2, 5, 6), [f32(2, 6, 3)])
    yield from _moving()
    yield from _pictures()
    yield from _reductions()
    yield from _recurrent()


def _moving() -> Iterator[tuple[str, onnx.ModelProto]]:
    yield "Reshape", one("Reshape", (1, 4, 6), [i64(0, 2, -1)])
    yield "Transpose", one("Transpose", (1, 4, 6), perm=[0, 2, 1])
    yield "Unsqueeze", one("Unsqueeze", (1, 4), [i64(0, -1)])
    yield "Squeeze", one("Squeeze", (1, 4, 1), [i64(-1)])
    yield "Squeeze of opset 11", one("Squeeze", (1, 4, 1), opset=11, axes=[2])
    yield "Gather", one("Gather", (1, 4, 6), [i64(2, -1)], axis=2)
    yield "Gather one", one("Gather", (1, 4, 6), [np.array(1, np.int64)], axis=1)
    yield "Slice", one("Slice", (1, 8, 9), [i64(1, -6), i64(7, 100), i64(1, 2), i64(2, 1)])
    yield "Slice backwards", one("Slice", (1, 8, 9), [i64(-1), i64(-(2**62)), i64(2), i64(-1)])
    yield "Slice backwards in steps", one("Slice", (1, 8, 9), [i64(7), i64(1), i64(1), i64(-2)])
    yield "Slice of opset 9", one("Slice", (1, 8, 9), opset=9, starts=[2], ends=[-1], axes=[2])
    yield "Split", one("Split", (1, 6, 5), [i64(2, 4)], outputs=2, axis=1)
    yield "Split evenly", one("Split", (1, 6, 5), opset=13, outputs=3, axis=1)
    yield "Expand", one("Expand", (1, 1, 5), [i64(2, 3, 1)])
    yield "Tile", one("Tile", (1, 3), [i64(2, 2)])
    yield "Trilu", one("Trilu", (1, 4, 4), upper=0)
    yield "CumSum", one("CumSum", (1, 5), [np.array(1, np.int64)])


def _pictures() -> Iterator[tuple[str, onnx.ModelProto]]:
    picture, weights = (1, 4, 9, 11), f32(6, 4, 3, 3)
    yield "Conv", one("Conv", picture, [weights, f32(6)], pads=[1, 1, 1, 1], strides=[2, 2])
    yield "Conv uneven pads", one("Conv", picture, [weights], pads=[0, 1, 2, 0])
    yield "Conv SAME_UPPER", one("Conv", picture, [weights], auto_pad="SAME_UPPER", strides=[2, 2])
    yield "Conv SAME_LOWER", one("Conv", picture, [weights], auto_pad="SAME_LOWER", strides=[2, 2])
    yield "Conv depthwise", one("Conv", picture, [f32(4, 1, 3, 3)], group=4)
    yield "Conv dilated", one("Conv", picture, [weights], dilations=[2, 2])
    yield "Conv 1-D", one("Conv", (1, 4, 12), [f32(6, 4, 3), f32(6)], pads=[1, 1])
    yield "ConvTranspose", one("ConvTranspose", picture, [f32(4, 5, 3, 3)], strides=[2, 2], pads=[1, 1, 1, 1])
    yield "ConvTranspose uneven", one("ConvTranspose", picture, [f32(4, 5, 3, 3)], strides=[2, 2], pads=[0, 0, 1, 1])
    yield "ConvTranspose SAME", one("ConvTranspose", picture, [f32(4, 5, 3, 3)], strides=[2, 2], auto_pad="SAME_UPPER")
    yield "MaxPool", one("MaxPool", picture, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    yield "MaxPool ceil", one("MaxPool", picture, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    yield "MaxPool uneven", one("MaxPool", picture, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    yield "AveragePool", one("AveragePool", picture, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    counted = one("AveragePool", picture, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    yield "AveragePool counted", counted
    yield "AveragePool SAME", one("AveragePool", picture, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    yield "AveragePool ceil", one("AveragePool", picture, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    yield "BatchNormalization", one("BatchNormalization", picture, [f32(4), f32(4), f32(4), np.abs(f32(4))])
    yield "InstanceNormalization", one("InstanceNormalization", picture, [f32(4), f32(4)])
    yield "LayerNormalization", one("LayerNormalization", (1, 5, 8), [f32(8), f32(8)])
    yield "LpNormalization", one("LpNormalization", (1, 8), axis=1)
    yield "LRN", one("LRN", picture, size=3)
    yield "Pad", one("Pad", picture, [i64(0, 0, 1, 2, 0, 0, 3, 4), np.array(0.5, np.float32)])
    yield "Pad reflect", one("Pad", picture, [i64(0, 0, 1, 2, 0, 0, 3, 4)], mode="reflect")
    yield "Pad edge, channels too", one("Pad", picture, [i64(0, 1, 1, 2, 0, 0, 3, 4)], mode="edge")
    yield "Pad of opset 10", one("Pad", picture, opset=10, pads=[0, 0, 1, 1, 0, 0, 1, 1])
    yield "DepthToSpace", one("DepthToSpace", picture, blocksize=2)
    yield "DepthToSpace CRD", one("DepthToSpace", picture, blocksize=2, mode="CRD")
    yield "SpaceToDepth", one("SpaceToDepth", (1, 4, 8, 6), blocksize=2)
    sizes = [None, None, i64(1, 4, 18, 22)]
    for where in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        yield f"Resize {where}", one("Resize", picture, sizes, mode="linear", coordinate_transformation_mode=where)
    for rule in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
        less = [None, None, i64(1, 4, 5, 6)]
        yield f"Resize nearest {rule}", one("Resize", picture, less, mode="nearest", nearest_mode=rule)
    scales = [None, np.array([1, 1, 2, 2], np.float32)]
    yield "Resize by scales", one("Resize", picture, scales, mode="nearest")
    yield "Upsample", one("Upsample", picture, [np.array([1, 1, 2, 2], np.float32)], opset=9, mode="nearest")


def _reductions() -> Iterator[tuple[str, onnx.ModelProto]]:
    picture = (1, 4, 7, 9)
    for name in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"):
        yield name, one(name, picture, axes=[2, 3], keepdims=0)
    yield "ReduceProd", one("ReduceProd", picture, axes=[3])
    yield "ReduceSum", one("ReduceSum", picture, [i64(1)])
    yield "ReduceMean of opset 18", one("ReduceMean", picture, [i64(2, 3)], opset=18)
    yield "ReduceMean over all", one("ReduceMean", picture)


def _recurrent() -> Iterator[tuple[str, onnx.ModelProto]]:
    for direction, count in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
        for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
            weights = [f32(count, gates * 5, 3), f32(count, gates * 5, 5), f32(count, 2 * gates * 5)]
            yield f"{name} {direction}", one(name, (6, 1, 3), weights, hidden_size=5, direction=direction)
    started: list[Array | None] = [f32(1, 15, 3), f32(1, 15, 5), f32(1, 30), None, f32(1, 1, 5)]
    yield "GRU as PyTorch's", one("GRU", (6, 1, 3), started, hidden_size=5, linear_before_reset=1, outputs=2)


def difference(made: onnx.ModelProto) -> float:
    """The largest difference between the two, over all outputs, beside the largest value (or 1)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.onnx"
        path.write_bytes(made.SerializeToString())
        read = read_onnx(path)
        ends = find_ends(read, Wanted())
        shapes = fix_sizes(declared_inputs(read), {})
        inputs, outputs = _reference(path, read, ends, shapes)
    plan = make_plan(read, ends, shapes)
    program = Program(plan)
    worst = 0.0
    for number in range(len(inputs["x"])):
        given = inputs["x"][number]
        if "x" in plan.channels_first:
            given = np.ascontiguousarray(given.transpose(channels_last_axes(given.ndim)))
        found = program(torch.from_numpy(given))
        for name, value in zip(plan.outputs, found, strict=True):
            expected = outputs[name][number]
            if name in plan.channels_first:
                expected = expected.transpose(channels_last_axes(expected.ndim))
            if tuple(value.shape) != expected.shape:
                return float("inf")
            error = np.abs(value.numpy() - expected).max(initial=0.0)
            worst = max(worst, float(error / max(np.abs(expected).max(initial=0.0), 1.0)))
    return worst


def main() -> None:
    told: dict[str, float | str] = {}
    with torch.no_grad():
        for name, made in cases():
            try:
                told[name] = difference(made)
            except Exception as error:  # noqa: BLE001  # each case tells of itself
                told[name] = f"{type(error).__name__}: {error}"
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
