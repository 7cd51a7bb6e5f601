"""What moves, cuts, joins and counts elements without computing with them."""

import math
from typing import Any

import torch

from converter.frontends.onnx_model.operators.table import Call, Table, Tensor, axes_of, entry, ints

TABLE: Table = {}


@entry(TABLE, "Flatten")
def _flatten(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", 1)
    axis = axis if axis >= 0 else axis + x.dim()
    return x.reshape(math.prod(x.shape[:axis]), -1)


@entry(TABLE, "Reshape", static=(1,))
def _reshape(call: Call, x: Tensor, shape: Any = None) -> Tensor:
    asked = ints(call.get("shape") if shape is None else shape)
    if not call.get("allowzero"):
        asked = [x.shape[axis] if size == 0 else size for axis, size in enumerate(asked)]
    return x.reshape(asked)


@entry(TABLE, "Transpose")
def _transpose(call: Call, x: Tensor) -> Tensor:
    return x.permute(call.get("perm") or list(reversed(range(x.dim()))))


@entry(TABLE, "Concat", kind="keeps")
def _concat(call: Call, *parts: Tensor) -> Tensor:
    return torch.cat(parts, call.get("axis", 1))


@entry(TABLE, "Unsqueeze", static=(1,))
def _unsqueeze(call: Call, x: Tensor, axes: Any = None) -> Tensor:
    given = ints(call.get("axes") if axes is None else axes)
    rank = x.dim() + len(given)
    for axis in sorted(axis % rank for axis in given):
        x = x.unsqueeze(axis)
    return x


@entry(TABLE, "Squeeze", static=(1,))
def _squeeze(call: Call, x: Tensor, axes: Any = None) -> Tensor:
    found = axes_of(call, axes, x.dim())
    return x.squeeze() if found is None else x.squeeze(tuple(found))


@entry(TABLE, "Shape")
def _shape(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[call.get("start", 0) : call.get("end")], dtype=torch.int64)


@entry(TABLE, "Size")
def _size(_: Call, x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


@entry(TABLE, "Gather")
def _gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    axis = call.get("axis", 0) % x.dim()
    if not indices.is_floating_point() and indices.dtype != torch.uint8:
        indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    picked = torch.index_select(x, axis, indices.reshape(-1))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@entry(TABLE, "GatherElements")
def _gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    return torch.gather(x, call.get("axis", 0), indices)


@entry(TABLE, "ArrayFeatureExtractor")
def _array_feature_extractor(_: Call, x: Tensor, indices: Tensor) -> Tensor:
    return torch.index_select(x, x.dim() - 1, indices.reshape(-1))


@entry(TABLE, "Slice", kind="keeps", static=(1, 2, 3, 4))
def _slice(call: Call, x: Tensor, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Tensor:
    begin = ints(call.get("starts") if starts is None else starts)
    end = ints(call.get("ends") if ends is None else ends)
    where = axes_of(call, axes, x.dim()) or list(range(len(begin)))
    stride = [1] * len(begin) if steps is None else ints(steps)
    for first, last, axis, step in zip(begin, end, where, stride, strict=True):
        chosen = range(*slice(first, last if step > 0 or last >= -x.shape[axis] else None, step).indices(x.shape[axis]))
        if step > 0:
            x = (
                x.narrow(axis, chosen.start, max(chosen.stop - chosen.start, 0))
                if step == 1
                else _strided(x, axis, chosen)
            )
        elif chosen == range(x.shape[axis] - 1, -1, -1):
            x = torch.flip(x, [axis])
        else:
            x = torch.index_select(x, axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x


def _strided(x: Tensor, axis: int, chosen: range) -> Tensor:
    cut = [slice(None)] * x.dim()
    cut[axis] = slice(chosen.start, chosen.stop, chosen.step)
    return x[tuple(cut)]


@entry(TABLE, "Split", kind="keeps", static=(1,))
def _split(call: Call, x: Tensor, sizes: Any = None) -> Any:
    axis = call.get("axis", 0)
    given = call.get("split") if sizes is None else sizes
    if given is not None and len(given):
        return torch.split(x, ints(given), axis)
    return torch.split(x, -(-x.shape[axis] // call.outputs), axis)


@entry(TABLE, "Expand", static=(1,))
def _expand(_: Call, x: Tensor, shape: Any) -> Tensor:
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


@entry(TABLE, "Tile", static=(1,))
def _tile(_: Call, x: Tensor, repeats: Any) -> Tensor:
    return x.repeat(ints(repeats))


@entry(TABLE, "ConstantOfShape", static=(0,))
def _constant_of_shape(call: Call, shape: Any) -> Tensor:
    value = call.get("value")
    if value is None:
        return torch.zeros(ints(shape))
    filled = torch.from_numpy(value.reshape(-1)[:1].copy())
    return filled.expand(ints(shape) or [1]).reshape(ints(shape)).clone()


@entry(TABLE, "Range", static=(0, 1, 2))
def _range(_: Call, start: Any, limit: Any, delta: Any) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=torch.from_numpy(start).dtype)


@entry(TABLE, "OneHot", static=(1, 2))
def _one_hot(call: Call, indices: Tensor, depth: Any, values: Any) -> Tensor:
    if call.get("axis", -1) not in (-1, indices.dim()):
        raise call.refused("along an axis that is not the last")
    off, on = values.reshape(-1).tolist()
    places = torch.arange(ints(depth)[0])
    return torch.where(indices.unsqueeze(-1) == places, float(on), float(off))


@entry(TABLE, "Trilu", static=(1,))
def _trilu(call: Call, x: Tensor, diagonal: Any = None) -> Tensor:
    function = torch.triu if call.get("upper", 1) else torch.tril
    return function(x, 0 if diagonal is None else ints(diagonal)[0])


@entry(TABLE, "ZipMap")  # its map of names to scores is left out: the scores are the output
def _zip_map(_: Call, x: Tensor) -> Tensor:
    return x
