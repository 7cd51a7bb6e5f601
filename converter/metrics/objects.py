"""Objects found against true ones: average precision and recall as COCO has them, of boxes and of keypoints.

Source: pycocotools/cocoeval.py (COCOeval: evaluateImg, accumulate, summarize) and common/maskApi.c (bbIou). The figures
are those of pycocotools to the last digits, crowds, ignored objects, area ranges and largest numbers of detections
included; `tests/frontends/test_metrics_references.py` holds them against it.

Each picture is matched once. What is made of the matches takes how often a picture counts, so that a bootstrap need
not match again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from converter.metrics.keypoints import similarity

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Corners = tuple[float, float, float, float]  # left, top, right, bottom, px

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
_RECALLS: Floats = np.linspace(0.0, 1.0, 101)
_AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True, slots=True, eq=False)
class TrueObject:
    """One object of the truth."""

    category: str
    box: Corners
    area: float  # px²; of its outline where that is known, else of its box
    crowd: bool = False  # several objects in one: whatever lies in it is neither right nor wrong
    ignored: bool = False  # found or not, it does not count (`difficult` of Pascal VOC)
    keypoints: Floats | None = None  # [k, 3]: x, y, visibility (0: not labeled)


@dataclass(frozen=True, slots=True, eq=False)
class FoundObject:
    """One object that a model tells."""

    category: str
    score: float
    box: Corners
    keypoints: Floats | None = None  # [k, 3]: x, y, score

    @property
    def area(self) -> float:
        """Of the box; of keypoints of the box around them, as COCO's `loadRes` has it."""
        if self.keypoints is not None:
            size = np.ptp(self.keypoints[:, :2], axis=0)
            return float(size[0] * size[1])
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


class Counted(NamedTuple):
    """Objects told at or above a score, held against the true ones at an overlap of 0.5."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.right + self.missed, 1)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(2 * self.right + self.wrong + self.missed, 1)


class Picture(NamedTuple):
    """What is in one picture, and what a model tells of it."""

    true: Sequence[TrueObject]
    found: Sequence[FoundObject]


class _Matches(NamedTuple):
    """Of one category and range of areas, all pictures one after the other."""

    scores: Floats  # [found], the best of each picture first
    pictures: NDArray[np.intp]  # [found]
    ranks: NDArray[np.intp]  # [found], in their picture
    matched: Flags  # [thresholds, found]
    ignored: Flags  # [thresholds, found]
    wanted: Floats  # [pictures]: objects that are to be found


class Evaluated:
    """Pictures that were matched."""

    def __init__(self, pictures: Sequence[Picture], kind: Literal["boxes", "keypoints"] = "boxes") -> None:
        self._pictures = pictures
        self._kind = kind
        self._most = 100 if kind == "boxes" else 20
        self._matches: dict[tuple[str, str], _Matches] = {}
        self._orders: dict[tuple[str, str], NDArray[np.intp]] = {}
        self.categories = sorted({each.category for picture in pictures for each in picture.true})
        self._parts = _by_category(pictures)

    def summary(self) -> dict[str, float | None]:
        """The figures that pycocotools prints, by name; None where nothing is to be found."""
        sizes = ("small", "medium", "large") if self._kind == "boxes" else ("medium", "large")
        figures = {
            "map": self.precision(),
            "map_50": self.precision(threshold=0.5),
            "map_75": self.precision(threshold=0.75),
            **{f"map_{size}": self.precision(area=size) for size in sizes},
        }
        if self._kind == "boxes":
            figures |= {f"mar_{most}": self.recall(most=most) for most in (1, 10, 100)}
        else:
            figures |= {
                "mar": self.recall(), "mar_50": self.recall(threshold=0.5), "mar_75": self.recall(threshold=0.75),
            }  # fmt: skip
        return {**figures, **{f"mar_{size}": self.recall(area=size) for size in sizes}}

    def counts(self, score: float) -> Counted:
        """Of what is told at or above a score; of categories that no picture has too, which are all wrong."""
        right = wrong = wanted = 0
        for name in self._parts:
            matches = self._matched(name, "all")
            counted = (matches.scores >= score) & ~matches.ignored[0]
            right += int((counted & matches.matched[0]).sum())
            wrong += int((counted & ~matches.matched[0]).sum())
            wanted += int(matches.wanted.sum())
        return Counted(right, wrong, wanted - right)

    def by_category(self) -> dict[str, float | None]:
        """The average precision of each."""
        return {name: _mean([self._precision(name, "all", slice(None), None)]) for name in self.categories}

    def precision(
        self, *, area: str = "all", threshold: float | None = None, weights: Floats | None = None
    ) -> float | None:
        """Mean average precision over thresholds, recalls and categories. `weights`: how often each picture counts."""
        chosen = self._thresholds(threshold)
        return _mean([self._precision(name, area, chosen, weights) for name in self.categories])

    def recall(self, *, area: str = "all", threshold: float | None = None, most: int | None = None) -> float | None:
        """Mean largest recall, of at most `most` objects of each category in a picture."""
        chosen = self._thresholds(threshold)
        return _mean([self._recall(name, area, chosen, most or self._most) for name in self.categories])

    def _precision(self, name: str, area: str, chosen: slice, weights: Floats | None) -> Floats | None:
        matches = self._matched(name, area)
        w = np.ones(len(self._pictures)) if weights is None else weights
        wanted = float(w @ matches.wanted)
        if wanted == 0:
            return None
        order = self._order(name, area)
        each = w[matches.pictures][order]
        counted = ~matches.ignored[chosen][:, order]
        hit = matches.matched[chosen][:, order]
        right, wrong = np.cumsum(each * (hit & counted), axis=1), np.cumsum(each * (~hit & counted), axis=1)
        recalls = right / wanted
        precisions = right / (right + wrong + np.spacing(1))
        falling = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
        curve = np.zeros((len(falling), len(_RECALLS)))
        for row, (recall, precision) in enumerate(zip(recalls, falling, strict=True)):
            places = np.searchsorted(recall, _RECALLS, side="left")
            reached = places < len(recall)
            curve[row, reached] = precision[places[reached]]
        return curve

    def _recall(self, name: str, area: str, chosen: slice, most: int) -> Floats | None:
        matches = self._matched(name, area)
        wanted = matches.wanted.sum()
        if wanted == 0:
            return None
        told = matches.ranks < most
        right = (matches.matched[chosen] & ~matches.ignored[chosen])[:, told].sum(axis=1)
        share: Floats = right / wanted
        return share

    def _order(self, name: str, area: str) -> NDArray[np.intp]:
        order = self._orders.get((name, area))
        if order is None:
            order = self._orders[name, area] = np.argsort(-self._matched(name, area).scores, kind="stable")
        return order

    @staticmethod
    def _thresholds(threshold: float | None) -> slice:
        if threshold is None:
            return slice(None)
        place = int(np.argmin(np.abs(THRESHOLDS - threshold)))
        return slice(place, place + 1)

    def _matched(self, name: str, area: str) -> _Matches:
        if (name, area) not in self._matches:
            parts = self._parts[name]
            each = [self._match(part, _AREAS[area]) for part in parts.values()]
            counts = [len(scores) for scores, _, _, _ in each]
            wanted = np.zeros(len(self._pictures))
            wanted[list(parts)] = [count for _, _, _, count in each]
            self._matches[name, area] = _Matches(
                np.concatenate([scores for scores, _, _, _ in each]),
                np.repeat(np.array(list(parts), np.intp), counts),
                np.concatenate([np.arange(count) for count in counts]),
                np.concatenate([matched for _, matched, _, _ in each], axis=1),
                np.concatenate([ignored for _, _, ignored, _ in each], axis=1),
                wanted,
            )
        return self._matches[name, area]

    def _match(self, picture: Picture, area: tuple[float, float]) -> tuple[Floats, Flags, Flags, int]:
        """Of one category in one picture."""
        true: Sequence[TrueObject] = picture.true
        found = sorted(picture.found, key=lambda each: -each.score)[: self._most]
        passed = [self._is_ignored(each) or not area[0] <= each.area <= area[1] for each in true]
        order = np.argsort(passed, kind="stable")
        true, without = [true[place] for place in order], np.array(passed, bool)[order]
        likeness = self._likeness(found, true)
        most = likeness.max(axis=1, initial=0.0)
        matched = np.zeros((len(THRESHOLDS), len(found)), bool)
        ignored = np.zeros_like(matched)
        for row, threshold in enumerate(THRESHOLDS):
            if not (most >= threshold).any():
                break
            taken = np.zeros(len(true), bool)
            for place in np.flatnonzero(most >= threshold):
                best = _best(likeness[place], true, taken, without, min(threshold, 1 - 1e-10))
                if best is not None:
                    taken[best] = matched[row, place] = True
                    ignored[row, place] = without[best]
        outside = np.array([not area[0] <= each.area <= area[1] for each in found], bool)
        ignored |= ~matched & outside
        return np.array([each.score for each in found]), matched, ignored, int((~without).sum())

    def _is_ignored(self, each: TrueObject) -> bool:
        unlabeled = self._kind == "keypoints" and (each.keypoints is None or not (each.keypoints[:, 2] > 0).any())
        return each.crowd or each.ignored or unlabeled

    def _likeness(self, found: Sequence[FoundObject], true: Sequence[TrueObject]) -> Floats:
        if self._kind == "boxes":
            return _overlaps(found, true)
        likeness = np.zeros((len(found), len(true)))
        for row, one in enumerate(found):
            for column, other in enumerate(true):
                if one.keypoints is not None and other.keypoints is not None:
                    likeness[row, column] = similarity(one.keypoints, other.keypoints, other.area, other.box)
        return likeness


def _by_category(pictures: Sequence[Picture]) -> dict[str, dict[int, Picture]]:
    """Of each category, those pictures with something of it that is true or found, by their places."""
    true: dict[tuple[str, int], list[TrueObject]] = defaultdict(list)
    found: dict[tuple[str, int], list[FoundObject]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        for one in picture.true:
            true[one.category, place].append(one)
        for other in picture.found:
            found[other.category, place].append(other)
    parts: dict[str, dict[int, Picture]] = defaultdict(dict)
    for name, place in sorted({*true, *found}):
        parts[name][place] = Picture(true[name, place], found[name, place])
    return dict(parts)


def _best(likeness: Floats, true: Sequence[TrueObject], taken: Flags, without: Flags, threshold: float) -> int | None:
    """The true object that is likest, of those that are free; one that counts before one that is ignored."""
    best: int | None = None
    for place, each in enumerate(true):
        if taken[place] and not each.crowd:
            continue
        if best is not None and not without[best] and without[place]:
            break
        if likeness[place] >= threshold:
            threshold, best = float(likeness[place]), place
    return best


def _overlaps(found: Sequence[FoundObject], true: Sequence[TrueObject]) -> Floats:
    """Intersection over union; over the found box alone where the true one is a crowd."""
    if not found or not true:
        return np.zeros((len(found), len(true)))
    a = np.array([each.box for each in found], np.float64)[:, np.newaxis]
    b = np.array([each.box for each in true], np.float64)[np.newaxis]
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    both = np.where((width > 0) & (height > 0), width * height, 0.0)
    one = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    other = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    crowd = np.array([each.crowd for each in true])
    union = np.where(crowd, one, one + other - both)
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def _mean(parts: Sequence[Floats | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return float(np.stack(known).mean()) if known else None
