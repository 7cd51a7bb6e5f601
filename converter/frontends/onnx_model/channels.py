"""Chains of reshapes and transposes that do no more than pick channels, as ShuffleNet's shuffle does.

As they stand they would be transposed to and from five dimensions each time the model runs. What a chain does is found
out by sending the numbers of the places through it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from converter.frontends.onnx_model.operators.table import Call, Tensor

MOVING = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Gather", "Slice")  # they compute nothing
PICTURE_RANK = 4
_LARGEST = 1 << 24  # float32 counts no further; larger maps are left as they are


@dataclass(frozen=True, slots=True)
class Picked:
    """A step in place of a chain: some channels of a value that lies [batch, channels, height, width]."""

    source: str
    channels: tuple[int, ...]

    def function(self, _: Call, x: Tensor) -> Tensor:
        channels = self.channels
        step = channels[1] - channels[0] if len(channels) > 1 else 1
        if step > 0 and channels == tuple(range(channels[0], channels[-1] + 1, step)):
            return x[:, channels[0] : channels[-1] + 1 : step]
        groups = _shuffled_groups(channels, x.shape[1])
        if groups is not None:
            last = x.permute(0, 2, 3, 1)
            shuffled = last.reshape(*last.shape[:3], groups, -1).transpose(3, 4)
            return shuffled.reshape(last.shape).permute(0, 3, 1, 2)
        return torch.index_select(x, 1, torch.tensor(channels))


def _shuffled_groups(channels: tuple[int, ...], count: int) -> int | None:
    """Into how many groups channels were split before the first, the second, … of each were put together."""
    if len(channels) != count or count < PICTURE_RANK or channels[1] == 0 or count % channels[1]:
        return None
    groups = count // channels[1]
    shuffled = tuple(place for first in range(channels[1]) for place in range(first, count, channels[1]))
    return groups if shuffled == channels else None


class ChannelMoves:
    """Follows the chains, each from the value it began at."""

    def __init__(self) -> None:
        self._chains: dict[str, tuple[str, tuple[int, ...], Any]] = {}  # value → source, its shape, numbers of places

    def begin(self, source: str, shape: tuple[int, ...]) -> None:
        """A value that lies [batch, channels, height, width], from which a chain may go."""
        size = shape[1] * shape[2] * shape[3]
        if shape[0] == 1 and size < _LARGEST and source not in self._chains:
            self._chains[source] = (source, shape, torch.arange(size).reshape(shape))

    def follow(self, source: str, result: str, move: Callable[[Any], Any]) -> Picked | None:
        """What the chain up to `result` picks, where that is whole channels."""
        if source not in self._chains:
            return None
        begun, shape, places = self._chains[source]
        moved = move(places)
        self._chains[result] = (begun, shape, moved)
        height, width = shape[2:]
        if moved.dim() != PICTURE_RANK or tuple(moved.shape[2:]) != (height, width) or moved.shape[0] != 1:
            return None
        channels = moved[0, :, 0, 0] // (height * width)
        inside = torch.arange(height * width).reshape(height, width)
        if height * width < 2 or not torch.equal(moved[0], channels[:, None, None] * height * width + inside):
            return None
        return Picked(begun, tuple(channels.tolist()))
