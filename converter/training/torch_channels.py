"""The channels of an exported PyTorch program: which operators make and carry them, and the program without some."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converter.training.channels import Channels, Ids

Slices = dict[str, dict[int, Ids]]  # parameter or buffer → axis → whose channels lie along it

CONVOLUTIONS = ("aten.conv1d.default", "aten.conv2d.default")
LINEAR = "aten.linear.default"
_BATCH_NORM = "aten.batch_norm.default"
VIEWS = ("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")
_CAT = "aten.cat.default"
_FLATTEN = "aten.flatten.using_ints"
_MERGES = ("aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.add_.Tensor")
# Each channel by itself, without weights.
_EACH_CHANNEL = (
    "relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_", "silu", "silu_", "hardswish", "hardswish_",
    "hardsigmoid", "sigmoid", "tanh", "leaky_relu", "leaky_relu_", "elu", "gelu", "dropout", "max_pool2d", "avg_pool2d",
    "adaptive_avg_pool2d", "clone", "contiguous", "upsample_nearest2d", "upsample_bilinear2d",
)  # fmt: skip


def trace(module: Any, channels: Channels) -> Slices:
    """Which axes of which parameters and buffers belong to which channels; the output's are pinned."""
    ids: dict[Any, Ids] = {}
    slices: Slices = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            ids[node] = channels.fixed(int(node.meta["val"].shape[1]))
        elif node.op == "output":
            for source in node.all_input_nodes:
                channels.pin(ids[source])
        elif node.op == "call_function":
            given = node.args[0] if str(node.target) == _CAT else node.all_input_nodes  # the latter names each once
            sources = [source for source in given if source in ids]
            if sources:
                ids[node] = _through(node, [ids[source] for source in sources], channels, slices)
    return slices


def _through(node: Any, sources: list[Ids], channels: Channels, slices: Slices) -> Ids:
    name = str(node.target)
    shape: tuple[int, ...] = tuple(getattr(node.meta.get("val"), "shape", ()))
    known = _KNOWN.get(name)
    if known is not None and len(sources) == 1:
        result = known(node, sources[0], channels, slices)
        if result is not None:
            return result
    elif name in _MERGES and len(sources) == 2:
        return channels.join(*sources)
    elif name == _CAT and len(sources) == len(node.args[0]) and node.args[1:] in ((1,), (1 - len(shape),)):
        return np.concatenate(sources)
    for source in sources:
        channels.pin(source)
    return channels.fixed(int(shape[1]) if len(shape) > 1 else 0)


def _convolution(node: Any, source: Ids, channels: Channels, slices: Slices) -> Ids | None:
    weight = node.args[1]
    size = int(weight.meta["val"].shape[0])
    groups = groups_of(node)
    if groups == 1:
        if str(weight.target) in slices:  # used twice
            return None
        ids = channels.new(_scores(node))
        slices[str(weight.target)] = {0: ids, 1: source}
    elif groups == len(source) == size:
        ids = source
        slices[str(weight.target)] = {0: ids}
    else:
        return None
    _vector(node, 2, ids, slices)
    return ids


def _linear(node: Any, source: Ids, channels: Channels, slices: Slices) -> Ids | None:
    weight = node.args[1]
    if str(weight.target) in slices or weight.meta["val"].shape[1] != len(source) or len(node.meta["val"].shape) != 2:
        return None
    ids = channels.new(_scores(node))
    slices[str(weight.target)] = {0: ids, 1: source}
    _vector(node, 2, ids, slices)
    return ids


def _batch_norm(node: Any, source: Ids, _: Channels, slices: Slices) -> Ids | None:
    for position in (1, 2, 3, 4):
        _vector(node, position, source, slices)
    return source


def _flatten(node: Any, source: Ids, *_: object) -> Ids | None:
    """Channels first: each one's places stand together."""
    shape = node.meta["val"].shape
    return np.repeat(source, int(shape[1]) // len(source)) if len(shape) == 2 else None


def _mean(node: Any, source: Ids, *_: object) -> Ids | None:
    rank = len(node.args[0].meta["val"].shape)
    return source if all(axis % rank > 1 for axis in node.args[1]) else None


def _unchanged(_: Any, source: Ids, *__: object) -> Ids | None:
    return source


_KNOWN: Mapping[str, Callable[[Any, Ids, Channels, Slices], Ids | None]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **{f"aten.{name}.default": _unchanged for name in _EACH_CHANNEL},
    **dict.fromkeys((*VIEWS, _FLATTEN), _flatten),
    "aten.mean.dim": _mean,
    LINEAR: _linear,
    _BATCH_NORM: _batch_norm,
}


def _vector(node: Any, position: int, ids: Ids, slices: Slices) -> None:
    argument = node.args[position] if len(node.args) > position else None
    if argument is not None:
        slices[str(argument.target)] = {0: ids}


def groups_of(node: Any) -> int:
    """Of a convolution; 1 of everything else."""
    return int(node.args[6]) if str(node.target) in CONVOLUTIONS and len(node.args) > 6 else 1


def _scores(node: Any) -> Sequence[float]:
    weights = _attribute(node.graph.owning_module, str(node.args[1].target)).detach().numpy()
    norms = np.sqrt(np.square(weights).reshape(len(weights), -1).sum(axis=1))
    scores: list[float] = (norms / max(float(norms.mean()), 1e-12)).tolist()
    return scores


def _attribute(module: Any, name: str) -> Any:
    owner, _, last = name.rpartition(".")
    return getattr(module.get_submodule(owner), last)


def take_out(module: Any, slices: Slices, kept: NDArray[np.bool_]) -> None:
    """Leave of each parameter and buffer what belongs to the channels that are kept."""
    for name, axes in slices.items():
        _slice(module, name, {axis: kept[ids] for axis, ids in axes.items()})
    for node in module.graph.nodes:
        if groups_of(node) > 1:
            node.args = (*node.args[:6], _attribute(module, str(node.args[1].target)).shape[0])
    module.recompile()


def _slice(module: Any, name: str, kept: Mapping[int, NDArray[np.bool_]]) -> None:
    owner, _, last = name.rpartition(".")
    holder, value = module.get_submodule(owner), _attribute(module, name)
    sliced = value.detach()
    for axis, mask in kept.items():
        sliced = sliced.index_select(axis, torch.from_numpy(np.flatnonzero(mask)))
    if isinstance(value, torch.nn.Parameter):
        setattr(holder, last, torch.nn.Parameter(sliced.clone(), requires_grad=value.requires_grad))
    else:
        holder.register_buffer(last, sliced.clone())
