"""Which channels of a network belong together, and which of them can go: for structured pruning in any framework.

Each tensor is an array of channel ids, one an entry of its channel axis. A convolution makes new ids; what works on
each channel by itself hands them on; an addition makes pairs of them one; what is not understood pins them: they stay.
So a channel is only taken out of all layers at once that make or carry it.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converter.errors import ConversionError

Ids = NDArray[np.int64]


class Channels:
    """Union-find over channel ids, with a group (the layers that make it), a score and a pin for each set."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._scores: list[float] = []
        self._layers: list[int] = []  # which call of `new` made it
        self._pinned: set[int] = set()

    def new(self, scores: Sequence[float]) -> Ids:
        """Channels that a layer makes; `scores` are their importance in that layer, its mean being 1."""
        first = len(self._parents)
        self._layers += [first] * len(scores)
        self._parents += range(first, first + len(scores))
        self._scores += [float(score) for score in scores]
        return np.arange(first, first + len(scores))

    def fixed(self, count: int) -> Ids:
        """Channels that are nobody's to take out: an input's."""
        ids = self.new([0.0] * count)
        self.pin(ids)
        return ids

    def join(self, one: Ids, other: Ids) -> Ids:
        """What adds two tensors makes their channels one. Sizes that differ (broadcasting) pin both."""
        if one.shape != other.shape:
            self.pin(one)
            self.pin(other)
            return one if one.size >= other.size else other
        for a, b in zip(one, other, strict=True):
            self._parents[self._root(int(a))] = self._root(int(b))
        return one

    def pin(self, ids: Ids) -> None:
        self._pinned.update(map(int, ids))

    def keep(self, share: float, multiple: int) -> NDArray[np.bool_]:
        """For each id whether it stays when `share` of each group goes; what stays of a group is a multiple.

        A group is the sets that are made by the same layers; a pinned set stays.
        """
        members: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parents)):
            members[self._root(number)].append(number)
        kept = np.ones(len(self._parents), np.bool_)
        pinned = {self._root(number) for number in self._pinned}
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for root, numbers in members.items():
            if root not in pinned:
                groups[self._makers(numbers)].append(root)
        for roots in groups.values():
            going = _count_to_go(len(roots), share, multiple)
            order = sorted(roots, key=lambda root: sum(self._scores[number] for number in members[root]))
            for root in order[:going]:
                kept[members[root]] = False
        return kept

    def _makers(self, numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._layers[number] for number in numbers)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


def _count_to_go(count: int, share: float, multiple: int) -> int:
    left = count - int(share * count)
    if count > multiple:
        left = max(multiple, round(left / multiple) * multiple)
    return max(0, count - max(1, left))


def nothing_to_spare(share: float, multiple: int) -> ConversionError:
    """No channel can be taken out."""
    return ConversionError(
        f"no channel can be taken out: no convolution has {multiple} to spare at share {share:g}, and behind it only "
        "what is understood (docs/training.md)",
        hint="a larger share or multiple = 1; or leave prune_channels out, or give distill a student",
    )
