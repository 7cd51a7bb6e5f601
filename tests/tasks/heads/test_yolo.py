"""Heads of the YOLO family, normalized or in px, whichever way they lie."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.detection import guess_decoder
from edge_agent.tasks.heads.yolo import cells
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization
from tests.tasks.heads.scenes import Thing, assert_is, detect, detect_quantized, floats, picture, things

Make = Callable[..., list[Array]]
HEIGHT, WIDTH = 96, 160
CELLS = 12 * 20 + 6 * 10 + 3 * 5
CLASSES = 6
V8 = OutputSpec(decoder="yolov8", score_threshold=0.25)
V5 = OutputSpec(decoder="yolov5", score_threshold=0.25)
DOG = Thing((0.1, 0.2, 0.5, 0.45), 3, 0.9)
CAT = Thing((0.55, 0.6, 0.9, 0.95), 1, 0.6)


def rows(*found: Thing, count: int, columns: int, px: bool) -> NDArray[np.float32]:
    """[count, columns]: center x, y, width, height of every row in some cell, and of the things where they are put."""
    filled = np.zeros((count, columns), np.float32)
    filled[:, :4] = np.linspace((0, 0, 0.1, 0.1), (1, 1, 0.9, 0.9), count)
    for position, thing in enumerate(found):
        filled[5 * position + 2, :4] = (*thing.center[::-1], *thing.size[::-1])
    if px:
        filled[:, :4] *= (WIDTH, HEIGHT, WIDTH, HEIGHT)
    return filled


def v8(*found: Thing, px: bool = False, transposed: bool = False) -> list[Array]:
    filled = rows(*found, count=CELLS, columns=4 + CLASSES, px=px)
    for position, thing in enumerate(found):
        filled[5 * position + 2, 4 + thing.index] = thing.score
    return [np.ascontiguousarray(filled if transposed else filled.T)[None]]


def v5(*found: Thing, px: bool = False) -> list[Array]:
    filled = rows(*found, count=3 * CELLS, columns=5 + CLASSES, px=px)
    for position, thing in enumerate(found):
        filled[5 * position + 2, 4] = thing.score**0.25
        filled[5 * position + 2, 5 + thing.index] = thing.score**0.75
    return [filled[None]]


def suppressed(*found: Thing, px: bool = False) -> list[Array]:
    filled = np.zeros((1, 300, 6), np.float32)
    for position, thing in enumerate(found):
        filled[0, position] = (*(thing.sides[side] for side in (1, 0, 3, 2)), thing.score, thing.index)
    if px:
        filled[..., :4] *= (WIDTH, HEIGHT, WIDTH, HEIGHT)
    return [filled]


INPUT = picture(HEIGHT, WIDTH)


@given(things(CLASSES), st.booleans(), st.booleans())
def test_a_v8_box_comes_back_whichever_way_the_output_lies(thing: Thing, px: bool, transposed: bool) -> None:  # noqa: FBT001
    found = detect(V8, v8(thing, px=px, transposed=transposed), INPUT)
    assert len(found) == 1
    assert_is(found[0], thing)


@given(things(CLASSES), st.booleans())
def test_a_v5_box_comes_back_with_objectness_times_class(thing: Thing, px: bool) -> None:  # noqa: FBT001
    found = detect(V5, v5(thing, px=px), INPUT)
    assert len(found) == 1
    assert_is(found[0], thing)


@given(things(CLASSES), st.booleans())
def test_a_box_of_a_model_that_suppresses_by_itself_comes_back(thing: Thing, px: bool) -> None:  # noqa: FBT001
    found = detect(V8, suppressed(thing, px=px), INPUT)
    assert len(found) == 1
    assert_is(found[0], thing)


def test_such_a_models_boxes_are_not_suppressed_again() -> None:
    found = detect(replace(V8, iou_threshold=0.0, max_objects=1), suppressed(CAT, replace(CAT, score=0.9)), INPUT)
    assert [prediction.score for prediction in found] == pytest.approx([0.9, 0.6])


def test_two_classes_in_a_small_picture_are_not_taken_for_rows_of_a_suppressing_model() -> None:
    filled = rows(DOG, count=CELLS, columns=6, px=False)
    filled[2, 5] = 0.9
    assert CELLS < 1000
    found = detect(V8, [filled[None]], INPUT)
    assert len(found) == 1
    assert_is(found[0], replace(DOG, index=1))


@pytest.mark.parametrize("transposed", [False, True])
def test_more_classes_than_boxes_do_not_turn_the_output_round(transposed: bool) -> None:  # noqa: FBT001
    filled = np.zeros((cells((32, 32)), 4 + 80), np.float32)
    filled[2, :4], filled[2, 4 + 77] = (*DOG.center[::-1], *DOG.size[::-1]), 0.9
    found = detect(V8, [(filled if transposed else np.ascontiguousarray(filled.T))[None]], picture(32, 32))
    assert len(found) == 1
    assert_is(found[0], replace(DOG, index=77))


@pytest.mark.parametrize("make", [v8, v5, suppressed])
def test_the_unit_may_be_stated(make: Make) -> None:
    tiny = Thing((0.0, 0.0, 0.01, 0.005), 2, 0.9)  # of a picture, or in px: 1 % of a pixel
    spec = V5 if make is v5 else V8
    arrays = make(tiny, px=False)
    found = detect(replace(spec, box_units="pixels"), arrays, INPUT)
    assert found[0].box is not None
    assert found[0].box.right == pytest.approx(0.005 / WIDTH)
    assert_is(detect(replace(spec, box_units="normalized"), arrays, INPUT)[0], tiny)


@pytest.mark.parametrize("make", [v8, v5])
def test_boxes_of_one_object_are_one_and_those_of_another_class_stay(make: Make) -> None:
    arrays = make(DOG, replace(DOG, score=0.5), replace(DOG, index=0, score=0.7), CAT)
    spec = V8 if make is v8 else V5
    found = detect(spec, arrays, INPUT)
    assert [(prediction.index, round(prediction.score, 4)) for prediction in found] == [(3, 0.9), (0, 0.7), (1, 0.6)]
    agnostic = detect(replace(spec, class_agnostic=True), arrays, INPUT)
    assert [prediction.index for prediction in agnostic] == [3, 1]
    assert [prediction.index for prediction in detect(replace(spec, max_objects=2), arrays, INPUT)] == [3, 0]
    assert [prediction.index for prediction in detect(replace(spec, top_k=1), arrays, INPUT)] == [3]
    tolerant = detect(replace(spec, iou_threshold=1.0), arrays, INPUT)
    assert [prediction.index for prediction in tolerant] == [3, 0, 1, 3]


def test_boxes_go_back_through_the_letterbox() -> None:
    placement = Placement.fit("letterbox", (300, 300), (WIDTH, HEIGHT))  # shown 96 x 96, with bars of 32 px
    found = detect(V8, v8(Thing((0.25, 0.35, 0.75, 0.65), 2, 0.8), px=True), INPUT, placement=placement)
    assert found[0].box is not None
    box = found[0].box
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((75, 75, 225, 225), abs=0.01)
    bar = detect(V8, v8(Thing((0.25, 0.0, 0.75, 0.15), 2, 0.8), px=True), INPUT, placement=placement)
    assert bar == []


@pytest.mark.parametrize("transposed", [False, True])
def test_a_quantized_v8_output_is_off_by_a_quantization_step_at_most(transposed: bool) -> None:  # noqa: FBT001
    arrays = v8(DOG, CAT, transposed=transposed)
    found = detect_quantized(V8, arrays, [Quantization(1 / 255, -128)], INPUT)
    assert len(found) == 2
    for prediction, thing in zip(found, (DOG, CAT), strict=True):
        assert_is(prediction, thing, abs_box=1 / 255, abs_score=0.5 / 255)
    without = detect_quantized(replace(V8, background_class=3), arrays, [Quantization(1 / 255, -128)], INPUT)
    assert [prediction.index for prediction in without] == [1]


def test_a_quantized_v5_output_is_off_by_a_quantization_step_at_most() -> None:
    found = detect_quantized(V5, v5(DOG, CAT), [Quantization(1 / 255, -128)], INPUT)
    assert len(found) == 2
    for prediction, thing in zip(found, (DOG, CAT), strict=True):
        assert_is(prediction, thing, abs_box=1 / 255, abs_score=1 / 255)


@pytest.mark.parametrize("make", [v8, v5, suppressed])
def test_a_background_class_is_no_object(make: Make) -> None:
    arrays = make(DOG, CAT)
    spec = V5 if make is v5 else V8
    assert [found.index for found in detect(replace(spec, background_class=3), arrays, INPUT)] == [1]


def test_logits_become_scores_by_the_activation() -> None:
    arrays = v8(DOG)
    arrays[0][0, 4:] = np.where(arrays[0][0, 4:] > 0, 1.5, -9)
    for activation, score in (("sigmoid", 1 / (1 + np.exp(-1.5))), ("softmax", 1 / (1 + 5 * np.exp(-10.5)))):
        spec = replace(V8, activation="sigmoid" if activation == "sigmoid" else "softmax")
        assert detect(spec, arrays, INPUT)[0].score == pytest.approx(score)


@pytest.mark.parametrize("px", [False, True])
def test_a_pose_head_gives_keypoints_in_the_unit_of_its_boxes(px: bool) -> None:  # noqa: FBT001
    filled = rows(DOG, count=CELLS, columns=4 + 1 + 6, px=px)
    filled[2, 4:] = (0.9, 0.25, 0.15, 0.8, 0.4, 0.45, 0.7)
    if px:
        filled[:, (5, 8)] *= WIDTH
        filled[:, (6, 9)] *= HEIGHT
    found = detect(replace(V8, keypoints=("nose", "tail")), [np.ascontiguousarray(filled.T)[None]], INPUT)
    assert len(found) == 1
    assert_is(found[0], replace(DOG, index=0))
    assert [point.name for point in found[0].keypoints] == ["nose", "tail"]
    points = np.array([(point.x, point.y, point.score) for point in found[0].keypoints])
    assert points == pytest.approx(np.array([[0.25, 0.15, 0.8], [0.4, 0.45, 0.7]]), abs=1e-5)


@pytest.mark.parametrize("make", [v8, v5])
def test_more_labels_than_classes_are_a_mismatch_and_fewer_are_not(make: Make) -> None:
    arrays = make(DOG, CAT)
    spec = V8 if make is v8 else V5
    found = detect(spec, arrays, INPUT, labels=("a", "b"))
    assert [(prediction.index, prediction.label) for prediction in found] == [(3, None), (1, "b")]
    with pytest.raises(ModelError, match="has 6 classes; there are 7 labels") as caught:
        detect(spec, arrays, INPUT, labels=("x",) * 7)
    assert caught.value.reason is Reason.LABELS_MISMATCH


@pytest.mark.parametrize("make", [v8, v5, suppressed])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1234])
def test_what_are_no_numbers_are_the_models_fault(make: Make, wrong: float, place: int) -> None:
    arrays = make(DOG)
    arrays[0].reshape(-1)[place] = wrong
    decoder = build_decoder("detection", V5 if make is v5 else V8, floats(*arrays), (), INPUT)
    with pytest.raises(ModelError, match="not numbers") as caught:
        decoder.decode(arrays, Prepared())
    assert caught.value.reason is Reason.TRIAL_ERRORS


def test_large_numbers_are_numbers_too_even_if_their_sum_is_none() -> None:
    arrays = v8(DOG)
    arrays[0][0, 0, -40:] = 3e38
    assert [found.index for found in detect(replace(V8, box_units="normalized"), arrays, INPUT)] == [3]


@pytest.mark.parametrize("shape", [(1, 4, 8), (1, 8, 4), (2, 9, 99), (1, 9), (1, 3, 9, 9)])
def test_other_outputs_do_not_fit(shape: tuple[int, ...]) -> None:
    for spec, expected in ((V8, r"yolov8 needs one output \[1, 4"), (V5, r"yolov5 needs one output \[1, n, 5")):
        if spec is V5 and shape == (1, 4, 8):
            continue  # one box of three classes
        with pytest.raises(ModelError, match=expected) as caught:
            build_decoder("detection", spec, floats(np.zeros(shape)), (), INPUT)
        assert caught.value.reason is Reason.INCOMPATIBLE
        assert caught.value.hint


def test_without_a_picture_as_input_there_is_no_size() -> None:
    for inputs in ((), floats(np.zeros((1, 9)))):
        with pytest.raises(ModelError, match="needs a picture") as caught:
            build_decoder("detection", V8, floats(*v8(DOG)), (), inputs)
        assert caught.value.reason is Reason.INCOMPATIBLE


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 84, 8400), (640, 640), "yolov8"),
        ((1, 8400, 84), (640, 640), "yolov8"),
        ((1, 6, 2100), (320, 320), "yolov8"),
        ((1, 300, 6), (640, 640), "yolov8"),
        ((1, 56, 8400), (640, 640), "yolov8"),
        ((1, 25200, 85), (640, 640), "yolov5"),
        ((1, 6300, 85), (320, 320), "yolov5"),
        ((1, 25200, 6), (640, 640), "yolov5"),
        ((1, 1000), (224, 224), None),
        ((1, 84, 8400), (320, 320), None),
    ],
)
def test_they_are_guessed_by_their_grids(shape: tuple[int, ...], size: tuple[int, int], expected: str | None) -> None:
    assert guess_decoder(floats(np.zeros(shape, np.int8)), picture(*size)) == expected
    assert cells((640, 640)) == 8400
