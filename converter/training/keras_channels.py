"""The channels of a Keras model: which layers make and carry them, and the model without some of them."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.training.channels import Channels, Ids
from converter.training.trainee import Real

CONVOLUTIONS = ("Conv1D", "Conv2D")
DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
# Each channel by itself, without weights.
_EACH_CHANNEL = {
    "InputLayer", "Activation", "ReLU", "LeakyReLU", "ELU", "Dropout", "SpatialDropout1D", "SpatialDropout2D",
    "MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "ZeroPadding1D", "ZeroPadding2D",
    "Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D",
}  # fmt: skip
_POINTWISE_MERGES = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}


def trace(model: Any, channels: Channels) -> dict[str, tuple[Ids, Ids]]:
    """Channel ids of each layer's input and output; the model's own input and output are pinned."""
    graph = getattr(model, "_functional", None) or model
    ids: dict[int, Ids] = {id(tensor): channels.fixed(tensor.shape[-1]) for tensor in graph.inputs}
    found: dict[str, tuple[Ids, Ids]] = {}
    for depth in sorted(graph._nodes_by_depth, reverse=True):  # noqa: SLF001  # Keras has no public order
        for node in graph._nodes_by_depth[depth]:  # noqa: SLF001
            if node.is_input:
                continue
            sources = [ids[id(tensor)] for tensor in node.input_tensors]
            output = node.output_tensors[0]
            result = _through(node.operation, sources, output, channels, again=node.operation.name in found)
            found[node.operation.name] = (np.concatenate(sources), result)
            for tensor in node.output_tensors:
                ids[id(tensor)] = result
    for tensor in graph.outputs:
        channels.pin(ids[id(tensor)])
    return found


def _through(layer: Any, sources: list[Ids], output: Any, channels: Channels, *, again: bool) -> Ids:
    """Channel ids of a layer's output; of one that is not understood, or shared, all around it are pinned."""
    last = getattr(layer, "data_format", "channels_last") in (None, "channels_last")
    result = _understood(layer, sources, output, channels) if last and not again else None
    if result is None:
        for source in sources:
            channels.pin(source)
        result = channels.fixed(output.shape[-1] or 0)
    return result


def _understood(layer: Any, sources: list[Ids], output: Any, channels: Channels) -> Ids | None:
    kind, last_axis = type(layer).__name__, (-1, len(output.shape) - 1)
    result: Ids | None = None
    if (
        kind in _EACH_CHANNEL
        or (kind in DEPTHWISE and layer.depth_multiplier == 1)
        or (kind == "BatchNormalization" and layer.axis in last_axis)
    ):
        result = sources[0]
    elif kind == "Dense" or (kind in CONVOLUTIONS and layer.groups == 1):
        result = channels.new(_scores(layer.kernel))
    elif kind in _POINTWISE_MERGES:
        result = reduce(channels.join, sources)
    elif kind == "Concatenate" and layer.axis in last_axis:
        result = np.concatenate(sources)
    elif kind == "Flatten":
        result = np.tile(sources[0], output.shape[-1] // len(sources[0]))
    return result


def _scores(kernel: Any) -> Sequence[float]:
    norms = np.sqrt(np.square(np.array(kernel.value)).reshape(-1, kernel.shape[-1]).sum(axis=0))
    scores: list[float] = (norms / max(float(norms.mean()), 1e-12)).tolist()
    return scores


def rebuilt(model: Any, kept: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> Any:
    """The same layers with the channels that are kept, and their weights."""
    config = model.get_config()
    for entry in config["layers"]:
        name = entry["config"].get("name")
        if name in kept:
            count = int(kept[name][1].sum())
            for key in ("filters", "units"):
                if key in entry["config"]:
                    entry["config"][key] = count
            entry.pop("build_config", None)  # says the old shapes
    narrow = type(model).from_config(config)
    for layer in narrow.layers:
        old = model.get_layer(layer.name)
        into, out = kept.get(layer.name, (None, None))
        if into is None or out is None:
            layer.set_weights(old.get_weights())
        else:
            layer.set_weights([_sliced(type(layer).__name__, value, into, out) for value in old.get_weights()])
    return narrow


def _sliced(kind: str, value: Real, into: NDArray[np.bool_], out: NDArray[np.bool_]) -> Real:
    if value.ndim == 1:  # bias, and all of a batch normalization
        return value[out]
    if kind in DEPTHWISE:
        return value[..., out, :]
    if value.ndim >= 2 and value.shape[-1] == out.size and value.shape[-2] == into.size:
        return value[..., into, :][..., out]
    return value
