"""The error of each layer of a quantized model, beside the float one. Only in a child process: it runs both."""

import math
from collections.abc import Sequence

import numpy as np

from converter.quantization.observe import activations
from converter.quantization.weights import layers
from converter.report.sections import LayerError
from converter.samples import spread
from converter.tflite_schema import Graph, read_graph
from edge_agent.transform.tensor import Array

_SAMPLES = 4
_NAMES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT16": "int16",
    "INT4": "int4",
}
_BITS = {"float32": 32, "float16": 16, "int16": 16, "int8": 8, "uint8": 8, "int4": 4}


def layer_errors(float_model: bytes, quantized: bytes, samples: Sequence[Sequence[Array]]) -> tuple[LayerError, ...]:
    """Signal to noise of each operator's first output, with all the errors of those before it, in the order they run.

    Float and quantized model call a tensor by the same name. Operators whose output is no activation are left out.
    """
    chosen = [samples[position] for position in spread(len(samples), _SAMPLES)]
    before, after = read_graph(float_model), read_graph(quantized)
    there = {tensor.name for tensor in after.tensors}
    names = [before.tensors[operator.outputs[0]].name for operator in before.operators if operator.outputs]
    names = [name for name in names if name in there]
    noise, power = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    pairs = zip(activations(float_model, chosen, names), activations(quantized, chosen, names), strict=True)
    for expected, found in pairs:
        for name in expected.keys() & found.keys():
            a, b = expected[name], found[name]
            power[name] += float(np.square(a, dtype=np.float64).sum())
            noise[name] += float(np.square(b - a, dtype=np.float64).sum())
    precision, size = _stored(after)
    firsts = [(operator.name, before.tensors[operator.outputs[0]].name) for operator in before.operators]
    return tuple(
        LayerError(name, operator, precision[name], _snr_db(power[name], noise[name]), size_bytes=size.get(name))
        for operator, name in firsts
        if power.get(name, 0.0) > 0 and name in precision
    )


def _snr_db(power: float, noise: float) -> float | None:
    return round(10 * math.log10(power / noise), 2) if noise > 0 and power > 0 else None


def _stored(graph: Graph) -> tuple[dict[str, str], dict[str, int]]:
    """What each activation and the weights behind it are stored in, and the weights' bytes."""
    precision = {
        graph.tensors[position].name: graph.tensors[position].type.lower()
        for operator in graph.operators
        for position in operator.outputs[:1]
    }
    size = {}
    for layer in layers(graph):
        weights, name = graph.tensors[layer.weights], graph.tensors[layer.output].name
        kind = weights.type.lower()
        size[name] = math.prod(weights.shape) * _BITS.get(kind, 8) // 8
        if precision[name] != kind:
            precision[name] = f"{kind} weights" if precision[name] == "float32" else f"{precision[name]}x{kind[3:]}"
    return precision, size
