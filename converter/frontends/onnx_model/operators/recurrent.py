"""LSTM, GRU and RNN, their loop over time unrolled: a window has a fixed number of steps.

Source: the equations in ONNX's Operators.md. Weights are [directions, gates x hidden, inputs].
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name

from converter.frontends.onnx_model.operators.table import Call, Table, Tensor, entry

TABLE: Table = {}
_MOST_STEPS = 512  # each one is some ten operators of the model
State = tuple[Any, ...]


@entry(TABLE, "LSTM", static=(4,))
def _lstm(
    call: Call,
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Any = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> Any:
    if peepholes is not None or call.get("input_forget"):
        raise call.refused("with peepholes or a coupled forget gate")
    _check(call, x, lengths, ("Sigmoid", "Tanh", "Tanh"))

    def step(direction: int, prepared: Tensor, state: State) -> State:
        before, memory = state
        gates = prepared + F.linear(before, recurrent[direction])
        come, out, forget, new = gates.chunk(4, -1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(come) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(memory), memory

    return _run(call, x, weights, _both_biases(bias), step, (hidden, cell))


@entry(TABLE, "GRU", static=(4,))
def _gru(
    call: Call,
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Any = None,
    hidden: Tensor | None = None,
) -> Any:
    _check(call, x, lengths, ("Sigmoid", "Tanh"))
    size = recurrent.shape[-1]
    ours, theirs = (None, None) if bias is None else bias.chunk(2, -1)

    def step(direction: int, prepared: Tensor, state: State) -> State:
        (before,) = state
        weight, more = recurrent[direction], None if theirs is None else theirs[direction]
        gates = F.linear(before, weight[: 2 * size], None if more is None else more[: 2 * size])
        update, reset = torch.sigmoid(prepared[..., : 2 * size] + gates).chunk(2, -1)
        last = None if more is None else more[2 * size :]
        if call.get("linear_before_reset"):
            again = reset * F.linear(before, weight[2 * size :], last)
        else:
            again = F.linear(reset * before, weight[2 * size :], last)
        new = torch.tanh(prepared[..., 2 * size :] + again)
        return ((1 - update) * new + update * before,)

    return _run(call, x, weights, ours, step, (hidden,))


@entry(TABLE, "RNN", static=(4,))
def _rnn(
    call: Call,
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    lengths: Any = None,
    hidden: Tensor | None = None,
) -> Any:
    _check(call, x, lengths, ("Tanh",))

    def step(direction: int, prepared: Tensor, state: State) -> State:
        return (torch.tanh(prepared + F.linear(state[0], recurrent[direction])),)

    return _run(call, x, weights, _both_biases(bias), step, (hidden,))


def _both_biases(bias: Tensor | None) -> Tensor | None:
    """The input's and the recurrent one are only ever added."""
    return None if bias is None else sum(bias.chunk(2, -1))


def _check(call: Call, x: Tensor, lengths: Any, usual: tuple[str, ...]) -> None:
    steps = x.shape[1 if call.get("layout") else 0]
    given = call.get("activations") or []
    if [name.lower() for name in given] != [name.lower() for name in usual] * (len(given) // len(usual)):
        raise call.refused(f"with activations {', '.join(given)}")
    if call.get("clip") is not None:
        raise call.refused("that clips")
    if lengths is not None and any(length != steps for length in lengths.reshape(-1).tolist()):
        raise call.refused("with sequences of several lengths")
    if steps > _MOST_STEPS:
        raise call.refused(f"over {steps} steps (at most {_MOST_STEPS})")


def _run(
    call: Call,
    x: Tensor,
    weights: Tensor,
    bias: Tensor | None,
    step: Callable[[int, Tensor, State], State],
    initial: tuple[Tensor | None, ...],
) -> Any:
    """All directions over all steps: outputs [steps, directions, batch, hidden], then the last states."""
    batch_first = bool(call.get("layout"))
    x = x.transpose(0, 1) if batch_first else x
    steps, batch, size = x.shape[0], x.shape[1], call.get("hidden_size")
    directions = weights.shape[0]
    backward = call.get("direction", "forward") == "reverse"
    outputs, states = [], []
    for direction in range(directions):
        first = [_first(state, direction, batch, size, batch_first=batch_first) for state in initial]
        prepared = F.linear(x, weights[direction], None if bias is None else bias[direction])
        order = range(steps)
        told: list[Any] = [None] * steps
        state: State = tuple(first)
        for number in reversed(order) if backward or direction == 1 else order:
            state = step(direction, prepared[number], state)
            told[number] = state[0]
        outputs.append(torch.stack(told))
        states.append(state)
    every = torch.stack(outputs, 1)
    last = [torch.stack([state[number] for state in states]) for number in range(len(initial))]
    if batch_first:
        return every.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last)
    return every, *last


def _first(state: Tensor | None, direction: int, batch: int, size: int, *, batch_first: bool) -> Tensor:
    if state is None:
        return torch.zeros(batch, size)
    return state[:, direction] if batch_first else state[direction]
