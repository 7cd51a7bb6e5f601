"""Numbers to numbers of the same place, matrices, and sums over axes."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name

from converter.frontends.onnx_model.operators.table import DTYPES, Call, Operator, Table, Tensor, axes_of, entry, ints

TABLE: Table = {}

_UNARY: dict[str, Callable[[Any], Any]] = {
    "Relu": F.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Exp": torch.exp, "Log": torch.log,
    "Sqrt": torch.sqrt, "Neg": torch.neg, "Abs": torch.abs, "Floor": torch.floor, "Ceil": torch.ceil, "Erf": torch.erf,
    "Softplus": F.softplus, "Softsign": F.softsign, "HardSwish": F.hardswish, "Mish": F.mish, "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal, "Sign": torch.sign, "Round": torch.round, "Identity": lambda x: x,
    "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Sinh": torch.sinh, "Cosh": torch.cosh, "Asin": torch.asin,
    "Acos": torch.acos, "Atan": torch.atan, "IsNaN": torch.isnan,
}  # fmt: skip
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b, "Pow": lambda a, b: a**b,
    "Equal": lambda a, b: a == b, "Less": lambda a, b: a < b, "Greater": lambda a, b: a > b,
    "LessOrEqual": lambda a, b: a <= b, "GreaterOrEqual": lambda a, b: a >= b,
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
}  # fmt: skip
TABLE.update({name: Operator(lambda _, x, f=f: f(x), "elementwise") for name, f in _UNARY.items()})
TABLE.update({name: Operator(lambda _, a, b, f=f: f(a, b), "elementwise") for name, f in _BINARY.items()})


@entry(TABLE, "Div", kind="elementwise")
def _div(_: Call, a: Any, b: Any) -> Tensor:
    whole = all(isinstance(x, int) or (torch.is_tensor(x) and not x.is_floating_point()) for x in (a, b))
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


@entry(TABLE, "Mod", kind="elementwise")
def _mod(call: Call, a: Any, b: Any) -> Tensor:
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


@entry(TABLE, "Sum", kind="elementwise")
def _sum(_: Call, *terms: Any) -> Tensor:
    return sum(terms[1:], terms[0])


@entry(TABLE, "Mean", kind="elementwise")
def _mean(_: Call, *terms: Any) -> Tensor:
    return sum(terms[1:], terms[0]) / len(terms)


@entry(TABLE, "Max", kind="elementwise")
def _max(_: Call, *terms: Any) -> Tensor:
    return _extreme(terms, torch.maximum, lambda x, limit: torch.clamp(x, min=limit))


@entry(TABLE, "Min", kind="elementwise")
def _min(_: Call, *terms: Any) -> Tensor:
    return _extreme(terms, torch.minimum, lambda x, limit: torch.clamp(x, max=limit))


def _extreme(terms: tuple[Any, ...], of_two: Callable[..., Any], with_number: Callable[..., Any]) -> Tensor:
    ordered = sorted(terms, key=lambda term: not torch.is_tensor(term))
    found = ordered[0]
    for term in ordered[1:]:
        found = of_two(found, term) if torch.is_tensor(term) else with_number(found, term)
    return found


@entry(TABLE, "Clip", kind="elementwise", static=(1, 2))
def _clip(call: Call, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    least = call.get("min") if low is None else low.item()
    most = call.get("max") if high is None else high.item()
    if (least, most) == (0, 6):
        return F.relu6(x)
    return x if least is None and most is None else torch.clamp(x, least, most)


@entry(TABLE, "Where", kind="elementwise")
def _where(_: Call, condition: Tensor, a: Any, b: Any) -> Tensor:
    return torch.where(condition, a, b)


@entry(TABLE, "HardSigmoid", kind="elementwise")
def _hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    alpha, beta = call.get("alpha", 0.2), call.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-4) and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


@entry(TABLE, "LeakyRelu", kind="elementwise")
def _leaky_relu(call: Call, x: Tensor) -> Tensor:
    return F.leaky_relu(x, call.get("alpha", 0.01))


@entry(TABLE, "Elu", kind="elementwise")
def _elu(call: Call, x: Tensor) -> Tensor:
    return F.elu(x, call.get("alpha", 1.0))


@entry(TABLE, "Celu", kind="elementwise")
def _celu(call: Call, x: Tensor) -> Tensor:
    return F.celu(x, call.get("alpha", 1.0))


@entry(TABLE, "Selu", kind="elementwise")
def _selu(call: Call, x: Tensor) -> Tensor:
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    return gamma * F.elu(x, alpha)


@entry(TABLE, "ThresholdedRelu", kind="elementwise")
def _thresholded_relu(call: Call, x: Tensor) -> Tensor:
    return torch.where(x > call.get("alpha", 1.0), x, 0.0)


@entry(TABLE, "PRelu", kind="elementwise")
def _prelu(_: Call, x: Tensor, slope: Any) -> Tensor:
    return F.relu(x) - slope * F.relu(-x)


@entry(TABLE, "Gelu", kind="elementwise")
def _gelu(call: Call, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=call.get("approximate", "none"))


@entry(TABLE, "Cast", kind="elementwise")
def _cast(call: Call, x: Tensor) -> Tensor:
    if call.get("to") not in DTYPES:
        raise call.refused(f"to type {call.get('to')} (strings, 4 or 8 bits)")
    return x.to(DTYPES[call.get("to")])


@entry(TABLE, "CastLike", kind="elementwise")
def _cast_like(_: Call, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


@entry(TABLE, "Dropout", kind="elementwise", static=(1, 2))
def _dropout(_: Call, x: Tensor, *__: Any) -> Tensor:
    return x


@entry(TABLE, "Softmax", "LogSoftmax", kind="keeps")
def _softmax(call: Call, x: Tensor) -> Tensor:
    function = F.softmax if call.operator == "Softmax" else F.log_softmax
    axis = call.get("axis", -1 if call.opset >= 13 else 1) % x.dim()
    if call.opset >= 13:
        if (x.dim(), axis) == (4, 1):  # of a picture, as it lies on the device
            return function(x.permute(0, 2, 3, 1), -1).permute(0, 3, 1, 2)
        return function(x, axis)
    # older: over all axes from this one on
    if axis == x.dim() - 1 or math.prod(x.shape[axis + 1 :]) == 1:
        return function(x, axis)
    return function(x.reshape(*x.shape[:axis], -1), -1).reshape(x.shape)


@entry(TABLE, "Gemm")
def _gemm(call: Call, a: Tensor, b: Tensor, c: Any = None) -> Tensor:
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    a = a.t() if call.get("transA") else a
    weights = b if call.get("transB") else b.t()
    if alpha != 1.0:
        weights = weights * alpha
    bias = None if c is None else c * beta if beta != 1.0 else c
    if bias is not None and bias.dim() == 2 and bias.shape[0] == 1:
        bias = bias[0]
    if bias is None or (bias.dim() == 1 and bias.shape[0] == weights.shape[0]):
        return F.linear(a, weights, bias)
    return F.linear(a, weights) + bias


@entry(TABLE, "MatMul")
def _matmul(_: Call, a: Tensor, b: Tensor) -> Tensor:
    if b.dim() == 2 and a.dim() >= 2:
        return F.linear(a, b.t())  # a fully connected layer, which batched matrices are not
    return torch.matmul(a, b)


@entry(TABLE, "Einsum")
def _einsum(call: Call, *terms: Tensor) -> Tensor:
    return torch.einsum(call.get("equation"), *terms)


@entry(TABLE, "CumSum", static=(1,))
def _cumsum(call: Call, x: Tensor, axis: Any) -> Tensor:
    if call.get("exclusive") or call.get("reverse"):
        raise call.refused("that is exclusive or in reverse")
    return torch.cumsum(x, ints(axis)[0])


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(call: Call, x: Tensor, axes: Any = None) -> Tensor:
        found = axes_of(call, axes, x.dim())
        if not found:
            if call.get("noop_with_empty_axes"):
                return x
            found = list(range(x.dim()))
        if x.dim() == 4 and set(found) == {2, 3}:  # a picture, as it lies on the device
            last = function(x.permute(0, 2, 3, 1), (1, 2))
            return last.permute(0, 3, 1, 2) if call.get("keepdims", 1) else last.reshape(x.shape[:2])
        kept = function(x, tuple(found))
        if call.get("keepdims", 1):
            return kept
        return kept.reshape([size for axis, size in enumerate(kept.shape) if axis not in found])

    return reduced


def _product(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True)
    return x


# Axes are kept and dropped afterwards: litert-torch then need not transpose what has four dimensions.
_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMean": lambda x, axes: x.mean(axes, keepdim=True),
    "ReduceSum": lambda x, axes: x.sum(axes, keepdim=True),
    "ReduceMax": lambda x, axes: x.amax(axes, keepdim=True),
    "ReduceMin": lambda x, axes: x.amin(axes, keepdim=True),
    "ReduceL1": lambda x, axes: x.abs().sum(axes, keepdim=True),
    "ReduceL2": lambda x, axes: (x * x).sum(axes, keepdim=True).sqrt(),
    "ReduceSumSquare": lambda x, axes: (x * x).sum(axes, keepdim=True),
    "ReduceLogSumExp": lambda x, axes: torch.logsumexp(x, axes, keepdim=True),
    "ReduceProd": _product,
}
TABLE.update({name: Operator(_reduce(function), "keeps", frozenset({1})) for name, function in _REDUCTIONS.items()})


@entry(TABLE, "ArgMax", "ArgMin")
def _arg(call: Call, x: Tensor) -> Tensor:
    if call.get("select_last_index"):
        raise call.refused("with select_last_index")
    function = torch.argmax if call.operator == "ArgMax" else torch.argmin
    return function(x, call.get("axis", 0), bool(call.get("keepdims", 1)))
