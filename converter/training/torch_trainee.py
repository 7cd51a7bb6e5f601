"""A PyTorch ExportedProgram (`.pt2`) as a `Trainee`. Only its child process imports this.

What was exported in eval mode keeps the statistics of its batch normalizations. A batch that was exported as 1 is
opened here, and held to give for two samples what it gives for each.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converter.errors import ConversionError
from converter.training.channels import Channels, nothing_to_spare
from converter.training.torch_channels import CONVOLUTIONS, LINEAR, VIEWS, groups_of, take_out, trace
from converter.training.trainee import Inputs, Kernel, Objective, Real

_PREDICTED_TOGETHER = 256
_SAME = 1e-4
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # as Adam names them


class TorchTrainee:
    suffix = ".pt2"

    def __init__(self, path: Path) -> None:
        try:
            program = torch.export.load(str(path))
        except Exception as error:
            raise ConversionError(
                f"PyTorch {torch.__version__} cannot load it: {(str(error).splitlines() or [''])[0]}",
                hint="export it again: torch.export.save(torch.export.export(model, inputs), FILE)",
            ) from error
        self._module = program.module()
        self._optimizer: torch.optim.Optimizer | None = None
        self._shape = _input_shape(self._module)
        _open_batch(self._module)
        self._check_batch()
        self._set_up()

    def _check_batch(self) -> None:
        pair = torch.rand((2, *self._shape[1:]), generator=torch.Generator().manual_seed(0))
        try:
            together = self._module(pair)
            apart = torch.cat([self._module(pair[:1]), self._module(pair[1:])])
            same = together.shape == apart.shape and torch.allclose(together, apart, atol=_SAME, rtol=_SAME)
        except (RuntimeError, AttributeError, TypeError):
            same = False
        if not same:
            raise ConversionError(
                "the exported program takes no more than one sample at a time, or has several outputs",
                hint="export it with a dynamic batch: dynamic_shapes={'x': {0: torch.export.Dim('batch')}}",
            )

    def _set_up(self) -> None:
        self._kernels = {}
        for node in self._module.graph.nodes:
            if str(node.target) in (*CONVOLUTIONS, LINEAR):
                name = str(node.args[1].target)
                self._kernels[name] = Kernel(groups_of(node) > 1, 0)
        self._parameters = dict(self._module.named_parameters())

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return self._shape[1:]

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        return self._kernels

    def read(self, name: str) -> Real:
        weights: Real = self._parameters[name].detach().numpy().copy()
        return weights

    def write(self, name: str, weights: Real) -> None:
        with torch.no_grad():
            self._parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(weights)))

    def begin(self, learning_rate: float) -> None:
        self._optimizer = torch.optim.Adam(self._module.parameters(), lr=learning_rate)

    def train(self, x: Real, y: NDArray[Any], teacher: Real | None, objective: Objective) -> float:
        assert self._optimizer is not None, "begin is called first"
        self._optimizer.zero_grad()
        found = self._module(torch.from_numpy(x))
        loss = _loss(found, torch.from_numpy(y), objective)
        if teacher is not None and objective.teacher_weight:
            loss = (1 - objective.teacher_weight) * loss + objective.teacher_weight * _teacher_loss(
                found, torch.from_numpy(teacher), objective
            )
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def predict(self, x: Inputs) -> Real:
        with torch.no_grad():
            parts = [
                self._module(torch.from_numpy(x[start : start + _PREDICTED_TOGETHER])).numpy()
                for start in range(0, len(x), _PREDICTED_TOGETHER)
            ]
        return np.concatenate(parts)

    def state(self) -> Sequence[NDArray[Any]]:
        """Adam keeps a step count and two moments for each parameter that it has moved: none for frozen ones."""
        assert self._optimizer is not None
        kept = [value.detach().numpy().copy() for value in self._module.state_dict().values()]
        for parameter in self._module.parameters():
            moments = self._optimizer.state.get(parameter, {})
            kept += [np.array(bool(moments)), *(moments[key].numpy().copy() for key in _MOMENTS if moments)]
        return kept

    def load_state(self, state: Sequence[NDArray[Any]]) -> None:
        assert self._optimizer is not None
        names = list(self._module.state_dict())
        values = [torch.from_numpy(np.array(value)) for value in state]
        self._module.load_state_dict(dict(zip(names, values, strict=False)))
        moments = iter(values[len(names) :])
        for parameter in self._module.parameters():
            if next(moments):
                self._optimizer.state[parameter] = {key: next(moments) for key in _MOMENTS}

    def save(self, path: Path) -> None:
        program = torch.export.export(self._module, (torch.zeros(self._shape),))
        torch.export.save(program, str(path))

    # --- structured pruning -----------------------------------------------------------------------------------

    def narrow(self, share: float, multiple: int) -> int:
        channels = Channels()
        slices = trace(self._module, channels)
        kept = channels.keep(share, multiple)
        gone = int((~kept).sum())
        if not gone:
            raise nothing_to_spare(share, multiple)
        take_out(self._module, slices, kept)
        self._set_up()
        return gone


def _input_shape(module: Any) -> tuple[int, ...]:
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    if len(placeholders) != 1:
        raise ConversionError("only models with one input and one output can be trained here")
    return (1, *(int(size) for size in placeholders[0].meta["val"].shape[1:]))


def _open_batch(module: Any) -> None:
    """Take out the guard that holds the batch to 1, and the 1 from sizes."""
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.name.startswith("_guards_fn"):
            module.graph.erase_node(node)
        elif str(node.target) in VIEWS:
            sizes = list(node.args[1])
            shape, given = node.meta["val"].shape, node.args[0].meta["val"].shape
            if len(shape) == 2 and len(given) > 2 and shape[1] == math.prod(given[1:]):
                # sizes of its own would not follow when channels are taken out
                node.target, node.args = torch.ops.aten.flatten.using_ints, (node.args[0], 1)
            elif sizes and sizes[0] == 1 and given[0] == 1:
                node.args = (node.args[0], [-1, *(int(size) for size in shape[1:])])
    module.recompile()


# --- losses ---------------------------------------------------------------------------------------------------------


def _loss(found: Any, y: Any, objective: Objective) -> Any:
    functional = torch.nn.functional
    match objective.loss:
        case "crossentropy":
            log_shares = torch.log_softmax(_logits(found, probabilities=objective.probabilities), -1).reshape(
                -1, found.shape[-1]
            )
            return functional.nll_loss(log_shares, y.reshape(-1).long())
        case "binary_crossentropy":
            target = y.reshape(found.shape).to(found.dtype)
            if objective.probabilities:
                return functional.binary_cross_entropy(found, target)
            return functional.binary_cross_entropy_with_logits(found, target)
        case "mse":
            return functional.mse_loss(found, y.reshape(found.shape).to(found.dtype))


def _teacher_loss(found: Any, teacher: Any, objective: Objective) -> Any:
    teacher = teacher.reshape(found.shape)
    alike = objective.probabilities == objective.teacher_probabilities
    if objective.loss != "crossentropy":
        if objective.loss == "binary_crossentropy" and not alike:
            found, teacher = (
                values if probabilities else torch.sigmoid(values)
                for values, probabilities in (
                    (found, objective.probabilities),
                    (teacher, objective.teacher_probabilities),
                )
            )
        return torch.nn.functional.mse_loss(found, teacher)
    warm = objective.temperature
    student = torch.log_softmax(_logits(found, probabilities=objective.probabilities) / warm, -1)
    word = torch.log_softmax(_logits(teacher, probabilities=objective.teacher_probabilities) / warm, -1)
    return warm**2 * torch.nn.functional.kl_div(student, word, reduction="batchmean", log_target=True)


def _logits(values: Any, *, probabilities: bool) -> Any:
    return torch.log(values.clamp(1e-7, 1.0)) if probabilities else values
