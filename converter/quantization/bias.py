"""Bias correction: rounding weights and clipping activations moves the mean of what a layer answers; its bias takes
that back.

Nagel et al. 2019, arXiv:1906.04721, section 4.2, the empirical form (there "with data"): layer by layer, in the order
they run, with the layers before already corrected. The mean before the activation function, which TFLite fuses into the
layer, is told from the means of its inputs. Measured effect: docs/quantization.md. Only in a child process.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converter.quantization.observe import activations
from converter.quantization.weights import Layer, layers, mean_answer, real_weights
from converter.samples import spread
from converter.tflite_schema import TensorView, constant_tensors, read_graph
from edge_agent.transform.tensor import Array

_SAMPLES = 8  # each gives a mean over many positions

Real = NDArray[np.float64]


def correct_biases(float_model: bytes, quantized: bytes, samples: Sequence[Sequence[Array]]) -> bytes:
    """The quantized model with its biases corrected; `samples` are as the float model takes them."""
    chosen = [samples[position] for position in spread(len(samples), _SAMPLES)]
    float_graph, graph = read_graph(float_model), read_graph(quantized)
    changed = bytearray(quantized)
    originals, tensors = constant_tensors(bytearray(float_model)), constant_tensors(changed)
    mine = {graph.tensors[layer.output].name: layer for layer in layers(graph)}
    theirs = list(layers(float_graph))
    expected = _means(float_model, chosen, [float_graph.tensors[layer.input].name for layer in theirs])
    for original in theirs:
        layer = mine.get(float_graph.tensors[original.output].name)
        bias = tensors[layer.bias] if layer is not None and layer.bias >= 0 else None
        if layer is None or bias is None or bias.shared or not _is_changed(layer, tensors):
            continue
        fed = graph.tensors[layer.input].name
        found = _means(bytes(changed), chosen, [fed])
        wanted = _answer(original, originals, expected.get(float_graph.tensors[original.input].name))
        given = _answer(layer, tensors, found.get(fed))
        if wanted is not None and given is not None and wanted.shape == bias.values.shape:
            _take_back(bias, given - wanted)
    return bytes(changed)


def _means(content: bytes, samples: Sequence[Sequence[Array]], names: Sequence[str]) -> dict[str, Real]:
    """The mean of each activation, by channel: the last dimension."""
    total: dict[str, Real] = {}
    for found in activations(content, samples, names):
        for name, values in found.items():
            mean = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
            total[name] = total.get(name, np.zeros_like(mean)) + mean / len(samples)
    return total


def _answer(layer: Layer, tensors: Sequence[TensorView | None], mean_input: Real | None) -> Real | None:
    view = tensors[layer.weights]
    if view is None or mean_input is None:
        return None
    weights = real_weights(view)
    if layer.operator.name == "FULLY_CONNECTED" and weights.shape[-1] != mean_input.size:
        return None  # its input is flattened on the way: the means by channel do not tell
    return mean_answer(layer.operator.name, weights, mean_input)


def _is_changed(layer: Layer, tensors: Sequence[TensorView | None]) -> bool:
    view = tensors[layer.weights]
    return view is not None and view.scales.size > 0


def _take_back(bias: TensorView, shift: Real) -> None:
    if bias.values.dtype == np.float32:
        bias.values[...] -= shift.astype(np.float32)
        return
    limits = np.iinfo(bias.values.dtype)
    steps = np.rint(shift / bias.scales)
    bias.values[...] = np.clip(bias.values - steps, limits.min, limits.max).astype(bias.values.dtype)
