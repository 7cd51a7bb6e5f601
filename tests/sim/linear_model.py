"""Small real models made on the spot: dense layers of given weights, one after the other, float32."""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from numpy.typing import NDArray

Weights = NDArray[np.floating]


def linear_model(layers: Sequence[Weights], *, input_shape: tuple[int, ...]) -> bytes:
    """A `.tflite` that multiplies a flat input by each matrix [out, in] in turn."""
    model = schema.ModelT()
    model.version, model.description = 3, b"linear"
    model.buffers = [schema.BufferT()]
    model.operatorCodes = [schema.OperatorCodeT()]
    for code in model.operatorCodes:
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
        code.version = 1
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = b"main", [_tensor(b"seen", input_shape, 0)], []
    for number, weights in enumerate(layers):
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(weights.astype("<f4").tobytes(), np.uint8)
        model.buffers.append(buffer)
        graph.tensors.append(_tensor(b"weights_%d" % number, weights.shape, len(model.buffers) - 1))
        graph.tensors.append(_tensor(b"layer_%d" % number, (1, weights.shape[0]), 0))
        graph.operators.append(_dense(len(graph.tensors) - 3, len(graph.tensors) - 2, len(graph.tensors) - 1))
    graph.inputs, graph.outputs = [0], [len(graph.tensors) - 1]
    model.subgraphs = [graph]
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def principal_autoencoder(windows: Weights, codes: int) -> list[Weights]:
    """Encoder and decoder that give back what the `codes` first principal components of [n, values] hold; which is
    what a linear autoencoder learns (Baldi and Hornik, "Neural networks and principal component analysis", 1989).
    """
    directions = np.linalg.svd(windows, full_matrices=False)[2][:codes]
    return [directions, directions.T]


def _tensor(name: bytes, shape: tuple[int, ...], buffer: int) -> "schema.TensorT":
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer, tensor.type = name, list(shape), buffer, schema.TensorType.FLOAT32
    return tensor


def _dense(source: int, weights: int, output: int) -> "schema.OperatorT":
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [source, weights, -1], [output]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    return operator
