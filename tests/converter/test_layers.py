"""Layers of real models: what they multiply, and how far they are from the float model's."""

import math
from pathlib import Path

import numpy as np
import pytest

from converter.layer_list import count_macs, list_layers, short_name
from converter.layers import compare_layers
from converter.quantization.quantize import quantize
from converter.recipe import Scheme, build_recipe
from converter.tflite_schema import Graph, Operator, Tensor, read_graph
from edge_agent.inference.tflite import open_engine
from edge_agent.transform.tensor import Array, dequantize
from edge_agent.transform.tensor import quantize as store
from tests.converter.conftest import EXAMPLES

SOURCE = EXAMPLES / "digits_v2.tflite"


def in_scheme(scheme: str, samples: list[list[Array]], folder: Path) -> bytes:
    return quantize(SOURCE.read_bytes(), build_recipe({}, {"scheme": scheme}).treatment, samples, folder).content


def pictures(count: int) -> list[list[Array]]:
    generator = np.random.default_rng(0)
    return [[generator.random((1, 32, 32, 1), np.float32)] for _ in range(count)]


def test_layers_are_listed_with_what_they_multiply_and_weigh() -> None:
    layers = list_layers(read_graph(SOURCE.read_bytes()))
    assert [layer.operator for layer in layers] == [
        "CONV_2D", "MAX_POOL_2D", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED", "SOFTMAX",
    ]  # fmt: skip
    assert [layer.macs for layer in layers] == [
        32 * 32 * 12 * 9, None, 16 * 16 * 32 * 9 * 12, None, None, 2048 * 160, 160 * 10, None
    ]  # fmt: skip
    assert layers[5].size_bytes == 4 * (2048 * 160 + 160)
    assert {layer.precision for layer in layers} == {"float32"}


def _tensor(*shape: int, constant: bool = False) -> Tensor:
    return Tensor("t", "FLOAT32", shape, shape, constant, quantized=False, finite=True)


@pytest.mark.parametrize(
    ("operator", "inputs", "output", "macs"),
    [
        ("CONV_2D", [(1, 8, 8, 3), (16, 3, 3, 3), (16,)], (1, 4, 4, 16), 4 * 4 * 16 * 27),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 6), (1, 3, 3, 6)], (1, 8, 8, 6), 8 * 8 * 6 * 9),
        ("FULLY_CONNECTED", [(1, 20), (5, 20), (5,)], (1, 5), 100),
        ("TRANSPOSE_CONV", [(4,), (7, 2, 2, 3), (1, 4, 4, 3)], (1, 8, 8, 7), 4 * 4 * 3 * 2 * 2 * 7),
        ("CONV_3D", [(1, 4, 8, 8, 3), (2, 3, 3, 3, 5)], (1, 3, 6, 6, 5), 3 * 6 * 6 * 5 * 2 * 9 * 3),
        ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 2 * 3 * 4 * 5),
        ("BATCH_MATMUL", [(2, 4, 3), (2, 4, 5)], (2, 3, 5), 2 * 3 * 4 * 5),  # the first one transposed
        ("ADD", [(1, 8), (1, 8)], (1, 8), None),
        ("FULLY_CONNECTED", [(1, 20), ()], (1, 5), None),
        ("CONV_2D", [(1, 8)], (1, 8), None),
    ],
)  # fmt: skip
def test_multiplications_are_counted(
    operator: str, inputs: list[tuple[int, ...]], output: tuple[int, ...], macs: int | None
) -> None:
    assert count_macs(operator, [_tensor(*shape) for shape in inputs], [_tensor(*output)]) == macs


def test_a_recurrent_layer_multiplies_its_matrices_at_each_step() -> None:
    inputs = [_tensor(1, 10, 4), _tensor(8, 4, constant=True), _tensor(8, 8, constant=True), _tensor(8, constant=True)]
    assert count_macs("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [_tensor(1, 10, 8)]) == 10 * (8 * 4 + 8 * 8)


def test_weights_that_an_operator_makes_float_belong_to_the_layer_that_takes_them(tmp_path: Path) -> None:
    layers = list_layers(read_graph(in_scheme("float16", [], tmp_path)))
    assert len(layers) == 8
    assert layers[0].precision == "float32, float16 weights"
    assert layers[5].size_bytes == 2 * 2048 * 160 + 4 * 160  # its biases stay float32


def test_an_operator_that_takes_and_gives_nothing_is_listed() -> None:
    graph = Graph((), (), (), (Operator("CALL_ONCE", (), ()),), ())
    assert list_layers(graph)[0].name == ""


def test_joined_names_are_shortened() -> None:
    assert short_name("a/Relu;a/BiasAdd;a/convolution") == "a/Relu"
    assert len(short_name("x" * 100)) == 48


@pytest.mark.parametrize("scheme", ["int8", "dynamic", "float16"])
def test_each_layer_is_compared_with_the_float_one(scheme: Scheme, tmp_path: Path) -> None:
    samples = pictures(4)
    (tmp_path / "q.tflite").write_bytes(in_scheme(scheme, samples, tmp_path))
    layers = compare_layers(SOURCE, tmp_path / "q.tflite", samples, tmp_path)
    assert [layer.operator for layer in layers.errors] == [
        layer.operator for layer in list_layers(read_graph(SOURCE.read_bytes()))
    ]
    least = 60 if scheme == "float16" else 25
    found = [layer.snr_db for layer in layers.errors[:-1]]
    same = 2 if scheme == "dynamic" else 0  # its first convolution stays float, and so what is pooled of it
    assert found[:same] == [None] * same
    assert all(snr_db is not None and snr_db > least for snr_db in found[same:])
    # the last one is what the device's own engine gives
    outputs = []
    for path in (SOURCE, tmp_path / "q.tflite"):
        with open_engine(path) as engine:
            answers = [engine.invoke([store(sample[0], engine.inputs[0])])[0] for sample in samples]
            outputs.append(np.stack([dequantize(answer, engine.outputs[0]) for answer in answers]))
    expected = 10 * math.log10(float(np.square(outputs[0]).sum() / np.square(outputs[1] - outputs[0]).sum()))
    assert layers.errors[-1].snr_db == pytest.approx(expected, abs=0.1)


def test_ranges_are_of_the_float_model(tmp_path: Path) -> None:
    (tmp_path / "same.tflite").write_bytes(SOURCE.read_bytes())
    layers = compare_layers(SOURCE, tmp_path / "same.tflite", pictures(3), tmp_path)
    assert [layer.snr_db for layer in layers.errors] == [None] * 8
    first, last = layers.ranges[0], layers.ranges[-1]
    assert first.smallest == 0.0  # behind a ReLU
    assert first.largest > 0
    assert last.smallest >= 0
    assert last.largest <= 1
    assert sum(last.counts) == 3 * 10
    assert len(first.counts) == 32
