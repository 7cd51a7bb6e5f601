"""Transposes that a model needs on its author's side only, taken out of a plan: each would run on every device."""

from dataclasses import replace
from typing import Any

from converter.frontends.onnx_model.operators.pictures import NOT_NEGATIVE
from converter.frontends.onnx_model.operators.table import Call, Tensor
from converter.frontends.onnx_model.steps import Plan, Step

_NOT_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softplus", "Exp", "Abs", "Softmax")
_FLAT_INPUTS = 2  # of a fully connected layer: what is flattened, and the weights
_PICTURE_RANK = 4


def spare_transposes(plan: Plan) -> None:
    """Change the steps of a plan such that they compute the same with fewer transposes."""
    _tell_not_negative(plan)
    _soften_in_place(plan)
    _flatten_channels_last(plan)


def _tell_not_negative(plan: Plan) -> None:
    """Tell pools whose input is never below 0 so: they need not be padded with minus infinity."""
    makers = {name: step for step in plan.steps for name in step.outputs}
    for number, step in enumerate(plan.steps):
        maker = makers.get(str(step.inputs[0])) if step.call.operator == "MaxPool" else None
        if maker is not None and maker.call.operator in _NOT_NEGATIVE:
            plan.steps[number] = replace(
                step, call=replace(step.call, attributes={**step.call.attributes, NOT_NEGATIVE: True})
            )


def _soften_in_place(plan: Plan) -> None:
    """Transpose, Softmax, Transpose back, as PyTorch writes a softmax over channels before opset 13."""
    makers = {name: step for step in plan.steps for name in step.outputs}
    for number, last in enumerate(plan.steps):
        softmax = makers.get(str(last.inputs[0])) if last.call.operator == "Transpose" else None
        if softmax is None or softmax.call.operator not in ("Softmax", "LogSoftmax"):
            continue
        first = makers.get(str(softmax.inputs[0]))
        if first is None or first.call.operator != "Transpose" or _is_used_elsewhere(plan, softmax, last):
            continue
        there, back = first.call.get("perm") or [], last.call.get("perm") or []
        rank = len(there)
        axis = softmax.call.get("axis", -1 if softmax.call.opset >= 13 else 1) % max(rank, 1)
        over_one = softmax.call.opset >= 13 or axis == rank - 1
        if not over_one or len(back) != rank or [there[place] for place in back] != list(range(rank)):
            continue
        call = Call(softmax.call.operator, {"axis": there[axis]}, 13, 1)
        plan.steps[number] = Step(call, softmax.function, first.inputs[:1], last.outputs)
        if first.inputs[0] in plan.channels_first:
            plan.channels_first.add(last.outputs[0])
    _drop_unused(plan)


def _is_used_elsewhere(plan: Plan, step: Step, user: Step) -> bool:
    name = step.outputs[0]
    return name in plan.outputs or any(name in other.inputs for other in plan.steps if other is not user)


def _drop_unused(plan: Plan) -> None:
    wanted = set(plan.outputs)
    kept: list[Step] = []
    for step in reversed(plan.steps):
        if wanted & set(step.outputs):
            kept.insert(0, step)
            wanted |= {name for name in step.inputs if isinstance(name, str)}
    plan.steps[:] = kept


def _flatten_channels_last(plan: Plan) -> None:
    """Where a picture is flattened for fully connected layers only, flatten it as it lies on the device.

    Else it would be transposed each time the model runs; so the rows of the weights are, once.
    """
    for number, step in enumerate(plan.steps):
        source = step.inputs[0] if step.inputs else None
        if step.call.operator not in ("Flatten", "Reshape") or source not in plan.channels_first:
            continue
        assert isinstance(source, str)
        shape = plan.shapes[source]
        flat = plan.shapes[step.outputs[0]]
        users = [other for other in plan.steps if step.outputs[0] in other.inputs]
        fits = (
            len(shape) == _PICTURE_RANK
            and flat == (shape[0], shape[1] * shape[2] * shape[3])
            and 1 not in (shape[1], shape[2] * shape[3])
        )
        if (
            not fits
            or step.outputs[0] in plan.outputs
            or not all(_takes_flat(plan, user, step.outputs[0]) for user in users)
        ):
            continue
        plan.steps[number] = replace(step, function=_flat)
        for user in users:
            _move_rows(plan, user, shape)


def _flat(_: Call, x: Tensor, *__: Any) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


def _takes_flat(plan: Plan, step: Step, name: str) -> bool:
    fully = step.call.operator in ("Gemm", "MatMul") and len(step.inputs) >= _FLAT_INPUTS and step.inputs[0] == name
    return fully and step.inputs[1] in plan.constants and not step.call.get("transA")


def _move_rows(plan: Plan, step: Step, shape: tuple[int, ...]) -> None:
    name = step.inputs[1]
    assert isinstance(name, str)
    weights = plan.constants[name]
    rows_last = bool(step.call.get("transB"))
    rows = weights if rows_last else weights.t()
    moved = rows.reshape(-1, *shape[1:]).permute(0, 2, 3, 1).reshape(rows.shape)
    fresh = f"{name}@flat"
    plan.constants[fresh] = (moved if rows_last else moved.t()).contiguous()
    place = plan.steps.index(step)
    plan.steps[place] = replace(step, inputs=(step.inputs[0], fresh, *step.inputs[2:]))
