"""How far two answers differ, by a measure that rounding does not move and a wrong answer does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.release.outputs import OutputSpec, TaskName
from edge_agent.tasks.agreement import disagreement, output_ranges, top1_agrees
from edge_agent.tasks.anomaly import difference
from edge_agent.transform.tensor import TensorSpec

Real = NDArray[np.float32]
FLOAT = np.dtype(np.float32)
SCORES = (TensorSpec("scores", (1, 3), FLOAT),)
OBJECTS = tuple(
    TensorSpec(f"D:{n}" if n else "D", shape, FLOAT) for n, shape in enumerate(((1, 4, 4), (1, 4), (1, 4), (1,)))
)
SPEC = OutputSpec()
DOG = ((0.1, 0.1, 0.5, 0.5), 17, 0.80)
CAT = ((0.5, 0.5, 0.9, 0.9), 16, 0.79)
NOISE = ((0.0, 0.6, 0.1, 0.7), 3, 0.21)
DUST = ((0.2, 0.8, 0.3, 0.9), 4, 0.20)


def row(*values: float) -> list[Real]:
    return [np.array([values], np.float32)]


def objects(*found: tuple[tuple[float, float, float, float], int, float]) -> list[Real]:
    rows = [*found, *[((0.0, 0.0, 0.0, 0.0), 0, 0.0)] * (4 - len(found))]
    return [
        *(np.array([[item[part] for item in rows]], np.float32) for part in range(3)),
        np.array([len(found)], np.float32),
    ]


def of_objects(expected: list[Real], found: list[Real], threshold: float = 0.3) -> float:
    return disagreement("detection", expected, found, spec=OutputSpec(score_threshold=threshold), outputs=OBJECTS)


def test_scores_disagree_by_their_largest_difference() -> None:
    assert disagreement("classification", row(0.1, 0.7, 0.2), row(0.1, 0.7, 0.2), spec=SPEC, outputs=SCORES) == 0
    found = disagreement("signal_classification", row(0.1, 0.7, 0.2), row(0.1, 0.6, 0.3), spec=SPEC, outputs=SCORES)
    assert found == pytest.approx(0.1)


def test_logits_are_compared_as_scores() -> None:
    spec = OutputSpec(activation="softmax")
    assert disagreement("classification", row(50, 0, 0), row(90, 0, 0), spec=spec, outputs=SCORES) < 1e-6
    assert disagreement("classification", row(50, 0, 0), row(0, 50, 0), spec=spec, outputs=SCORES) == pytest.approx(1)


@pytest.mark.parametrize("wrong", [row(0.1, np.nan, 0.2), row(0.1, 0.7), [*row(0, 0, 0), *row(0, 0, 0)], []])
def test_what_cannot_be_compared_is_infinitely_wrong(wrong: list[Real]) -> None:
    for task in ("classification", "raw"):
        assert disagreement(task, row(0.1, 0.7, 0.2), wrong, spec=SPEC, outputs=SCORES) == math.inf
        assert not top1_agrees(task, row(0.1, 0.7, 0.2), wrong, spec=SPEC, outputs=SCORES)


def test_objects_whose_order_is_swapped_are_the_same_objects() -> None:
    assert of_objects(objects(DOG, CAT), objects(CAT, DOG)) == 0


def test_an_object_that_moved_or_lost_score_disagrees_by_that() -> None:
    assert of_objects(objects(DOG), objects((DOG[0], 17, 0.7))) == pytest.approx(0.1)
    moved = ((0.1, 0.1, 0.5, 0.42), 17, 0.80)  # IoU 0.8
    assert of_objects(objects(DOG), objects(moved)) == pytest.approx(0.8 * 0.2, abs=1e-5)


def test_a_missing_or_invented_object_counts_and_so_does_another_class() -> None:
    assert of_objects(objects(DOG, CAT), objects(DOG)) == pytest.approx(0.49)
    assert of_objects(objects(DOG), objects(DOG, CAT)) == pytest.approx(0.49)
    assert of_objects(objects(DOG), objects((DOG[0], 18, 0.80))) == pytest.approx(0.5)
    assert of_objects(objects(DOG), objects()) == pytest.approx(0.5)


def test_noise_below_the_threshold_is_nobodys_business() -> None:
    assert of_objects(objects(DOG, NOISE), objects(DOG, DUST)) == 0


def test_what_a_full_list_had_no_room_for_hardly_counts() -> None:
    full = objects(DOG, CAT, ((0.0, 0.0, 0.2, 0.2), 5, 0.4), NOISE)
    other = objects(DOG, CAT, ((0.0, 0.0, 0.2, 0.2), 5, 0.4), DUST)
    assert of_objects(full, other, threshold=0.0) == pytest.approx(0.01)


def test_raw_values_disagree_by_a_share_of_their_range() -> None:
    assert disagreement("raw", row(0, 10, 5), row(0, 10, 6), spec=SPEC, outputs=SCORES) == pytest.approx(0.1)
    assert disagreement("raw", row(0, 1, 0), row(0, 1, 1), spec=SPEC, outputs=SCORES, ranges=[100]) == pytest.approx(
        0.01
    )


def test_the_range_of_raw_values_is_that_of_all_vectors() -> None:
    assert output_ranges([row(0, 1), row(-1, 0.5)]) == [2.0]
    assert output_ranges([row(-3, -3)]) == [3.0]
    assert output_ranges([row(0, 0)]) == [1.0]


def test_the_first_answer_is_the_best_class_or_object() -> None:
    assert top1_agrees("classification", row(0.4, 0.6), row(0.45, 0.55), spec=SPEC, outputs=SCORES)
    assert not top1_agrees("classification", row(0.4, 0.6), row(0.55, 0.45), spec=SPEC, outputs=SCORES)
    spec = OutputSpec(score_threshold=0.3)
    for expected, found, same in (
        (objects(DOG, NOISE), objects((DOG[0], 17, 0.5), NOISE), True),
        (objects(DOG, NOISE), objects(CAT, NOISE), False),
        (objects(DOG), objects(NOISE), False),
        (objects(NOISE), objects(DUST), True),
    ):
        assert top1_agrees("detection", expected, found, spec=spec, outputs=OBJECTS) is same
    assert top1_agrees("raw", row(0, 100), row(4, 100), spec=SPEC, outputs=SCORES)
    assert not top1_agrees("raw", row(0, 100), row(6, 100), spec=SPEC, outputs=SCORES)


def test_of_several_outputs_only_the_scores_are_compared() -> None:
    outputs = (TensorSpec("map", (1, 2, 2), FLOAT), *SCORES)
    expected, found = [np.zeros((1, 2, 2), np.float32), *row(0.1, 0.9, 0)], [np.ones((1, 2, 2), np.float32)]
    found += row(0.1, 0.8, 0)
    assert disagreement("audio_classification", expected, found, spec=SPEC, outputs=outputs) == pytest.approx(0.1)
    assert top1_agrees("audio_classification", expected, found, spec=SPEC, outputs=outputs)


def maps(*classes: int) -> list[Real]:
    return [np.array([classes], np.float32).reshape(1, 2, 2)]


def test_maps_disagree_by_the_share_of_pixels_that_differ() -> None:
    outputs = (TensorSpec("map", (1, 2, 2), np.dtype(np.int64)),)
    spec = OutputSpec(background_class=0)
    assert disagreement("segmentation", maps(0, 1, 1, 2), maps(0, 1, 1, 2), spec=spec, outputs=outputs) == 0
    assert disagreement("segmentation", maps(0, 1, 1, 2), maps(0, 0, 1, 2), spec=spec, outputs=outputs) == 0.25
    for expected, found, same in (
        (maps(0, 1, 1, 2), maps(0, 0, 1, 1), True),
        (maps(0, 1, 1, 2), maps(0, 1, 2, 2), False),
        (maps(0, 0, 0, 0), maps(0, 0, 0, 0), True),
        (maps(0, 0, 0, 0), maps(0, 0, 0, 2), False),
    ):
        assert top1_agrees("segmentation", expected, found, spec=spec, outputs=outputs) is same


def test_scores_of_pixels_and_masks_disagree_by_their_classes() -> None:
    outputs = (TensorSpec("mask", (1, 2, 2), FLOAT),)
    expected, found = maps(0, 1, 0, 0), maps(0, 1, 0, 0)
    found[0][0, 0, 0], found[0][0, 1, 1] = 0.4, 0.6
    assert disagreement("segmentation", expected, found, spec=SPEC, outputs=outputs) == 0.25
    assert top1_agrees("segmentation", expected, found, spec=SPEC, outputs=outputs)
    outputs = (TensorSpec("scores", (1, 4, 4, 3), FLOAT),)
    one = [np.zeros((1, 4, 4, 3), np.float32)]
    other = [one[0].copy()]
    other[0][0, 0, :, 2] = 1.0
    assert disagreement("segmentation", one, other, spec=SPEC, outputs=outputs) == 0.25


WINDOW = (TensorSpec("window", (1, 4), FLOAT),)


def test_reconstructions_disagree_by_how_far_the_error_can_have_moved() -> None:
    outputs = (TensorSpec("copy", (1, 4), FLOAT),)
    one, other = row(1, 2, 3, 4), row(1, 2, 3, 6)  # mean square 1, mean absolute 0.5
    mse, mae = OutputSpec(threshold=2.25), OutputSpec(threshold=2.25, error="mae")
    assert disagreement("anomaly", one, other, spec=mse, outputs=outputs, inputs=WINDOW) == pytest.approx(2 / 3)
    assert disagreement("anomaly", one, other, spec=mae, outputs=outputs, inputs=WINDOW) == pytest.approx(2 / 9)
    assert not top1_agrees("anomaly", one, other, spec=mse, outputs=outputs, inputs=WINDOW)
    assert top1_agrees("anomaly", one, other, spec=mae, outputs=outputs, inputs=WINDOW)


@given(st.lists(st.floats(-9, 9, width=16), min_size=12, max_size=12), st.floats(0.01, 10))
def test_no_error_moves_by_more_than_the_disagreement(values: list[float], threshold: float) -> None:
    seen, one, other = np.array(values, np.float32).reshape(3, 1, 4)
    outputs = (TensorSpec("copy", (1, 4), FLOAT),)
    spec = OutputSpec(threshold=threshold)
    found = disagreement("anomaly", [one], [other], spec=spec, outputs=outputs, inputs=WINDOW)
    roots = [math.sqrt(difference(seen, copy, "mse")) for copy in (one, other)]
    assert abs(roots[1] - roots[0]) / math.sqrt(threshold) <= found + 1e-6
    spec = OutputSpec(threshold=threshold, error="mae")
    found = disagreement("anomaly", [one], [other], spec=spec, outputs=outputs, inputs=WINDOW)
    errors = [difference(seen, copy, "mae") for copy in (one, other)]
    assert abs(errors[1] - errors[0]) / threshold <= found + 1e-6


def test_errors_that_the_model_gives_agree_on_the_same_side_of_the_threshold() -> None:
    spec = OutputSpec(threshold=1.0, error="output")
    outputs = (TensorSpec("error", (1, 1), FLOAT),)
    assert disagreement("anomaly", row(0.9), row(0.5), spec=spec, outputs=outputs) == pytest.approx(0.4)
    assert top1_agrees("anomaly", row(0.9), row(0.2), spec=spec, outputs=outputs)
    assert not top1_agrees("anomaly", row(0.99), row(1.01), spec=spec, outputs=outputs)


@pytest.mark.parametrize("task", ["regression", "plugin", "anomaly"])
def test_values_without_an_answer_disagree_by_a_share_of_their_range(task: TaskName) -> None:
    assert disagreement(task, row(0, 10, 5), row(0, 10, 6), spec=SPEC, outputs=SCORES) == pytest.approx(0.1)
    assert top1_agrees(task, row(0, 100, 5), row(0, 100, 9), spec=SPEC, outputs=SCORES)
    assert not top1_agrees(task, row(0, 100, 5), row(0, 100, 11), spec=SPEC, outputs=SCORES)


IMAGE = (TensorSpec("image", (1, 64, 64, 3), FLOAT),)
HEAD = (TensorSpec("head", (1, 6, 84), FLOAT),)  # YOLOv8, 2 classes


def head(*found: tuple[float, float, float]) -> list[Real]:
    """Center x and the scores of two classes; boxes of 0.2 x 0.2."""
    numbers = np.zeros((1, 6, 84), np.float32)
    for position, (x, one, other) in enumerate(found):
        numbers[0, :, 3 * position] = (x, 0.5, 0.2, 0.2, one, other)
    return [numbers]


def test_heads_with_thousands_of_boxes_are_compared_after_suppression() -> None:
    spec = OutputSpec(decoder="yolov8", score_threshold=0.3)

    def of(expected: list[Real], found: list[Real]) -> float:
        return disagreement("detection", expected, found, spec=spec, outputs=HEAD, inputs=IMAGE)

    scene = head((0.2, 0.8, 0.0), (0.21, 0.5, 0.0), (0.7, 0.0, 0.6))
    assert of(scene, scene) == 0
    assert of(scene, head((0.7, 0.0, 0.6), (0.2, 0.8, 0.0))) == 0  # in other cells, and without the suppressed one
    assert of(scene, head((0.2, 0.7, 0.0), (0.7, 0.0, 0.6))) == pytest.approx(0.1)
    assert of(scene, head((0.2, 0.8, 0.0), (0.7, 0.0, 0.28))) == pytest.approx(0.32)  # just below the threshold
    assert of(scene, head((0.2, 0.8, 0.0))) == pytest.approx(0.3)
    assert top1_agrees("detection", scene, head((0.2, 0.7, 0.0)), spec=spec, outputs=HEAD, inputs=IMAGE)
    assert not top1_agrees("detection", scene, head((0.7, 0.0, 0.6)), spec=spec, outputs=HEAD, inputs=IMAGE)


def test_poses_are_compared_as_poses() -> None:
    outputs = (TensorSpec("keypoints", (1, 1, 17, 3), FLOAT),)
    one = [np.full((1, 1, 17, 3), 0.5, np.float32)]
    other = [one[0].copy()]
    other[0][0, 0, 4, 1] += 0.25
    assert disagreement("pose", one, one, spec=SPEC, outputs=outputs, inputs=IMAGE) == 0
    assert disagreement("pose", one, other, spec=SPEC, outputs=outputs, inputs=IMAGE) == pytest.approx(0.25)
    assert top1_agrees("pose", one, one, spec=SPEC, outputs=outputs, inputs=IMAGE)
    assert not top1_agrees("pose", one, other, spec=SPEC, outputs=outputs, inputs=IMAGE)
