"""Layers with weights, found in a model and changed in it: what equalization and bias correction share.

Reads and writes the flatbuffer's own bytes; what to change is left to `equalize` and `bias`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converter.tflite_schema import Graph, Operator, TensorView

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layer:
    """An operator with constant weights; positions among the tensors, bias -1 where it has none."""

    operator: Operator
    input: int
    weights: int
    bias: int
    output: int


def layers(graph: Graph) -> Iterator[Layer]:
    """In the order they run. Weights behind a DEQUANTIZE are found through it."""
    sources = {operator.outputs[0]: operator for operator in graph.operators if operator.name == "DEQUANTIZE"}
    for operator in graph.operators:
        if operator.name not in WEIGHTED or len(operator.inputs) < 2:
            continue
        weights = operator.inputs[1]
        if weights in sources:
            weights = sources[weights].inputs[0]
        if not graph.tensors[weights].constant:
            continue
        bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
        yield Layer(operator, operator.inputs[0], weights, bias, operator.outputs[0])


def real_weights(tensor: TensorView) -> Real:
    """The weights as real numbers, in the tensor's shape."""
    stored: Real = tensor.values.astype(np.float64)
    if tensor.scales.size == 0:
        return stored
    return stored * along(tensor.scales, tensor)


def along(scales: NDArray[np.float64], tensor: TensorView) -> Real:
    """Scales shaped so that they multiply the tensor's own axis."""
    shape = [1] * tensor.values.ndim
    if scales.size > 1:
        shape[tensor.axis] = scales.size
    return scales.reshape(shape)


def mean_answer(operator: str, weights: Real, mean_input: Real) -> Real:
    """What a layer without bias and activation answers on average, by output channel, to inputs with these means, by
    channel. Padding at the borders is not seen.
    """
    if operator == "DEPTHWISE_CONV_2D":  # [1, h, w, channels x multiplier]
        taps = weights.sum(axis=(0, 1, 2))
        answer: Real = taps * np.repeat(mean_input, taps.size // mean_input.size)
    elif operator == "CONV_2D":  # [out, h, w, in]
        answer = weights.sum(axis=(1, 2)) @ mean_input
    else:
        answer = weights @ mean_input
    return answer
