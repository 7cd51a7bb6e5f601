"""A small network with all that structured pruning must see through: depthwise, sum, concatenation, flattening."""

from typing import Any

import torch
from torch import nn


class DigitsNet(nn.Module):  # type: ignore[misc]  # torch is only there where it is tested
    """[batch, 1, 8, 8] to ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.pointwise = nn.Conv2d(32, 32, 1)
        self.left, self.right = nn.Conv2d(32, 16, 3, stride=2), nn.Conv2d(32, 16, 3, stride=2)
        self.hidden, self.last = nn.Linear(288, 64), nn.Linear(64, 10)

    def forward(self, picture: Any) -> Any:
        first = torch.relu(self.norm(self.first(picture)))
        joined = torch.relu(first + self.pointwise(self.depthwise(first)))
        halves = torch.cat([self.left(joined), self.right(joined)], 1)
        return self.last(nn.functional.relu6(self.hidden(torch.relu(halves).flatten(1))))
