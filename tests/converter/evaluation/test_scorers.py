"""What a task's answers are judged by, with answers of which the figures are known by hand."""

from pathlib import Path

import numpy as np
import pytest

from converter.data.examples import ClassTruth, MapValues, ObjectsTruth, Truth, ValuesTruth
from converter.errors import CalibrationError
from converter.evaluation.classes import ClassNames
from converter.evaluation.scorer import new_scorer
from converter.metrics.objects import TrueObject
from edge_agent.errors import FrameError
from edge_agent.release.inputs import ImageInput
from edge_agent.release.outputs import OutputSpec
from tests.converter.evaluation.models import judged, model

LABELS = ("cat", "big dog", "bird")


# --- labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "index"),
    [("cat", 0), ("Big_Dog", 1), ("big-dog ", 1), ("2", 2), (2, 2), ("02_big dog", 1), ("7 bird", 2), ("3", None),
     (3, None), ("fish", None), ("1_fish", None)],
)  # fmt: skip
def test_labels_are_found_however_they_are_written(label: str | int, index: int | None) -> None:
    assert ClassNames(LABELS, 3).index(label) == index


def test_a_label_that_two_classes_have_needs_the_number() -> None:
    """ImageNet has two `crane`."""
    names = ClassNames(("crane", "ship", "crane"), 3)
    assert (names.index("crane"), names.index("2"), names.index("ship")) == (None, 2, 1)


def test_without_labels_numbers_are_classes_with_a_name_behind_them_too() -> None:
    names = ClassNames((), 3)
    assert (names.index("1"), names.index("2_running"), names.index("running")) == (1, 2, None)


# --- tasks ------------------------------------------------------------------------------------------------------


def test_a_classification_is_judged_by_its_first_answer() -> None:
    made = model("classification", [(1, 3)], labels=LABELS)
    rows: list[tuple[list[float], str | int]] = [
        ([0.8, 0.1, 0.1], "cat"),
        ([0.6, 0.3, 0.1], "big dog"),
        ([0.1, 0.2, 0.7], "bird"),
        ([0.3, 0.4, 0.3], 1),
    ]
    scorer = judged(made, [([[row]], ClassTruth(label)) for row, label in rows])
    assert scorer.value() == 0.75
    found = scorer.metrics()
    assert found["labels"] == list(LABELS)
    assert found["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert [row["recall"] for row in found["per_class"]] == [1, 0.5, 1]
    assert scorer.value(np.array([0.0, 1, 1, 0])) == 0.5


def test_a_class_that_the_device_never_tells_is_no_answer() -> None:
    made = model("classification", [(1, 3)], labels=LABELS, output=OutputSpec(background_class=0))
    scorer = judged(made, [([[[0.9, 0.06, 0.04]]], ClassTruth("big dog"))])
    assert scorer.value() == 1.0


def test_one_score_is_a_choice_of_two() -> None:
    made = model("classification", [(1, 1)], labels=("person",), output=OutputSpec(activation="sigmoid"))
    truths: list[tuple[float, Truth]] = [(2.0, ClassTruth("person")), (-2.0, ClassTruth("not person"))]
    scorer = judged(made, [([[[score]]], truth) for score, truth in truths])
    assert scorer.value() == 1.0
    assert scorer.metrics()["labels"] == ["not person", "person"]


def test_scores_that_are_no_probabilities_have_no_calibration_error() -> None:
    made = model("classification", [(1, 3)], labels=LABELS)
    assert judged(made, [([[[5.0, -3, 1]]], ClassTruth("cat"))]).metrics()["calibration_error"] is None


def boxes(*found: tuple[tuple[float, float, float, float], int, float]) -> list[object]:
    """Outputs of TFLite_Detection_PostProcess: (top, left, bottom, right), class, score."""
    rows = [*found, *[((0.0, 0.0, 0.0, 0.0), 0, 0.0)] * (3 - len(found))]
    return [[[row[0] for row in rows]], [[row[1] for row in rows]], [[row[2] for row in rows]], [len(found)]]


def true(label: str, *box: float) -> TrueObject:
    left, top, right, bottom = box
    return TrueObject(label, (left, top, right, bottom), (right - left) * (bottom - top))


def test_objects_are_judged_in_px_of_the_picture_and_down_to_weak_scores() -> None:
    """The device tells objects from 0.5 on; average precision is of all."""
    shapes = [(1, 3, 4), (1, 3), (1, 3), (1,)]
    names = OutputSpec(score_threshold=0.5, output_order=(0, 1, 2, 3), decoder="ssd_postprocess")
    made = model("detection", shapes, labels=LABELS, output=names)
    weak = boxes(((0.0, 0.0, 0.5, 0.5), 1, 0.3))
    strong = boxes(((0.5, 0.5, 1.0, 1.0), 0, 0.9), ((0.0, 0.0, 0.3, 0.3), 2, 0.6))
    scorer = judged(
        made,
        [
            (weak, ObjectsTruth((true("big_dog", 0, 0, 40, 20),))),
            (strong, ObjectsTruth((true("cat", 40, 20, 80, 40),))),
        ],
    )
    found = scorer.metrics()
    assert scorer.value() == pytest.approx(1.0)
    assert found["threshold"] == {"score": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert {row["label"]: row["ap"] for row in found["per_class"]} == {"big dog": 1.0, "cat": 1.0}
    assert scorer.value(np.array([2.0, 0.0])) == pytest.approx(1.0)


def test_maps_are_judged_in_pixels_of_the_true_map_without_the_bars_of_a_letterbox() -> None:
    made = model("segmentation", [(1, 8, 8, 2)], spec=ImageInput(fit="letterbox"))
    scores = np.zeros((1, 8, 8, 2))
    scores[:, 2:6, :4, 1] = 1.0  # the left half of the picture, whose bars are 2 px above and below
    truth = np.zeros((40, 80), np.uint8)
    truth[:, :20] = 1
    truth[:, 40:] = 255
    scorer = judged(made, [([scores], MapValues(truth))])
    found = scorer.metrics()
    assert [row["iou"] for row in found["per_class"]] == [0.0, 0.5]
    assert scorer.value() == 0.25
    assert found["pixel_accuracy"] == 0.5


def test_pixels_beside_a_crop_are_not_judged() -> None:
    made = model("segmentation", [(1, 8, 8, 2)], spec=ImageInput(fit="crop"))
    scores = np.zeros((1, 8, 8, 2))
    scores[:, :, :4, 1] = 1.0
    truth = np.zeros((40, 80), np.uint8)
    truth[:, 20:40] = 1  # the left half of what is in the middle of the picture
    truth[:, 70:] = 1
    assert judged(made, [([scores], MapValues(truth))]).value() == 1.0


def test_a_map_with_classes_that_the_model_has_not_is_named() -> None:
    made = model("segmentation", [(1, 8, 8, 2)])
    with pytest.raises(FrameError, match="has class 7; the model has 0 to 1"):
        judged(made, [([np.zeros((1, 8, 8, 2))], MapValues(np.full((4, 4), 7)))])


def test_values_are_judged_in_the_unit_that_the_device_tells() -> None:
    made = model("regression", [(1, 2)], output=OutputSpec(scale=10.0, offset=1.0, names=("a", "b"), top_k=1))
    rows = [((0.1, 0.2), (2.0, 3.0)), ((0.3, 0.4), (5.0, 5.0)), ((0.5, 0.6), (6.0, 7.0))]
    scorer = judged(made, [([[row]], ValuesTruth(truth)) for row, truth in rows])
    found = scorer.metrics()
    assert [row["name"] for row in found["per_value"]] == ["a", "b"]
    assert found["mae"] == pytest.approx((1 / 3 + 0) / 2, rel=1e-5)
    assert found["per_value"][1]["r2"] == pytest.approx(1.0)
    with pytest.raises(FrameError, match="gives 2 values; the truth has 1"):
        judged(made, [([[[0.1, 0.2]]], ValuesTruth((1.0,)))])


def test_an_anomaly_is_judged_by_its_error_and_by_the_models_own_threshold() -> None:
    made = model("anomaly", [(1, 1)], output=OutputSpec(error="output", threshold=0.5))
    rows: list[tuple[float, str | int]] = [(0.1, "good"), (0.6, "normal"), (0.7, "scratch"), (0.2, 0), (0.9, 1)]
    scorer = judged(made, [([[[error]]], ClassTruth(label)) for error, label in rows])
    found = scorer.metrics()
    assert scorer.value() == 1.0
    assert (found["threshold"]["detected"], found["threshold"]["false_alarms"]) == (1.0, pytest.approx(1 / 3, rel=1e-5))
    assert found["best_threshold"]["threshold"] == pytest.approx(0.65)
    right = scorer.right()
    assert right is not None
    assert right.tolist() == [True, False, True, True, True]


def test_poses_are_judged_by_their_keypoints() -> None:
    made = model("pose", [(1, 1, 17, 3)], output=OutputSpec(decoder="movenet"))
    generator = np.random.default_rng(0)
    points = generator.uniform(0.2, 0.8, (17, 2))  # y, x
    answer = np.c_[points, np.full(17, 0.9)]
    truth = np.c_[points[:, 1] * 80, points[:, 0] * 40, np.full(17, 2)]
    truth[3, 2] = 0
    truth[5, :2] += 30
    person = TrueObject("anybody", (16.0, 8.0, 64.0, 32.0), 1000.0, keypoints=truth)
    scorer = judged(made, [([answer[np.newaxis, np.newaxis]], ObjectsTruth((person,)))])
    assert scorer.metrics()["pck_0.2"] == pytest.approx(15 / 16)
    assert scorer.metrics()["map_50"] == pytest.approx(1.0)


# --- what no model can be judged by -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "shapes", "truth", "words"),
    [
        ("classification", [(1, 3)], ClassTruth("fish"), "fish"),
        ("classification", [(1, 3)], ValuesTruth((1.0,)), "no label"),
        ("regression", [(1, 3)], ClassTruth("cat"), "no number"),
        ("segmentation", [(1, 8, 8, 3)], ClassTruth("cat"), "no map"),
        ("pose", [(1, 1, 17, 3)], ObjectsTruth((true("person", 0, 0, 5, 5),)), "without keypoints"),
        ("detection", [(1, 3, 4), (1, 3), (1, 3), (1,)], ObjectsTruth((true("fish", 0, 0, 5, 5),)), "fish"),
    ],
)
def test_truth_of_another_kind_is_told(task: str, shapes: list[tuple[int, ...]], truth: Truth, words: str) -> None:
    labels = LABELS if task in ("classification", "detection") else ()
    output = OutputSpec(output_order=(0, 1, 2, 3)) if task == "detection" else OutputSpec()
    made = model(task, shapes, labels=labels, output=output)  # type: ignore[arg-type]  # a task's name
    assert words in " ".join(new_scorer(made, 0.5).unknown([truth, truth]))


def test_a_model_whose_answers_mean_nothing_cannot_be_judged() -> None:
    with pytest.raises(CalibrationError, match="task raw cannot be evaluated"):
        new_scorer(model("raw", [(1, 3)]), 0.5)


def test_masks_in_colors_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    from converter.data.examples import MapTruth

    Image.new("RGB", (4, 4), (128, 0, 0)).save(tmp_path / "m.png")
    made = model("segmentation", [(1, 8, 8, 3)])
    with pytest.raises(FrameError, match="colored picture"):
        judged(made, [([np.zeros((1, 8, 8, 3))], MapTruth(tmp_path / "m.png"))])
