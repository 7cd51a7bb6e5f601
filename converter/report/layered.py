"""Laying out a directed graph in ranks, every edge pointing down.

Sugiyama's method: a node's rank is the longest way to it; an edge over several ranks goes through points of its own in
each; nodes of a rank are ordered by the mean place of their neighbors (barycenter); those that can stand straight below
each other do. What nodes look like is left to `graph`.
Source: K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System Structures", IEEE
Transactions on Systems, Man, and Cybernetics 11 (1981).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

_ORDER_SWEEPS = 8
_PLACE_SWEEPS = 60
_BEND_WIDTH = 14.0  # px that an edge takes in the ranks it passes
_LONGEST = 250  # ranks; a longer edge is drawn straight, for each of its points costs time


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is, px: the middle of each node, and of each edge all the points it goes through."""

    nodes: tuple[tuple[float, float], ...]
    edges: tuple[tuple[tuple[float, float], ...], ...]  # in the order they were given, from the first node to the last
    width: float
    height: float


class _Ranks:
    """Nodes and the bends of edges, by rank. Both are numbered: first the nodes, then the bends."""

    def __init__(self, count: int, edges: Sequence[tuple[int, int]]) -> None:
        self.rank = _ranks(count, edges)
        self.chains: list[list[int]] = []  # of each edge: the numbers it goes through
        for start, end in edges:
            first, last = self.rank[start], self.rank[end]
            bends = list(range(len(self.rank), len(self.rank) + last - first - 1)) if last - first <= _LONGEST else []
            self.rank += range(first + 1, first + 1 + len(bends))
            self.chains.append([start, *bends, end])
        self.rows: list[list[int]] = [[] for _ in range(max(self.rank, default=0) + 1)]
        for number, rank in enumerate(self.rank):
            self.rows[rank].append(number)
        self.above: list[list[int]] = [[] for _ in self.rank]
        self.below: list[list[int]] = [[] for _ in self.rank]
        for chain in self.chains:
            for upper, lower in pairwise(chain):
                self.below[upper].append(lower)
                self.above[lower].append(upper)

    def sort(self) -> None:
        """Order each row by the mean place of its neighbors: down, up, and so on."""
        place = [0.0] * len(self.rank)
        for row in self.rows:
            _number(row, place)
        for sweep in range(_ORDER_SWEEPS):
            down = sweep % 2 == 0
            neighbors = self.above if down else self.below
            for row in self.rows if down else self.rows[::-1]:
                wanted = {
                    number: sum(place[other] for other in neighbors[number]) / len(neighbors[number])
                    if neighbors[number]
                    else place[number]
                    for number in row
                }
                row.sort(key=lambda number: (wanted[number], place[number]))
                _number(row, place)


def lay_out(
    count: int, edges: Sequence[tuple[int, int]], *, size: tuple[float, float], gap: tuple[float, float]
) -> Layout:
    """Lay out `count` nodes of one size.

    `edges` are pairs of node numbers, the first of each before the second in some order of all nodes. `size` is width
    and height of a node, `gap` what is free between two beside and above each other, all px.
    """
    ranks = _Ranks(count, edges)
    ranks.sort()
    x = _places(ranks, count, size[0], gap[0])
    left = min((x[number] for number in range(count)), default=0.0) - size[0] / 2
    bends = [x[number] - _BEND_WIDTH / 2 for number in range(count, len(x))]
    left = min(left, *bends) if bends else left
    right = max(
        [x[number] + size[0] / 2 for number in range(count)] + [place + _BEND_WIDTH for place in bends] or [0.0]
    )
    step = size[1] + gap[1]
    points = [(x[number] - left, rank * step + size[1] / 2) for number, rank in enumerate(ranks.rank)]
    return Layout(
        nodes=tuple(points[:count]),
        edges=tuple(tuple(points[number] for number in chain) for chain in ranks.chains),
        width=right - left,
        height=len(ranks.rows) * step - gap[1],
    )


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Of each node the longest way to it."""
    incoming: Mapping[int, list[int]] = {number: [] for number in range(count)}
    for start, end in edges:
        incoming[end].append(start)
    rank = [0] * count
    for number in _in_order(count, edges):
        rank[number] = max((rank[start] + 1 for start in incoming[number]), default=0)
    return rank


def _in_order(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Every node behind those that lead to it; of a damaged graph with circles, those in a circle are left out."""
    waiting = [0] * count
    following: list[list[int]] = [[] for _ in range(count)]
    for start, end in edges:
        waiting[end] += 1
        following[start].append(end)
    ready = [number for number in range(count) if not waiting[number]]
    for number in ready:
        for end in following[number]:
            waiting[end] -= 1
            if not waiting[end]:
                ready.append(end)
    return ready


def _number(row: Sequence[int], place: list[float]) -> None:
    for position, number in enumerate(row):
        place[number] = position - (len(row) - 1) / 2


class _Columns:
    """Nodes and bends that are to stand straight below each other, a column of them moving as one.

    Aligned are the inner parts of long edges, then nodes with one that follows them, as far as no two of these lines
    cross: then the columns of every row stand in one order (U. Brandes, B. Koepf, "Fast and Simple Horizontal
    Coordinate Assignment", Graph Drawing 2001, section 4.1).
    """

    def __init__(self, ranks: _Ranks, count: int) -> None:
        self._ranks, self._count = ranks, count
        self._down: dict[int, int] = {}
        self._up: dict[int, int] = {}
        self._lines: list[list[tuple[int, int]]] = [[] for _ in ranks.rows]  # places of the ends, by the upper rank
        self._place = {number: place for row in ranks.rows for place, number in enumerate(row)}
        pairs = [pair for chain in ranks.chains for pair in pairwise(chain)]
        for upper, lower in (pair for pair in pairs if min(pair) >= count):
            self._align(upper, lower)
        below = _depths(ranks, count)  # of several that follow, the one that goes on longest is the main way
        for upper, lower in sorted((pair for pair in pairs if max(pair) < count), key=lambda pair: -below[pair[1]]):
            self._align(upper, lower)
        self.of = self._numbered()
        self.count = max(self.of, default=-1) + 1

    def _align(self, upper: int, lower: int) -> None:
        rank = self._ranks.rank[upper]
        line = self._place[upper], self._place[lower]
        free = upper not in self._down and lower not in self._up and self._ranks.rank[lower] == rank + 1
        if free and not any((line[0] - a) * (line[1] - b) < 0 for a, b in self._lines[rank]):
            self._down[upper], self._up[lower] = lower, upper
            self._lines[rank].append(line)

    def _numbered(self) -> list[int]:
        """The column of each node and bend."""
        of = [-1] * len(self._ranks.rank)
        columns = 0
        for row in self._ranks.rows:
            for number in row:
                if number in self._up:
                    of[number] = of[self._up[number]]
                else:
                    of[number] = columns
                    columns += 1
        return of


def _depths(ranks: _Ranks, count: int) -> list[int]:
    """Of each node and bend the longest way down from it, in nodes."""
    depth = [0] * len(ranks.rank)
    for row in reversed(ranks.rows):
        for number in row:
            depth[number] = max((depth[other] + (other < count) for other in ranks.below[number]), default=0)
    return depth


def _places(ranks: _Ranks, count: int, width: float, gap: float) -> list[float]:
    """The place of each: first as far left as order and room allow, then moved between its neighbors in turns."""
    columns = _Columns(ranks, count)
    room: dict[tuple[int, int], float] = {}  # left and right column → what is between their middles at the least
    for row in ranks.rows:
        for before, after in pairwise(row):
            widths = [width if number < count else _BEND_WIDTH for number in (before, after)]
            pair = columns.of[before], columns.of[after]
            room[pair] = max(room.get(pair, 0.0), sum(widths) / 2 + gap)
    left: list[list[tuple[int, float]]] = [[] for _ in range(columns.count)]
    right: list[list[tuple[int, float]]] = [[] for _ in range(columns.count)]
    for (before, after), least in room.items():
        right[before].append((after, least))
        left[after].append((before, least))
    near = _neighbors(ranks, columns.of, columns.count)
    order = _in_order(columns.count, list(room))
    x = [0.0] * columns.count
    for column in order:
        x[column] = max((x[other] + least for other, least in left[column]), default=0.0)
    for sweep in range(_PLACE_SWEEPS):
        for column in order if sweep % 2 else order[::-1]:
            lowest = max((x[other] + least for other, least in left[column]), default=-inf)
            highest = min((x[other] - least for other, least in right[column]), default=inf)
            wanted = sum(x[other] for other in near[column]) / len(near[column]) if near[column] else x[column]
            x[column] = min(max(wanted, lowest), highest)
    return [x[column] for column in columns.of]


def _neighbors(ranks: _Ranks, column: Sequence[int], count: int) -> list[list[int]]:
    """Of each column those that edges lead to, as often as they do."""
    near: list[list[int]] = [[] for _ in range(count)]
    for chain in ranks.chains:
        for upper, lower in pairwise(chain):
            if column[upper] != column[lower]:
                near[column[upper]].append(column[lower])
                near[column[lower]].append(column[upper])
    return near
