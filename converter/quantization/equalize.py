"""Cross-layer equalization: weights of neighboring layers are rescaled, channel by channel, until both need the same
range; the model computes what it did before.

Nagel et al. 2019, arXiv:1906.04721, section 4.1. There ReLU6 is replaced by ReLU, which changes the float model; here a
channel behind ReLU6 is only rescaled as far as it stays below the bend on the calibration data, so nothing changes.
Measured effect: docs/quantization.md. Only in a child process: it runs the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converter.quantization.observe import activations
from converter.quantization.weights import Layer, layers
from converter.samples import spread
from converter.tflite_schema import TensorView, constant_tensors, fused_activations, read_graph
from edge_agent.transform.tensor import Array

_ROUNDS = 10
_CLOSE = 1e-3  # of a scale to 1: another round is of no use
_SAMPLES = 16
_BEND, _MARGIN = 6.0, 1.25  # of ReLU6; unseen data may go so much higher
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_COMMUTING = ("NONE", "RELU", "RELU6")

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two layers, the second fed by nothing but the first."""

    first: Layer
    second: Layer
    least: Real  # how far each channel's scale may go down; inf: it must stay


def equalize(content: bytes, samples: Sequence[Sequence[Array]]) -> tuple[bytes, int]:
    """The equalized float model, and how many pairs of layers there were."""
    changed = bytearray(content)
    tensors = constant_tensors(changed)
    pairs = _pairs(content, tensors, samples)
    scales = [np.ones(pair.least.size) for pair in pairs]
    for _ in range(_ROUNDS):
        moved = [_balance(pair, tensors, scale) for pair, scale in zip(pairs, scales, strict=True)]
        if max(moved, default=0.0) < _CLOSE:
            break
    return (bytes(changed), len(pairs)) if pairs else (content, 0)


def _pairs(content: bytes, tensors: Sequence[TensorView | None], samples: Sequence[Sequence[Array]]) -> list[_Pair]:
    graph = read_graph(content)
    bends = dict(zip((operator.outputs[0] for operator in graph.operators), fused_activations(content), strict=True))
    consumers = dict.fromkeys(range(len(graph.tensors)), 0)
    for operator in graph.operators:
        for position in set(operator.inputs) - {-1}:
            consumers[position] += 1
    padded = {operator.outputs[0]: operator.inputs[0] for operator in graph.operators if operator.name == "PAD"}
    found = {
        layer.output: layer
        for layer in layers(graph)
        if layer.operator.name in _CONVOLUTIONS and _whole(layer, tensors)
    }
    chosen = []
    for second in found.values():
        fed_by = padded.get(second.input, second.input)
        first = found.get(fed_by)
        alone = consumers[fed_by] == 1 and consumers[second.input] == 1 and fed_by not in graph.outputs
        if first is None or not alone or bends[fed_by] not in _COMMUTING:
            continue
        if _inputs_of(second, tensors).size == _outputs_of(first, tensors).size:
            chosen.append((first, second))
    names = [graph.tensors[first.output].name for first, _ in chosen if bends[first.output] == "RELU6"]
    largest = _largest(content, samples, names) if names else {}
    return [
        _Pair(first, second, _least(largest.get(graph.tensors[first.output].name), _outputs_of(first, tensors).size))
        for first, second in chosen
    ]


def _whole(layer: Layer, tensors: Sequence[TensorView | None]) -> bool:
    """Whether its weights and bias are its own, in float."""
    own = [tensors[position] for position in (layer.weights, layer.bias) if position >= 0]
    return all(one is not None and not one.shared and one.values.dtype == np.float32 for one in own)


def _largest(content: bytes, samples: Sequence[Sequence[Array]], names: Sequence[str]) -> dict[str, Real]:
    largest: dict[str, Real] = {}
    for found in activations(content, (samples[at] for at in spread(len(samples), _SAMPLES)), names):
        for name, values in found.items():
            by_channel = values.reshape(-1, values.shape[-1]).max(axis=0).astype(np.float64)
            largest[name] = np.maximum(largest.get(name, by_channel), by_channel)
    return largest


def _least(largest: Real | None, channels: int) -> Real:
    if largest is None:
        return np.zeros(channels)
    highest = largest * _MARGIN
    return np.where(highest < _BEND, highest / _BEND, np.inf)


def _balance(pair: _Pair, tensors: Sequence[TensorView | None], scale: Real) -> float:
    """One step for one pair, in place; gives how far it moved."""
    out, into = _outputs_of(pair.first, tensors), _inputs_of(pair.second, tensors)
    usable = (out > 0) & (into > 0) & np.isfinite(pair.least)
    wanted = np.where(usable, np.sqrt(np.where(usable, out, 1) / np.where(usable, into, 1)), 1.0)
    step = np.where(usable, np.maximum(scale * wanted, np.where(usable, pair.least, 0)) / scale, 1.0)
    scale *= step
    _weights(pair.first, tensors)[...] /= _shaped(step, pair.first, outputs=True)
    bias = tensors[pair.first.bias] if pair.first.bias >= 0 else None
    if bias is not None:
        bias.values[...] /= step.astype(np.float32)
    _weights(pair.second, tensors)[...] *= _shaped(step, pair.second, outputs=False)
    return float(np.abs(step - 1).max(initial=0.0))


def _outputs_of(layer: Layer, tensors: Sequence[TensorView | None]) -> Real:
    """The largest weight towards each output channel."""
    axes = (0, 1, 2) if layer.operator.name == "DEPTHWISE_CONV_2D" else (1, 2, 3)
    largest: Real = np.abs(_weights(layer, tensors)).max(axis=axes).astype(np.float64)
    return largest


def _inputs_of(layer: Layer, tensors: Sequence[TensorView | None]) -> Real:
    """The largest weight from each input channel; of a depthwise layer with a multiplier the sizes do not fit."""
    axes = (0, 1, 2)
    largest: Real = np.abs(_weights(layer, tensors)).max(axis=axes).astype(np.float64)
    return largest


def _shaped(step: Real, layer: Layer, *, outputs: bool) -> NDArray[np.float32]:
    last = layer.operator.name == "DEPTHWISE_CONV_2D" or not outputs
    return step.astype(np.float32).reshape((1, 1, 1, -1) if last else (-1, 1, 1, 1))


def _weights(layer: Layer, tensors: Sequence[TensorView | None]) -> NDArray[np.float32]:
    view = tensors[layer.weights]
    assert view is not None
    values: NDArray[np.float32] = view.values
    return values
