"""Convolutions, pools, norms and sizes of pictures and windows, [batch, channels, …]."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its usual name

from converter.frontends.onnx_model.operators.table import Call, Table, Tensor, axes_of, entry, ints

TABLE: Table = {}

NOT_NEGATIVE = "@not_negative"  # told by the plan: padding by 0 changes no maximum then, and quantizes well

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@entry(TABLE, "Conv", kind="spatial")
def _conv(call: Call, x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = weights.dim() - 2
    strides, dilations = _each(call, "strides", axes), _each(call, "dilations", axes)
    x, padding = _padded(call, x, list(weights.shape[2:]), strides, dilations)
    return _CONVOLUTIONS[axes](x, weights, bias, strides, padding, dilations, call.get("group", 1))


@entry(TABLE, "ConvTranspose", kind="spatial")
def _conv_transpose(call: Call, x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = weights.dim() - 2
    strides, dilations = _each(call, "strides", axes), _each(call, "dilations", axes)
    more = call.get("output_padding") or [0] * axes
    kernel = list(weights.shape[2:])
    pads = call.get("pads") or [0] * 2 * axes
    shape = call.get("output_shape")
    if shape or call.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        wanted = shape[-axes:] if shape else [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
        pads = _transposed_pads(call, list(x.shape[2:]), kernel, strides, dilations, more, wanted)
    even = all(pads[axis] == pads[axes + axis] >= 0 for axis in range(axes))
    padding = pads[:axes] if even else [0] * axes
    y = _TRANSPOSED[axes](x, weights, bias, strides, padding, more, call.get("group", 1), dilations)
    if not even:
        for axis in range(axes):
            size = y.shape[2 + axis] - pads[axis] - pads[axes + axis]
            y = y.narrow(2 + axis, pads[axis], size)
    return y


def _transposed_pads(
    call: Call,
    sizes: list[int],
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    more: list[int],
    wanted: Sequence[int],
) -> list[int]:
    before, after = [], []
    for axis, size in enumerate(sizes):
        whole = strides[axis] * (size - 1) + more[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        total = max(whole - wanted[axis], 0)
        less = total // 2
        upper = call.get("auto_pad", "NOTSET") == "SAME_UPPER"
        before.append(less if upper else total - less)
        after.append(total - less if upper else less)
    return [*before, *after]


@entry(TABLE, "MaxPool", kind="spatial")
def _max_pool(call: Call, x: Tensor) -> Tensor:
    kernel = call.get("kernel_shape")
    strides, dilations = _each(call, "strides", len(kernel)), _each(call, "dilations", len(kernel))
    if call.outputs > 1:
        raise call.refused("with indices")
    ceil = bool(call.get("ceil_mode", 0))
    pads = _pads(call, x, kernel, strides, dilations)
    if any(pads):
        if call.get(NOT_NEGATIVE):
            x = F.pad(x, _torch_order(pads))
        elif all(dilation == 1 for dilation in dilations):  # then every window has the value at the edge anyway
            x = F.pad(x, _torch_order(pads), mode="replicate")
        else:
            raise call.refused("with pads and dilations, of values that may be negative")
    return _MAX_POOLS[len(kernel)](x, kernel, strides, 0, dilations, ceil)


@entry(TABLE, "AveragePool", kind="spatial")
def _average_pool(call: Call, x: Tensor) -> Tensor:
    kernel = call.get("kernel_shape")
    strides, dilations = _each(call, "strides", len(kernel)), _each(call, "dilations", len(kernel))
    counted = bool(call.get("count_include_pad", 0))
    if any(dilation != 1 for dilation in dilations):
        raise call.refused("with dilations")
    pads = _pads(call, x, kernel, strides, dilations)
    even, ceil = _even(pads), bool(call.get("ceil_mode", 0))
    pool = _AVERAGE_POOLS[len(kernel)]
    if even is not None and (ceil or not any(even)):
        return pool(x, kernel, strides, even, ceil, counted)
    if counted:  # padded before, it need not be transposed
        return pool(F.pad(x, _torch_order(pads)), kernel, strides, 0, ceil)
    summed = pool(F.pad(x, _torch_order(pads)), kernel, strides, 0, ceil)
    share = pool(F.pad(torch.ones(1, 1, *x.shape[2:]), _torch_order(pads)), kernel, strides, 0, ceil)
    return summed / share


@entry(TABLE, "GlobalAveragePool", kind="spatial")
def _global_average_pool(_: Call, x: Tensor) -> Tensor:
    if x.dim() == 4:  # as it lies on the device, whatever else needs it
        return x.permute(0, 2, 3, 1).mean((1, 2), keepdim=True).permute(0, 3, 1, 2)
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@entry(TABLE, "GlobalMaxPool", kind="spatial")
def _global_max_pool(_: Call, x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


@entry(TABLE, "BatchNormalization", kind="spatial")
def _batch_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if call.get("training_mode"):
        raise call.refused("in training mode")
    factor = scale / torch.sqrt(variance + call.get("epsilon", 1e-5))
    shape = [1, -1, *[1] * (x.dim() - 2)]
    return x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)


@entry(TABLE, "InstanceNormalization", kind="spatial")
def _instance_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    axes, shape = tuple(range(2, x.dim())), [1, -1, *[1] * (x.dim() - 2)]
    return _normalized(x, axes, call.get("epsilon", 1e-5)) * scale.reshape(shape) + bias.reshape(shape)


@entry(TABLE, "GroupNormalization", kind="spatial")
def _group_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = call.get("num_groups")
    if scale.shape[0] != x.shape[1]:  # opset 18 has one for each group
        scale, bias = (one.repeat_interleave(x.shape[1] // groups) for one in (scale, bias))
    return F.group_norm(x, groups, scale, bias, call.get("epsilon", 1e-5))


@entry(TABLE, "LayerNormalization")
def _layer_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = call.get("axis", -1) % x.dim()
    y = _normalized(x, tuple(range(axis, x.dim())), call.get("epsilon", 1e-5)) * scale
    return y if bias is None else y + bias


def _normalized(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    centered = x - x.mean(axes, keepdim=True)
    return centered / torch.sqrt((centered * centered).mean(axes, keepdim=True) + epsilon)


@entry(TABLE, "LpNormalization", kind="keeps")
def _lp_normalization(call: Call, x: Tensor) -> Tensor:
    axis, power = call.get("axis", -1), call.get("p", 2)
    norm = x.abs().sum(axis, keepdim=True) if power == 1 else (x * x).sum(axis, keepdim=True).sqrt()
    return x / torch.clamp(norm, min=1e-12)


@entry(TABLE, "LRN", kind="spatial")
def _lrn(call: Call, x: Tensor) -> Tensor:
    return F.local_response_norm(
        x, call.get("size"), call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0)
    )


@entry(TABLE, "Pad", kind="keeps", static=(1, 2, 3))
def _pad(call: Call, x: Tensor, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    given = ints(call.get("pads", call.get("paddings")) if pads is None else pads)
    where = axes_of(call, axes, x.dim()) or list(range(x.dim()))
    full = [(0, 0)] * x.dim()
    for number, axis in enumerate(where):
        full[axis] = (given[number], given[len(where) + number])
    order = [size for pair in reversed(full) for size in pair]
    mode = call.get("mode", "constant")
    if mode == "constant":
        return F.pad(x, order, value=float(value) if value is not None else call.get("value", 0.0))
    if mode not in ("reflect", "edge"):
        raise call.refused(f"with mode {mode}")
    if x.dim() == 4 and full[:2] == [(0, 0), (0, 0)]:
        return F.pad(x, order[:4], mode={"reflect": "reflect", "edge": "replicate"}[mode])
    for axis, (before, after) in enumerate(full):  # elsewhere PyTorch has not all of them
        if before or after:
            size = x.shape[axis]
            places = np.pad(np.arange(size), (before, after), mode=mode)
            x = torch.index_select(x, axis, torch.from_numpy(places))
    return x


@entry(TABLE, "DepthToSpace", kind="spatial")
def _depth_to_space(call: Call, x: Tensor) -> Tensor:
    block = call.get("blocksize")
    if call.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    count, channels, height, width = x.shape
    less = channels // block**2
    moved = x.reshape(count, block, block, less, height, width).permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(count, less, height * block, width * block)


@entry(TABLE, "SpaceToDepth", kind="spatial")
def _space_to_depth(call: Call, x: Tensor) -> Tensor:
    block = call.get("blocksize")
    count, channels, height, width = x.shape
    moved = x.reshape(count, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(count, channels * block**2, height // block, width // block)


@entry(TABLE, "Resize", "Upsample", kind="spatial", static=(1, 2, 3))
def _resize(call: Call, x: Tensor, *more: Any) -> Tensor:
    sizes = _resized(call, x, more)
    mode = call.get("mode", "nearest")
    where = call.get("coordinate_transformation_mode", "half_pixel" if call.opset >= 11 else "asymmetric")
    if sizes == list(x.shape):
        return x
    if x.dim() == 4 and sizes[:2] == list(x.shape[:2]):
        whole = all(new % old == 0 for new, old in zip(sizes[2:], x.shape[2:], strict=True))
        if mode == "nearest" and whole:  # then all the ways to round give the same
            return F.interpolate(x, size=sizes[2:], mode="nearest")
        halves = where in ("half_pixel", "pytorch_half_pixel") and all(size > 1 for size in sizes[2:])
        if mode == "linear" and halves and not call.get("antialias"):
            return F.interpolate(x, size=sizes[2:], mode="bilinear", align_corners=False)
        if mode == "linear" and where == "align_corners":
            return F.interpolate(x, size=sizes[2:], mode="bilinear", align_corners=True)
    for axis, size in enumerate(sizes):
        if size != x.shape[axis]:
            x = _resample(call, x, axis, size, where)
    return x


def _resized(call: Call, x: Tensor, more: tuple[Any, ...]) -> list[int]:
    sizes = more[2] if len(more) > 2 else None
    axes = [axis % x.dim() for axis in call.get("axes") or range(x.dim())]
    if sizes is not None and len(sizes):
        if call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise call.refused("that keeps the aspect ratio")
        chosen = ints(sizes)
    else:
        # Upsample and the oldest Resize have no region of interest: the scales come first
        scales = call.get("scales") or next(value for value in reversed(more) if value is not None and len(value))
        chosen = [math.floor(x.shape[axis] * float(scale)) for axis, scale in zip(axes, scales, strict=True)]
    found = list(x.shape)
    for axis, size in zip(axes, chosen, strict=True):
        found[axis] = size
    return found


def _resample(call: Call, x: Tensor, axis: int, size: int, where: str) -> Tensor:
    """Along one axis, by a matrix: what PyTorch has no operator for."""
    old = x.shape[axis]
    if call.get("antialias") or call.get("mode", "nearest") == "cubic":
        raise call.refused("that is cubic or antialiased")
    places = np.arange(size, dtype=np.float64)
    match where:
        case "half_pixel" | "pytorch_half_pixel":
            found = (places + 0.5) * old / size - 0.5 if size > 1 or where == "half_pixel" else np.zeros(1)
        case "align_corners":
            found = places * (old - 1) / max(size - 1, 1)
        case "asymmetric":
            found = places * old / size
        case _:
            raise call.refused(f"with coordinates of {where}")
    if call.get("mode", "nearest") == "nearest":
        rounded = _nearest(found, call.get("nearest_mode", "round_prefer_floor" if call.opset >= 11 else "floor"))
        picked = torch.from_numpy(np.clip(rounded, 0, old - 1).astype(np.int64))
        return torch.index_select(x, axis, picked)
    found = np.clip(found, 0, old - 1)
    low = np.floor(found).astype(np.int64)
    high = np.minimum(low + 1, old - 1)
    matrix = np.zeros((size, old), np.float32)
    np.add.at(matrix, (np.arange(size), low), (1 - (found - low)).astype(np.float32))
    np.add.at(matrix, (np.arange(size), high), (found - low).astype(np.float32))
    moved = F.linear(x.movedim(axis, -1), torch.from_numpy(matrix))
    return moved.movedim(-1, axis)


def _nearest(places: Any, mode: str) -> Any:
    match mode:
        case "floor":
            return np.floor(places)
        case "ceil":
            return np.ceil(places)
        case "round_prefer_ceil":
            return np.floor(places + 0.5)
        case _:
            return np.ceil(places - 0.5)


def _each(call: Call, name: str, axes: int) -> list[int]:
    return list(call.get(name) or [1] * axes)


def _pads(call: Call, x: Tensor, kernel: Sequence[int], strides: list[int], dilations: list[int]) -> list[int]:
    """As ONNX has them: all beginnings, then all ends."""
    mode = call.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for axis, size in enumerate(x.shape[2:]):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
            less = total // 2
            before.append(less if mode == "SAME_UPPER" else total - less)
            after.append(total - less if mode == "SAME_UPPER" else less)
        return [*before, *after]
    return [0] * 2 * len(kernel) if mode == "VALID" else list(call.get("pads") or [0] * 2 * len(kernel))


def _even(pads: list[int]) -> list[int] | None:
    """Pads that are the same on both sides, which PyTorch's operators take themselves."""
    axes = len(pads) // 2
    return pads[:axes] if pads[:axes] == pads[axes:] else None


def _torch_order(pads: list[int]) -> list[int]:
    axes = len(pads) // 2
    return [size for axis in reversed(range(axes)) for size in (pads[axis], pads[axes + axis])]


def _padded(
    call: Call, x: Tensor, kernel: Sequence[int], strides: list[int], dilations: list[int]
) -> tuple[Tensor, list[int]]:
    """The input, padded where the operator cannot do it itself, and the padding that is left to the operator."""
    pads = _pads(call, x, kernel, strides, dilations)
    even = _even(pads)
    if even is not None:
        return x, even
    return F.pad(x, _torch_order(pads)), [0] * len(kernel)
