"""Keypoints in px of the picture."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.inference.model import assemble
from edge_agent.inference.tflite import open_engine
from edge_agent.release.inputs import ImageInput
from edge_agent.release.manifest import parse_manifest
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.keypoints import (
    BLAZEPOSE_KEYPOINTS,
    BLAZEPOSE_SKELETON,
    COCO_KEYPOINTS,
    COCO_SKELETON,
    usual_skeleton,
)
from edge_agent.tasks.pose import KEYPOINT_THRESHOLD, guess_pose_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.image import read_image
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization, TensorSpec, quantize
from tests.sim.artifact import make_members

FLOAT = np.dtype(np.float32)
MOVENET = OutputSpec(decoder="movenet")
HEATMAP = OutputSpec(decoder="heatmap")
BLAZEPOSE = OutputSpec(decoder="blazepose")
Points = NDArray[np.float64]  # [k, 3] x, y normalized, score


def picture(height: int, width: int) -> tuple[TensorSpec, ...]:
    return (TensorSpec("image", (1, height, width, 3), FLOAT),)


def floats(*arrays: Array) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(f"output{n}", array.shape, FLOAT) for n, array in enumerate(arrays))


def see(
    spec: OutputSpec,
    arrays: list[Array],
    size: tuple[int, int] = (64, 64),
    *,
    labels: tuple[str, ...] = (),
    placement: Placement | None = None,
) -> list[Prediction]:
    decoder = build_decoder("pose", spec, floats(*arrays), labels, picture(*size))
    return decoder.decode(arrays, Prepared(placement=placement))


def points_of(prediction: Prediction) -> Points:
    return np.array([(point.x, point.y, point.score) for point in prediction.keypoints])


@st.composite
def bodies(draw: st.DrawFn, count: int = 17) -> Points:
    """Keypoints in and a little beyond the picture."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.concatenate([rng.uniform(-0.1, 1.1, (count, 2)), rng.uniform(0.01, 0.99, (count, 1))], axis=1)


# --- MoveNet ----------------------------------------------------------------------------------------------------


@given(bodies())
def test_a_single_pose_comes_back_with_the_mean_of_its_scores(body: Points) -> None:
    found = see(MOVENET, [body[None, None][..., (1, 0, 2)].astype(np.float32)])
    assert len(found) == 1
    assert points_of(found[0]) == pytest.approx(body, abs=1e-6)
    assert found[0].score == pytest.approx(body[:, 2].mean(), abs=1e-6)
    assert (found[0].index, found[0].label) == (0, "person")
    assert tuple(point.name for point in found[0].keypoints) == COCO_KEYPOINTS


@given(st.lists(bodies(), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_several_poses_come_back_with_their_boxes_the_best_first(found: list[Points], random: Any) -> None:
    scores = [random.uniform(0.3, 1) for _ in found]
    numbers = np.zeros((1, 6, 56), np.float32)
    for position, body in enumerate(found):
        numbers[0, position, :51] = body[:, (1, 0, 2)].reshape(-1)
        numbers[0, position, 51:] = (0.1, 0.2, 0.5, 0.4 + 0.05 * position, scores[position])
    seen = see(replace(MOVENET, score_threshold=0.2), [numbers])
    order = sorted(range(len(found)), key=lambda position: -np.float32(scores[position]))
    assert [prediction.score for prediction in seen] == pytest.approx([scores[position] for position in order])
    for prediction, position in zip(seen, order, strict=True):
        assert points_of(prediction) == pytest.approx(found[position], abs=1e-6)
        assert prediction.box is not None
        corners = (prediction.box.left, prediction.box.top, prediction.box.right, prediction.box.bottom)
        assert corners == pytest.approx((0.2, 0.1, 0.4 + 0.05 * position, 0.5))
    assert see(replace(MOVENET, top_k=1, score_threshold=0.2), [numbers]) == seen[:1]


def test_a_pose_lies_in_px_of_the_picture_behind_the_letterbox_and_its_box_around_what_is_seen() -> None:
    body = np.zeros((17, 3))
    body[0], body[5], body[9] = (0.25, 0.4, 0.9), (0.75, 0.6, 0.8), (0.5, 0.1, 0.7)  # the last one is in the bar
    placement = Placement.fit("letterbox", (400, 200), (64, 64))
    found = see(MOVENET, [body[None, None][..., (1, 0, 2)].astype(np.float32)], placement=placement)
    assert points_of(found[0])[[0, 5, 9], :2] == pytest.approx(np.array([[100, 60], [300, 140], [200, -60]]), abs=0.01)
    assert found[0].box is not None
    corners = (found[0].box.left, found[0].box.top, found[0].box.right, found[0].box.bottom)
    assert corners == pytest.approx((100, 0, 300, 140), abs=0.01)  # clipped to the picture


def test_nobody_seen_has_no_box_and_below_the_threshold_there_is_nobody() -> None:
    body = np.full((1, 1, 17, 3), KEYPOINT_THRESHOLD / 2, np.float32)
    assert see(MOVENET, [body])[0].box is None
    assert see(replace(MOVENET, score_threshold=0.2), [body]) == []


# --- heat-maps --------------------------------------------------------------------------------------------------


@given(bodies(), st.integers(0, 100))
def test_heat_maps_with_offsets_give_the_very_px(body: Points, seed: int) -> None:
    """PoseNet at 257 px: 9 x 9 cells, 32 px apart."""
    rng = np.random.default_rng(seed)
    maps, offsets = rng.uniform(-20, -10, (1, 9, 9, 17)), rng.uniform(-99, 99, (1, 9, 9, 34))
    for part, (x, y, score) in enumerate(body):
        row, column = np.clip(np.rint(np.array([y, x]) * 257 / 32), 0, 8).astype(int)
        maps[0, row, column, part] = np.log(score / (1 - score))
        offsets[0, row, column, [part, 17 + part]] = np.array([y, x]) * 257 - np.array([row, column]) * 32
    arrays: list[Array] = [maps.astype(np.float32), offsets.astype(np.float32)]
    displacements: list[Array] = [np.zeros((1, 9, 9, 32), np.float32)] * 2  # of the version for several poses
    for outputs in (arrays, [*arrays, *displacements], [*displacements, arrays[1], arrays[0]]):
        assert points_of(see(HEATMAP, outputs, (257, 257))[0]) == pytest.approx(body, abs=1e-5)
    assert points_of(see(replace(HEATMAP, output_order=(1, 0)), arrays[::-1], (257, 257))[0]) == pytest.approx(
        body, abs=1e-5
    )


def bump(y: float, x: float, *, height: int = 16, width: int = 12) -> NDArray[np.float32]:
    """A heat-map as it is trained: a Gaussian around a place, in cells."""
    rows, columns = np.mgrid[:height, :width]
    gaussian: NDArray[np.float32] = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8).astype(np.float32)
    return gaussian


@given(st.floats(2.1, 13.4), st.floats(2.1, 9.4))
def test_plain_heat_maps_are_right_to_a_quarter_of_a_cell(y: float, x: float) -> None:
    maps = np.stack([bump(y, x)] * 3, axis=-1)[None]
    for array in (maps, np.ascontiguousarray(maps.transpose(0, 3, 1, 2))):
        found = see(HEATMAP, [array], (64, 48))[0]
        assert np.abs(points_of(found)[:, 0] * 12 - x).max() <= 0.25 + 1e-5
        assert np.abs(points_of(found)[:, 1] * 16 - y).max() <= 0.25 + 1e-5
        assert found.score == pytest.approx(maps.max(), abs=1e-6)


def test_a_largest_value_at_the_rim_stays_where_it_is() -> None:
    found = see(HEATMAP, [bump(0, 11)[None, ..., None]], (64, 48))[0]
    assert points_of(found)[0] == pytest.approx([11 / 12, 0, 1])
    second = see(HEATMAP, [bump(1, 6.2)[None, ..., None]], (64, 48))[0]  # HRNet leaves the second cell too
    assert points_of(second)[0, :2] == pytest.approx([6 / 12, 1 / 16])


def test_quantized_heat_maps_are_refined_alike() -> None:
    maps = np.stack([bump(5.3, 7.6), bump(9.2, 4.4)], axis=-1)[None]
    tensor = TensorSpec("maps", maps.shape, np.dtype(np.uint8), Quantization(1 / 255, 0))
    stored = quantize(maps, tensor)
    found = build_decoder("pose", HEATMAP, (tensor,), (), picture(64, 48)).decode([stored], Prepared())[0]
    assert points_of(found) == pytest.approx(points_of(see(HEATMAP, [maps], (64, 48))[0]), abs=1 / 255)


def test_logits_of_heat_maps_become_scores_by_the_activation() -> None:
    maps = 9 * bump(5, 7)[None, ..., None] - 6
    assert see(replace(HEATMAP, activation="sigmoid"), [maps], (64, 48))[0].score == pytest.approx(1 / (1 + np.exp(-3)))


# --- BlazePose --------------------------------------------------------------------------------------------------


@given(bodies(33), st.floats(0, 1))
def test_landmarks_in_px_come_back_with_their_visibility(body: Points, score: float) -> None:
    rows = np.zeros((39, 5), np.float32)
    rows[:33, :2] = body[:, :2] * (256, 256)
    rows[:33, 3] = np.log(body[:, 2] / (1 - body[:, 2]))
    rows[:, 4] = -9  # presence is not told: only the first 33 rows and their visibility
    flag = np.full((1, 1), score, np.float32)
    arrays: list[Array] = [rows.reshape(1, 195), flag, np.zeros((1, 117), np.float32)]
    for outputs in (arrays, [arrays[1], arrays[2], arrays[0]], [rows[None], flag]):
        found = see(BLAZEPOSE, outputs, (256, 256))
        assert len(found) == 1
        assert points_of(found[0]) == pytest.approx(body, abs=1e-5)
        assert found[0].score == pytest.approx(score)
        assert tuple(point.name for point in found[0].keypoints) == BLAZEPOSE_KEYPOINTS


def test_landmarks_may_be_normalized_and_of_a_hand() -> None:
    rows = np.linspace(0.1, 0.9, 63, dtype=np.float32).reshape(1, 63)
    spec = replace(BLAZEPOSE, box_units="normalized")
    found = see(spec, [rows, np.array([[0.7]], np.float32)], labels=("hand",))[0]
    assert points_of(found)[:, :2] == pytest.approx(rows.reshape(21, 3)[:, :2])
    assert found.label == "hand"
    assert found.score == pytest.approx(0.7)
    assert {point.name for point in found.keypoints} == {None}


# --- guesses and misfits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "size", "expected"),
    [
        ([(1, 1, 17, 3)], (192, 192), "movenet"),
        ([(1, 6, 56)], (256, 256), "movenet"),
        ([(1, 8400, 56)], (640, 640), None),  # objects with keypoints: YOLOv8 pose
        ([(1, 9, 9, 17), (1, 9, 9, 34), (1, 9, 9, 32), (1, 9, 9, 1)], (257, 257), "heatmap"),
        ([(1, 64, 48, 17)], (256, 192), "heatmap"),
        ([(1, 17, 64, 48)], (256, 192), "heatmap"),
        ([(1, 64, 64, 21)], (256, 256), None),
        ([(1, 195), (1, 1), (1, 256, 256, 1), (1, 64, 64, 39), (1, 117)], (256, 256), "blazepose"),
        ([(1, 33, 4)], (256, 256), "blazepose"),
        ([(1, 1000)], (224, 224), None),
        ([], (224, 224), None),
    ],
)
def test_they_are_guessed_by_their_shapes(
    shapes: list[tuple[int, ...]], size: tuple[int, int], expected: str | None
) -> None:
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    assert guess_pose_decoder(floats(*arrays), picture(*size)) == expected
    if expected is not None:
        assert len(see(OutputSpec(), arrays, size)) >= 1


@pytest.mark.parametrize("spec", [MOVENET, HEATMAP, BLAZEPOSE])
@pytest.mark.parametrize("shapes", [[(1, 1000)], [(1, 2, 3, 4)], [(1, 9, 8, 17), (1, 8, 8, 34)], []])
def test_other_outputs_do_not_fit(spec: OutputSpec, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ModelError, match=f"{spec.decoder} needs") as caught:
        see(spec, [np.zeros(shape, np.float32) for shape in shapes])
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint


def test_a_decoder_of_another_task_and_one_that_cannot_be_guessed_are_told() -> None:
    for spec, message in (
        (OutputSpec(decoder="yolov8"), "'yolov8' finds no keypoints"),
        (OutputSpec(), "no pose decoder"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            see(spec, [np.zeros((1, 9), np.float32)])
        assert caught.value.reason is Reason.INCOMPATIBLE
        assert caught.value.hint is not None
        assert "movenet" in caught.value.hint


def test_names_that_do_not_fit_are_told_with_both_counts() -> None:
    body: list[Array] = [np.zeros((1, 1, 17, 3), np.float32)]
    for spec, labels, message in (
        (replace(MOVENET, keypoints=("nose", "tail")), (), "17 keypoints; output.keypoints names 2"),
        (MOVENET, ("a", "b"), "one label; there are 2"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            see(spec, body, labels=labels)
        assert caught.value.reason is Reason.LABELS_MISMATCH
    with pytest.raises(ModelError, match=r"a line \(3, 17\); the model has keypoints 0 to 16") as caught:
        see(replace(MOVENET, skeleton=((0, 1), (3, 17))), body)
    assert caught.value.reason is Reason.INCOMPATIBLE


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_are_no_numbers_are_the_models_fault(wrong: float) -> None:
    for spec, shape in ((MOVENET, (1, 1, 17, 3)), (HEATMAP, (1, 16, 16, 3)), (BLAZEPOSE, (1, 195))):
        numbers = np.zeros(shape, np.float32)
        numbers.reshape(-1)[-1] = wrong
        with pytest.raises(ModelError, match="not numbers") as caught:
            see(spec, [numbers])
        assert caught.value.reason is Reason.TRIAL_ERRORS


def test_the_lines_of_a_body_have_ends() -> None:
    for names, skeleton in ((COCO_KEYPOINTS, COCO_SKELETON), (BLAZEPOSE_KEYPOINTS, BLAZEPOSE_SKELETON)):
        assert usual_skeleton(len(names)) == skeleton
        assert {end for line in skeleton for end in line} == set(range(len(names)))
        assert len({frozenset(line) for line in skeleton}) == len(skeleton)
    assert usual_skeleton(5) == ()


# --- a real model -----------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_the_real_model_sees_the_published_keypoints(shared_data: Path) -> None:
    checks = json.loads((shared_data / "expected.json").read_text(encoding="utf-8"))["checks"]
    case = next(check for check in checks if check["id"] == "pose:squat")
    members = make_members(b"x", source=ImageInput(decode="full"), task="pose")
    engine = open_engine(shared_data / case["model"])
    image = read_image(shared_data / case["input"])
    with assemble(parse_manifest(members["manifest.json"]), (), engine) as model:
        prepared = model.prepare_image(image)
        outputs = model.invoke(prepared)
        found = model.decode(outputs, prepared)
        assert model.disagreements([model.real_outputs(outputs)], [model.real_outputs(outputs)]) == [0.0]
    assert len(found) == 1
    y, x, _ = np.array(case["expected_keypoints_yxs"]).T
    placed = points_of(found[0])
    width, height = image.size_px
    tolerance = case["tolerance"]
    assert placed[:, 0] / width == pytest.approx(x, abs=tolerance)
    assert placed[:, 1] / height == pytest.approx(y, abs=tolerance)
    published = np.loadtxt(shared_data / case["published"], delimiter=",", skiprows=1)
    assert placed[:, :2] / (width, height) == pytest.approx(published[:, 4:6], abs=tolerance)
    assert found[0].box is not None
    assert 0 <= found[0].box.left < found[0].box.right <= width
