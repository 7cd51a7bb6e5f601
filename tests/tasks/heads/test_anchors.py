"""Heads that correct anchors: raw SSD, and MediaPipe's faces, palms and poses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import Anchors, OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.detection import guess_decoder
from edge_agent.tasks.heads.anchors import count, lay_out
from edge_agent.tasks.heads.ssd_anchors import OBJECT_DETECTION_API
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization
from tests.tasks.heads.scenes import Thing, assert_is, detect, detect_quantized, floats, picture, things

SSD = OutputSpec(decoder="ssd_anchors", score_threshold=0.4)
FACE = OutputSpec(decoder="blazeface", score_threshold=0.4)
SMALL = replace(OBJECT_DETECTION_API, strides=(16, 32))  # 4 x 4 cells of 3 and 2 x 2 of 6 at 64 px


# --- where they lie ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("anchors", "size", "expected"),
    [
        (OBJECT_DETECTION_API, (300, 300), 1917),  # ssd_mobilenet_v1_coco, v2
        (OBJECT_DETECTION_API, (320, 320), 2034),  # ssdlite_object_detection.tflite
        (Anchors(), (128, 128), 896),  # face_detection_short_range.tflite
        (Anchors(), (192, 192), 2016),  # palm_detection_full.tflite
        (Anchors(strides=(4,), interpolated_ratio=0.0), (192, 192), 2304),  # face_detection_full_range.tflite
        (Anchors(strides=(8, 16, 32, 32, 32)), (224, 224), 2254),  # pose_detection.tflite
        (Anchors(strides=(8, 16, 32, 32, 32)), (256, 256), 2944),  # palm_detection.tflite of 2020
    ],
)
def test_released_models_have_as_many(anchors: Anchors, size: tuple[int, int], expected: int) -> None:
    laid_out = lay_out(anchors, size, square=True)
    assert count(anchors, size) == len(laid_out) == expected


def test_blazeface_has_two_in_each_cell_of_8_px_then_six_in_each_of_16() -> None:
    laid_out = lay_out(Anchors(), (128, 128), square=False)
    assert laid_out[:3].tolist() == [[1 / 32, 1 / 32, 1, 1], [1 / 32, 1 / 32, 1, 1], [1 / 32, 3 / 32, 1, 1]]
    assert laid_out[512:518].tolist() == [[1 / 16, 1 / 16, 1, 1]] * 6
    assert laid_out[-1].tolist() == [15 / 16, 15 / 16, 1, 1]


def test_ssd_has_the_shapes_of_the_object_detection_api() -> None:
    """multiple_grid_anchor_generator.create_ssd_anchors: six layers from 0.2 to 0.95, three anchors in the first."""
    laid_out = lay_out(OBJECT_DETECTION_API, (300, 300), square=True)
    assert laid_out[:3, 2:] == pytest.approx(
        np.array([[0.1, 0.1], [0.2 / 2**0.5, 0.2 * 2**0.5], [0.2 * 2**0.5, 0.2 / 2**0.5]])
    )
    second = laid_out[3 * 19 * 19 :][:6, 2:]
    ratios = np.array([1, 2, 0.5, 3, 0.3333, 1])
    scales = np.array([0.35] * 5 + [(0.35 * 0.5) ** 0.5])
    assert second == pytest.approx(np.stack([scales / ratios**0.5, scales * ratios**0.5], axis=1), abs=1e-6)
    assert laid_out[-1] == pytest.approx([0.5, 0.5, 0.95**0.5, 0.95**0.5])


def test_a_ratio_of_one_is_a_square_in_px_where_the_input_is_none() -> None:
    wide = lay_out(OBJECT_DETECTION_API, (160, 320), square=True)
    assert wide[0, 2:] == pytest.approx([0.1, 0.05])
    assert lay_out(OBJECT_DETECTION_API, (160, 320), square=False)[0, 2:] == pytest.approx([0.1, 0.1])


def test_nobody_can_change_what_others_use_too() -> None:
    with pytest.raises(ValueError, match="read-only"):
        lay_out(Anchors(), (128, 128), square=False)[0] = 0


# --- raw SSD ----------------------------------------------------------------------------------------------------


def encode_ssd(thing: Thing, anchor: int, *, classes: int, anchors: Anchors = SMALL) -> list[Array]:
    """As object_detection/box_coders/faster_rcnn_box_coder.py does; class 0 is the background."""
    laid_out = lay_out(anchors, (64, 64), square=True).astype(np.float64)
    boxes, scores = np.zeros((1, len(laid_out), 4)), np.zeros((1, len(laid_out), classes))
    center, size, (at, of) = np.array(thing.center), np.array(thing.size), (laid_out[anchor, :2], laid_out[anchor, 2:])
    boxes[0, anchor] = [*((center - at) / of * 10), *(np.log(size / of) * 5)]
    scores[0, :, 0] = 0.99
    scores[0, anchor, thing.index] = thing.score
    return [boxes.astype(np.float32), scores.astype(np.float32)]


@given(things(4), st.integers(0, 71))
def test_a_box_comes_back_from_whatever_anchor(thing: Thing, anchor: int) -> None:
    thing = replace(thing, index=thing.index + 1)
    found = detect(replace(SSD, anchors=SMALL), encode_ssd(thing, anchor, classes=5), picture(64, 64))
    assert len(found) == 1
    assert_is(found[0], thing)


def test_a_box_comes_back_where_the_input_is_no_square() -> None:
    laid_out = lay_out(SMALL, (64, 128), square=True).astype(np.float64)
    thing, anchor = Thing((0.2, 0.3, 0.6, 0.8), 2, 0.9), 50
    boxes, scores = np.zeros((1, len(laid_out), 4), np.float32), np.zeros((1, len(laid_out), 3), np.float32)
    at, of = laid_out[anchor, :2], laid_out[anchor, 2:]
    assert of[0] != pytest.approx(of[1])
    boxes[0, anchor] = [*((np.array(thing.center) - at) / of * 10), *(np.log(np.array(thing.size) / of) * 5)]
    scores[0, anchor, 2] = 0.9
    assert_is(detect(replace(SSD, anchors=SMALL), [boxes, scores], picture(64, 128))[0], thing)


def test_the_outputs_may_come_in_any_order() -> None:
    thing = Thing((0.2, 0.3, 0.6, 0.8), 2, 0.9)
    boxes, scores = encode_ssd(thing, 20, classes=5)
    for spec, arrays in ((SSD, [scores, boxes]), (replace(SSD, output_order=(1, 0)), [scores, boxes])):
        assert_is(detect(replace(spec, anchors=SMALL), arrays, picture(64, 64))[0], thing)
    squeezed = boxes[:, :, None, :]  # as the Object Detection API's graph has its box encodings
    assert_is(detect(replace(SSD, anchors=SMALL), [squeezed, scores], picture(64, 64))[0], thing)


def test_logits_become_scores_by_the_activation() -> None:
    boxes, _ = encode_ssd(Thing((0.2, 0.3, 0.6, 0.8), 2, 0.9), 20, classes=5)
    logits = np.full((1, 72, 5), -9, np.float32)
    logits[0, 20, 2] = 2.0
    spec = replace(SSD, anchors=SMALL, activation="sigmoid")
    assert detect(spec, [boxes, logits], picture(64, 64))[0].score == pytest.approx(1 / (1 + np.exp(-2)))
    soft = detect(replace(spec, activation="softmax"), [boxes, logits], picture(64, 64))
    assert soft[0].score == pytest.approx(1 / (1 + 4 * np.exp(-11)))
    assert soft[0].index == 2


def test_the_background_is_no_object_and_may_be_another_class_or_none() -> None:
    arrays = encode_ssd(Thing((0.2, 0.3, 0.6, 0.8), 2, 0.9), 20, classes=5)
    spec = replace(SSD, anchors=SMALL, iou_threshold=0.0)
    assert {found.index for found in detect(spec, arrays, picture(64, 64))} == {2}
    assert {found.index for found in detect(replace(spec, background_class=2), arrays, picture(64, 64))} == {0}
    assert {found.index for found in detect(replace(spec, background_class=-1), arrays, picture(64, 64))} == {0}


def test_labels_may_leave_the_background_out() -> None:
    arrays = encode_ssd(Thing((0.2, 0.3, 0.6, 0.8), 2, 0.9), 20, classes=5)
    spec = replace(SSD, anchors=SMALL)
    for labels in (("nothing", "a", "b", "c", "d"), ("a", "b", "c", "d")):
        found = detect(spec, arrays, picture(64, 64), labels=labels)[0]
        assert (found.index, found.label) == (2, "b")
    assert detect(spec, arrays, picture(64, 64), labels=("nothing", "a"))[0].label is None


def test_what_a_broken_model_says_of_sizes_does_not_overflow() -> None:
    boxes, scores = encode_ssd(Thing((0.2, 0.3, 0.6, 0.8), 2, 0.9), 20, classes=5)
    boxes[0, 20, 2:] = 1e6
    found = detect(replace(SSD, anchors=SMALL), [boxes, scores], picture(64, 64))
    assert found[0].box is not None
    assert found[0].box.area == 1  # all of the input


def test_other_anchors_than_the_models_are_incompatible_and_both_counts_are_told() -> None:
    arrays = encode_ssd(Thing((0.2, 0.3, 0.6, 0.8), 2, 0.9), 20, classes=5)
    with pytest.raises(ModelError, match=r"are 96 at .* 64 x 64 px .* gives 72 boxes") as caught:
        detect(SSD, arrays, picture(64, 64))
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint is not None
    assert "output.anchors" in caught.value.hint


# --- BlazeFace ----------------------------------------------------------------------------------------------------

SIX = np.linspace(0.3, 0.55, 12).reshape(6, 2)  # x, y


def encode_face(thing: Thing, anchor: int, *, points: NDArray[np.float64] = SIX, px: int = 128) -> list[Array]:
    """As tensors_to_detections_calculator.cc reads it, with x before y, in px."""
    laid_out = lay_out(Anchors(), (px, px), square=False).astype(np.float64)
    center = laid_out[anchor, (1, 0)]
    row = [*(np.array(thing.center[::-1]) - center), *thing.size[::-1], *(points - center).reshape(-1)]
    regressors = np.zeros((1, len(laid_out), len(row)), np.float32)
    regressors[0, anchor] = np.array(row) * px
    logits = np.full((1, len(laid_out), 1), -500, np.float32)
    logits[0, anchor] = np.log(thing.score / (1 - thing.score))
    return [regressors, logits]


@given(things(1), st.integers(0, 895))
def test_a_face_comes_back_with_its_landmarks(thing: Thing, anchor: int) -> None:
    found = detect(FACE, encode_face(thing, anchor), picture(128, 128))
    assert len(found) == 1
    assert_is(found[0], thing)
    assert found[0].label == "face"
    assert np.array([(point.x, point.y) for point in found[0].keypoints]) == pytest.approx(SIX, abs=1e-5)
    assert [point.name for point in found[0].keypoints][:3] == ["right_eye", "left_eye", "nose_tip"]
    assert {point.score for point in found[0].keypoints} == {found[0].score}


def test_a_face_lies_in_px_of_the_picture_behind_the_letterbox() -> None:
    placement = Placement.fit("letterbox", (400, 200), (128, 128))
    found = detect(FACE, encode_face(Thing((0.4, 0.25, 0.6, 0.5), 0, 0.9), 9), picture(128, 128), placement=placement)
    assert found[0].box is not None
    box = found[0].box
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((100, 60, 200, 140), abs=0.01)
    x, y = SIX[0]
    assert (found[0].keypoints[0].x, found[0].keypoints[0].y) == pytest.approx((x * 400, y * 400 - 100), abs=0.01)


def test_a_palm_has_seven_keypoints_at_192_px() -> None:
    points = np.linspace(0.2, 0.7, 14).reshape(7, 2)
    thing = Thing((0.1, 0.2, 0.5, 0.7), 0, 0.8)
    found = detect(FACE, encode_face(thing, 1500, points=points, px=192), picture(192, 192))
    assert_is(found[0], thing)
    assert found[0].label == "palm"
    assert np.array([(point.x, point.y) for point in found[0].keypoints]) == pytest.approx(points, abs=1e-5)
    named = detect(
        replace(FACE, keypoints=tuple("abcdefg")), encode_face(thing, 1500, points=points, px=192), picture(192, 192)
    )
    assert [point.name for point in named[0].keypoints] == list("abcdefg")


def test_landmarks_are_measured_by_anchors_that_have_a_size() -> None:
    anchors = Anchors(strides=(32,), aspect_ratios=(4.0,), interpolated_ratio=0, fixed_size=False, scales=(1, 1, 1, 1))
    _, _, height, width = lay_out(anchors, (64, 64), square=False)[0]
    regressors, logits = np.zeros((1, 4, 6), np.float32), np.full((1, 4, 1), -9, np.float32)
    regressors[0, 0], logits[0, 0] = (0, 0, 1, 1, 0.5, 0.25), 3
    found = detect(replace(FACE, anchors=anchors), [regressors, logits], picture(64, 64))[0]
    assert (found.keypoints[0].x, found.keypoints[0].y) == pytest.approx((0.25 + width / 2, 0.25 + height / 4))
    assert width == pytest.approx(4 * height)


def test_a_quantized_face_is_off_by_a_quantization_step_at_most() -> None:
    thing = Thing((0.2, 0.3, 0.7, 0.75), 0, 0.88)
    scales = (Quantization(1.0, 0), Quantization(1 / 16, 0))
    found = detect_quantized(FACE, encode_face(thing, 300), scales, picture(128, 128))
    assert len(found) == 1
    assert_is(found[0], thing, abs_box=1.5 / 128, abs_score=0.01)


def test_overlapping_faces_are_one_and_the_best_comes_first() -> None:
    one, other = (
        encode_face(Thing((0.2, 0.2, 0.6, 0.6), 0, 0.7), 40),
        encode_face(Thing((0.2, 0.2, 0.6, 0.6), 0, 0.9), 41),
    )
    both = [np.where(b != b.reshape(-1)[0], b, a) for a, b in zip(one, other, strict=True)]
    found = detect(FACE, both, picture(128, 128))
    assert [round(prediction.score, 4) for prediction in found] == [0.9]


# --- guesses and misfits ----------------------------------------------------------------------------------------


def test_they_are_guessed_by_how_many_boxes_there_are() -> None:
    ssd = encode_ssd(Thing((0.2, 0.3, 0.6, 0.8), 2, 0.9), 20, classes=5, anchors=OBJECT_DETECTION_API)
    assert guess_decoder(floats(*ssd), picture(64, 64)) == "ssd_anchors"
    assert guess_decoder(floats(*ssd), picture(96, 96)) is None
    for arrays in (encode_face(Thing((0.2, 0.3, 0.6, 0.8), 0, 0.9), 20), None):
        outputs = floats(*(arrays or [np.zeros((1, 2304, 16)), np.zeros((1, 2304, 1))]))
        size = 128 if arrays else 192
        assert guess_decoder(outputs, picture(size, size)) == "blazeface"
        assert guess_decoder(tuple(reversed(outputs)), picture(size, size)) == "blazeface"


@pytest.mark.parametrize("decoder", ["ssd_anchors", "blazeface"])
@pytest.mark.parametrize(
    "shapes", [[(1, 9, 4)], [(1, 9, 4), (1, 8, 3)], [(1, 9, 5), (1, 9, 3)], [(9, 4), (9, 3)], [(4,), ()], []]
)
def test_other_outputs_do_not_fit(decoder: str, shapes: list[tuple[int, ...]]) -> None:
    spec = OutputSpec(decoder="ssd_anchors" if decoder == "ssd_anchors" else "blazeface")
    with pytest.raises(ModelError, match=f"{decoder} needs two outputs") as caught:
        build_decoder("detection", spec, floats(*map(np.zeros, shapes)), (), picture(128, 128))
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint


@pytest.mark.parametrize("spec", [replace(SSD, anchors=SMALL), FACE])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_what_are_no_numbers_are_the_models_fault(spec: OutputSpec, wrong: float, place: int) -> None:
    thing, px = Thing((0.2, 0.3, 0.6, 0.8), 0, 0.9), 64 if spec is not FACE else 128
    arrays = encode_face(thing, 5) if spec is FACE else encode_ssd(replace(thing, index=1), 5, classes=3)
    arrays[place].reshape(-1)[-1] = wrong
    decoder = build_decoder("detection", spec, floats(*arrays), (), picture(px, px))
    with pytest.raises(ModelError, match="not numbers") as caught:
        decoder.decode(arrays, Prepared())
    assert caught.value.reason is Reason.TRIAL_ERRORS
