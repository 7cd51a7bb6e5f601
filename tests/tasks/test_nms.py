"""Boxes that overlap are thinned out as a slow and obvious reference does it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.tasks.nms import MAX_CANDIDATES, suppress

Boxes = NDArray[np.float32]


def iou(one: Boxes, other: Boxes) -> tuple[float, float]:
    """What two boxes share, and what they cover together."""
    height = max(0.0, min(float(one[2]), float(other[2])) - max(float(one[0]), float(other[0])))
    width = max(0.0, min(float(one[3]), float(other[3])) - max(float(one[1]), float(other[1])))
    areas = [max(0.0, float(box[2]) - float(box[0])) * max(0.0, float(box[3]) - float(box[1])) for box in (one, other)]
    return height * width, sum(areas) - height * width


def slowly(boxes: Boxes, scores: Boxes, classes: NDArray[np.intp], threshold: float, most: int) -> list[int]:
    kept: list[int] = []
    for position in sorted(range(len(boxes)), key=lambda position: (-scores[position], position)):
        free = True
        for other in kept:
            shared, together = iou(boxes[other], boxes[position])
            free &= not (classes[other] == classes[position] and shared > threshold * together)
        if free and len(kept) < most:
            kept.append(position)
    return kept


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Boxes, Boxes, NDArray[np.intp]]:
    """Boxes on a coarse grid, so that equal scores, equal boxes and touching sides are common."""
    count = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corners = rng.integers(0, 12, (count, 2))
    sizes = rng.integers(-1, 8, (count, 2))
    boxes = np.concatenate([corners, corners + sizes], axis=1) / draw(st.floats(0.1, 12))
    scores = rng.integers(0, 6, count) / 6
    return boxes.astype(np.float32), scores.astype(np.float32), rng.integers(0, 3, count)


@given(scenes(), st.floats(0, 1), st.integers(1, 50))
def test_it_keeps_what_the_slow_way_keeps(
    scene: tuple[Boxes, Boxes, NDArray[np.intp]], threshold: float, most: int
) -> None:
    boxes, scores, classes = scene
    found = suppress(boxes, scores, classes, iou_threshold=threshold, max_objects=most)
    assert found.tolist() == slowly(boxes, scores, classes, threshold, most)
    together = suppress(boxes, scores, None, iou_threshold=threshold, max_objects=most)
    assert together.tolist() == slowly(boxes, scores, np.zeros_like(classes), threshold, most)


@pytest.mark.parametrize("count", [127, 128, 129, 700])
def test_it_does_so_for_many_more_boxes_than_are_compared_at_once(count: int) -> None:
    rng = np.random.default_rng(count)
    centers, sizes = rng.random((count, 2)), rng.uniform(0.05, 0.4, (count, 2))
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1).astype(np.float32)
    scores, classes = rng.random(count).astype(np.float32).round(2), rng.integers(0, 4, count)
    found = suppress(boxes, scores, classes, iou_threshold=0.45, max_objects=count)
    assert found.tolist() == slowly(boxes, scores, classes, 0.45, count)


def test_of_equal_boxes_with_equal_scores_the_first_one_stays() -> None:
    boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (5, 1))
    scores = np.full(5, 0.5, np.float32)
    assert suppress(boxes, scores, None, iou_threshold=0.5, max_objects=9).tolist() == [0]
    assert suppress(boxes, scores, np.arange(5) % 2, iou_threshold=0.5, max_objects=9).tolist() == [0, 1]
    assert suppress(boxes, scores, None, iou_threshold=1.0, max_objects=3).tolist() == [0, 1, 2]  # more than 1 is none


def test_nothing_gives_nothing() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert suppress(empty, empty[:, 0], None, iou_threshold=0.5, max_objects=9).tolist() == []


def test_beyond_the_most_candidates_the_worst_are_left_out() -> None:
    count = MAX_CANDIDATES + 10
    left = np.arange(count, dtype=np.float32)
    boxes = np.stack([left * 0, left, left * 0 + 1, left + 0.5], axis=1)
    scores = np.linspace(0, 1, count, dtype=np.float32)
    found = suppress(boxes, scores, None, iou_threshold=0.5, max_objects=count)
    assert found.tolist() == list(range(count - 1, 9, -1))
