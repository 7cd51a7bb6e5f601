"""A function of PyTorch as one graph, whose pictures lie [batch, height, width, channels] at both ends.

litert-torch turns the inside around by itself. What it would transpose each time the model runs is written otherwise
here: means over pictures and softmax over channels, and the convolutions of traced TorchScript.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from converter.errors import ConversionError

_SPATIAL = (
    "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "max_pool1d", "max_pool2d",
    "max_pool2d_with_indices", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_nearest1d",
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "instance_norm", "group_norm",
    "pixel_shuffle", "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d", "replication_pad2d",
)  # fmt: skip
_KEEPING = (
    "cat", "pad", "constant_pad_nd", "softmax", "_softmax", "log_softmax", "slice", "clone", "contiguous", "dropout",
    "to", "prelu", "where", "detach", "alias", "_to_copy", "relu6", "hardtanh", "hardswish", "hardsigmoid", "silu",
    "gelu", "mish", "elu", "leaky_relu", "relu", "relu_", "sigmoid", "tanh", "getitem", "mean", "sum", "amax",
)  # fmt: skip
_PICTURE_RANK = 4
_NOT_NEGATIVE = ("relu", "relu_", "relu6", "relu6_", "sigmoid", "hardsigmoid", "softplus", "exp", "abs")
_RANDOM = ("dropout", "native_dropout", "rand_like", "bernoulli", "bernoulli_", "feature_dropout", "alpha_dropout")
_NORMS = ("batch_norm", "native_batch_norm", "instance_norm")


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph as a module that takes and gives channels-last tensors."""

    module: Any
    used: tuple[bool, ...]  # of each input of the function, whether anything depends on it; the module takes those only
    input_axes: tuple[tuple[int, ...], ...]  # how each input of the function is transposed for the module
    output_axes: tuple[tuple[int, ...], ...]


def trace_channels_last(function: Callable[..., tuple[Any, ...]], samples: Sequence[Any]) -> Traced:
    """Trace `function` with sample tensors.

    Raises:
        ConversionError: it decides by the values of its input, or was exported while training.
    """
    try:
        graph_module = make_fx(function, pre_dispatch=True)(*samples)
    except ConversionError:
        raise
    except Exception as error:  # TorchScript and PyTorch raise what they like
        _check_runs(function, samples)
        raise ConversionError(
            "what the model does depends on the values of its input (an if, a loop, a size), which TFLite cannot",
            hint="write it with torch.where, or export the branches as models of their own",
        ) from error
    _plain_convolutions(graph_module.graph)
    _check_evaluating(graph_module.graph)
    placeholders = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
    outputs = next(node for node in graph_module.graph.nodes if node.op == "output").args[0]
    outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
    if any(not isinstance(node, torch.fx.Node) for node in outputs):
        raise ConversionError("an output does not depend on the model's input", hint="leave that output out")
    first = _channels_first(graph_module.graph)
    used = tuple(bool(node.users) for node in placeholders)
    _average_in_place(graph_module.graph)
    _soften_in_place(graph_module.graph)
    _pad_pools(graph_module.graph)
    graph_module.recompile()
    wrapped = _ChannelsLast(
        graph_module,
        [first[node] for node in placeholders],
        [first.get(node, False) for node in outputs],
        samples,
        used,
    )
    return Traced(
        wrapped,
        used,
        tuple(_last_axes(_rank(node), moved=first[node]) for node in placeholders),
        tuple(_last_axes(_rank(node), moved=first.get(node, False)) for node in outputs),
    )


def _check_runs(function: Callable[..., tuple[Any, ...]], samples: Sequence[Any]) -> None:
    """What runs but cannot be traced looks at values."""
    try:
        function(*samples)
    except Exception as error:  # see above
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConversionError(
            f"PyTorch cannot run it: {lines[-1] if lines else type(error).__name__}",
            hint="its inputs may need other sizes: --input-shape NAME=1,…",
        ) from error


class _ChannelsLast(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not installed where types are checked
    def __init__(
        self, inner: Any, inputs: Sequence[bool], outputs: Sequence[bool], samples: Sequence[Any], used: Sequence[bool]
    ) -> None:
        super().__init__()
        self.inner = inner
        self.inputs, self.outputs, self.used = tuple(inputs), tuple(outputs), tuple(used)
        self.unused = tuple(
            None if is_used else tuple(sample.shape) for sample, is_used in zip(samples, used, strict=True)
        )

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        given = iter(tensors)
        filled = []
        for first, shape in zip(self.inputs, self.unused, strict=True):
            if shape is not None:
                filled.append(torch.zeros(shape))
                continue
            tensor = next(given)
            rank = tensor.dim()
            filled.append(tensor.permute((0, rank - 1, *range(1, rank - 1))) if first else tensor)
        told = self.inner(*filled)
        told = told if isinstance(told, tuple | list) else (told,)
        return tuple(
            tensor.permute(_last_axes(tensor.dim(), moved=first))
            for tensor, first in zip(told, self.outputs, strict=True)
        )


def _last_axes(rank: int, *, moved: bool) -> tuple[int, ...]:
    return (0, *range(2, rank), 1) if moved else tuple(range(rank))


def _name(node: Any) -> str:
    """`conv2d` of aten.conv2d.default."""
    target = node.target
    return str(getattr(target, "overloadpacket", target)).rpartition(".")[2] if node.op == "call_function" else ""


def _rank(node: Any) -> int:
    value = node.meta.get("val", node.meta.get("tensor_meta"))
    if isinstance(value, tuple | list) and not hasattr(value, "shape"):
        value = value[0] if value else None
    return len(value.shape) if hasattr(value, "shape") else 0


def _channels_first(graph: Any) -> dict[Any, bool]:
    """Which values lie [batch, channels, …], the inputs among them."""
    first: dict[Any, bool] = {}
    origin: dict[Any, frozenset[Any]] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            first[node], origin[node] = False, frozenset({node})
            continue
        if node.op != "call_function":
            continue
        alike = [other for other in node.all_input_nodes if other in first and _rank(other) == _rank(node)]
        name = _name(node)
        spatial = name in _SPATIAL and _rank(node) >= 3
        if spatial and alike:
            for source in origin.get(alike[0], frozenset()):
                first[source] = True
        pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
        keeps = pointwise or name in _KEEPING
        first[node] = spatial or (keeps and any(first[other] for other in alike))
        if keeps and not spatial:
            origin[node] = frozenset().union(*(origin.get(other, frozenset()) for other in alike))
    return first


def _check_evaluating(graph: Any) -> None:
    for node in graph.nodes:
        name = _name(node)
        flags = [argument for argument in node.args if isinstance(argument, bool)]
        if (name in _RANDOM and (not flags or any(flags))) or (name in _NORMS and flags[:1] == [True]):
            raise ConversionError(
                f"it was exported while training: {name} is random, or made of the batch",
                hint="call model.eval() before it is exported",
            )


def _plain_convolutions(graph: Any) -> None:
    """Traced TorchScript calls PyTorch's inner convolution, whose further arguments are about the machine."""
    for node in graph.nodes:
        if _name(node) == "_convolution":
            node.target, node.args = torch.ops.aten.convolution.default, node.args[:9]


def _soften_in_place(graph: Any) -> None:
    """A softmax over the channels of a picture too; over any but the last axis it would be taken apart."""
    for node in list(graph.nodes):
        if _name(node) not in ("softmax", "_softmax", "log_softmax") or _rank(node) != _PICTURE_RANK:
            continue
        if node.args[1] not in (1, 1 - _PICTURE_RANK):
            continue
        with graph.inserting_before(node):
            last = graph.call_function(torch.ops.aten.permute.default, (node.args[0], [0, 2, 3, 1]))
            soft = graph.call_function(node.target, (last, 3, *node.args[2:]), node.kwargs)
            found = graph.call_function(torch.ops.aten.permute.default, (soft, [0, 3, 1, 2]))
        found.meta = dict(node.meta)
        node.replace_all_uses_with(found)
        graph.erase_node(node)


def _average_in_place(graph: Any) -> None:
    """Means and sums over a picture are taken as it lies on the device, whatever else needs the picture."""
    for node in list(graph.nodes):
        axes = node.args[1] if len(node.args) > 1 else None
        if (
            _name(node) not in ("mean", "sum")
            or not isinstance(axes, list | tuple)
            or _rank(node.args[0]) != _PICTURE_RANK
        ):
            continue
        if {axis % _PICTURE_RANK for axis in axes} != {2, 3} or node.kwargs.get("dtype") is not None:
            continue
        keep = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
        with graph.inserting_before(node):
            last = graph.call_function(torch.ops.aten.permute.default, (node.args[0], [0, 2, 3, 1]))
            found = graph.call_function(node.target, (last, [1, 2], keep))
            if keep:
                found = graph.call_function(torch.ops.aten.permute.default, (found, [0, 3, 1, 2]))
        found.meta = dict(node.meta)
        node.replace_all_uses_with(found)
        graph.erase_node(node)


def _pad_pools(graph: Any) -> None:
    """Pad before a pool of maxima: else litert-torch does with minus infinity, which cannot be quantized."""
    for node in list(graph.nodes):
        padding = node.args[3] if len(node.args) > 3 else 0
        if _name(node) != "max_pool2d" or not any(padding if isinstance(padding, list | tuple) else [padding]):
            continue
        rows, columns = (padding * 2)[:2] if isinstance(padding, list | tuple) else (padding, padding)
        dilation = node.args[4] if len(node.args) > 4 else 1
        dilated = any(size != 1 for size in (dilation if isinstance(dilation, list | tuple) else [dilation]))
        order = [columns, columns, rows, rows]
        with graph.inserting_before(node):
            if _name(node.args[0]) in _NOT_NEGATIVE:
                padded = graph.call_function(torch.ops.aten.constant_pad_nd.default, (node.args[0], order))
            elif not dilated:  # then every window has the value at the edge anyway
                padded = graph.call_function(torch.ops.aten.replication_pad2d.default, (node.args[0], order))
            else:
                continue
        node.args = (padded, node.args[1], node.args[2] if len(node.args) > 2 else [], 0, *node.args[4:])
