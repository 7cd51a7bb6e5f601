"""Bias correction: rounding weights and clipping activations moves the mean of what a layer answers; its bias takes
that back.

Nagel et al. 2019, arXiv:1906.04721, section 4.2, the empirical form (there "with data"): layer by layer, in the order
they run, with the layers before already corrected. The mean before the activation function, which TFLite fuses into the
layer, is told from the means of its inputs. Measured effect: docs/quantization.md. Only in a child process.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converter.quantization.observe import activations
from converter.quantization.weights import WEIGHTED, Layer, layers, mean_answer, real_weights
from converter.samples import spread
from converter.tflite_schema import Graph, TensorView, constant_tensors, read_graph
from edge_agent.transform.tensor import Array

SAMPLES, _LAST_SAMPLES = 8, 32
_ENOUGH = 1000  # values of a channel that its mean is taken over; of fewer, chance moves it more than rounding does

Real = NDArray[np.float64]


def correct_biases(
    float_model: bytes, quantized: bytes, samples: Sequence[Sequence[Array]], *, most: int = SAMPLES
) -> bytes:
    """The quantized model with its biases corrected; `samples` are as the float model takes them, of which `most` are
    run for each layer.

    A layer whose mean is of too few values is left as it is, unless it is a last one: its mean, over more samples, is
    that of the model's answer.
    """
    few = [samples[position] for position in spread(len(samples), most)]
    more = [samples[position] for position in spread(len(samples), _LAST_SAMPLES)]
    float_graph, graph = read_graph(float_model), read_graph(quantized)
    changed = bytearray(quantized)
    originals, tensors = constant_tensors(bytearray(float_model)), constant_tensors(changed)
    mine = {graph.tensors[layer.output].name: layer for layer in layers(graph)}
    theirs = list(layers(float_graph))
    fed = {layer.output: float_graph.tensors[layer.input].name for layer in theirs}
    expected = _Means(float_model, few, tuple(fed.values()))
    last = {output for output in fed if not expected.enough(fed[output])} & _last(float_graph)
    of_more = _Means(float_model, more, tuple(fed[output] for output in last)) if last else expected
    for original in theirs:
        layer, name = mine.get(float_graph.tensors[original.output].name), fed[original.output]
        bias = tensors[layer.bias] if layer is not None and layer.bias >= 0 else None
        if layer is None or bias is None or bias.shared or not _is_changed(layer, tensors):
            continue
        if original.output not in last and not expected.enough(name):
            continue
        wide, chosen = (of_more, more) if original.output in last else (expected, few)
        found = _Means(bytes(changed), chosen, [graph.tensors[layer.input].name])
        wanted = _answer(original, originals, wide.of(name))
        given = _answer(layer, tensors, found.of(graph.tensors[layer.input].name))
        if wanted is not None and given is not None and wanted.shape == bias.values.shape:
            _take_back(bias, given - wanted)
    return bytes(changed)


def copy_biases(source: bytes, quantized: bytes) -> bytes:
    """The quantized model with the biases of another that was quantized alike, by what the layers answer."""
    changed = bytearray(quantized)
    graph, other = read_graph(quantized), read_graph(source)
    tensors, corrected = constant_tensors(changed), constant_tensors(bytearray(source))
    theirs = {other.tensors[layer.output].name: layer.bias for layer in layers(other)}
    for layer in layers(graph):
        position = theirs.get(graph.tensors[layer.output].name, -1)
        if layer.bias < 0 or position < 0:
            continue
        bias, found = tensors[layer.bias], corrected[position]
        if bias is not None and found is not None and not bias.shared and bias.values.shape == found.values.shape:
            bias.values[...] = found.values
    return bytes(changed)


class _Means:
    """The mean of activations, by channel (the last dimension), and of how many values each is."""

    def __init__(self, content: bytes, samples: Sequence[Sequence[Array]], names: Sequence[str]) -> None:
        self._means: dict[str, Real] = {}
        self._values: Counter[str] = Counter()
        for found in activations(content, samples, names):
            for name, values in found.items():
                rows = values.reshape(-1, values.shape[-1])
                mean = rows.mean(axis=0, dtype=np.float64)
                self._means[name] = self._means.get(name, np.zeros_like(mean)) + mean / len(samples)
                self._values[name] += len(rows)

    def of(self, name: str) -> Real | None:
        """Real [channels]; None of what was not seen."""
        return self._means.get(name)

    def enough(self, name: str) -> bool:
        return self._values[name] >= _ENOUGH


def _last(graph: Graph) -> set[int]:
    """Outputs of the layers that no other layer comes behind."""
    leads: set[int] = set()  # tensors on the way to a layer
    for operator in reversed(graph.operators):
        if operator.name in WEIGHTED or leads & set(operator.outputs):
            leads.update(operator.inputs)
    return {layer.output for layer in layers(graph)} - leads


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
