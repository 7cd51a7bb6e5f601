"""What others measured of their models comes out of `edgectl evaluate` too (`expected.json` of the shared data)."""

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.evaluation.evaluation import Evaluation
from converter.evaluation.judge import Question, judge
from converter.metrics.interval import wilson

pytestmark = pytest.mark.shared_data


def expected(shared_data: Path, name: str) -> dict[str, Any]:
    checks = json.loads((shared_data / "expected.json").read_text(encoding="utf-8"))["checks"]
    case: dict[str, Any] = next(case for case in checks if case["id"] == name)
    return case


def written(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def figures(found: Evaluation) -> Any:
    return list(found.figures.values())[-1]


def test_activities_are_told_as_often_as_was_measured(shared_data: Path, tmp_path: Path) -> None:
    """Ours are all whole windows; the note beside the published accuracy is of 950 of these."""
    case = expected(shared_data, "har:accuracy")
    options: dict[str, Any] = {
        "task": "signal_classification",
        "labels": written(tmp_path / "labels.txt", case["classes"]),
        "input": {"kind": "signal", "window": case["window"], "stride": case["stride"]},
    }
    model, data = shared_data / case["model"], shared_data / case["data"]
    found = judge(Question(model, data, options=options))
    assert found.value == pytest.approx(0.9917, abs=5e-5)
    low, high = figures(found)["accuracy_interval"]
    assert low <= case["expected_accuracy"] <= high
    assert (low, high) == pytest.approx(wilson(0.991718 * found.samples, found.samples), abs=1e-4)
    del options["labels"]  # the folders begin with the number of their class
    assert judge(Question(model, data, options=options)).value == found.value


@dataclass(frozen=True, slots=True)
class Published:
    """A float model and the quantization of it that its authors published."""

    model: str
    against: str
    labels: list[str]
    pictures: dict[str, str]
    given: dict[str, Any]


@pytest.mark.parametrize(
    "published",
    [
        Published(
            "vww_96_int8.tflite",
            "vww_96_float.tflite",
            ["no person", "person"],
            {"squat.bmp": "person", "cat.bmp": "no person"},
            {"mean": [0.0], "std": [255.0]},
        ),
        Published(
            "cifar10_resnet8_int8.tflite",
            "cifar10_resnet8_float.tflite",
            ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
            {"cat.bmp": "cat", "bird.bmp": "bird"},
            {"fit": "crop", "mean": [0.0], "std": [1.0], "decode": "full"},
        ),
    ],
    ids=lambda published: published.model,
)
def test_published_quantizations_name_the_pictures_like_their_float_models(
    shared_data: Path, tmp_path: Path, published: Published
) -> None:
    rows = ["file,label", *(f"{name},{label}" for name, label in published.pictures.items())]
    for name in published.pictures:
        shutil.copy(shared_data / "images" / name, tmp_path)
    labels = written(tmp_path / "labels.txt", published.labels)
    options = {"labels": labels, "input": {"kind": "image", **published.given}}
    folder = shared_data / "models/classification"
    data = Path(written(tmp_path / "truth.csv", rows))
    found = judge(Question(folder / published.model, data, against=folder / published.against, options=options))
    assert list(found.values.values()) == [1.0, 1.0]
    assert found.comparison is not None
    assert found.comparison["verdict"] == "within noise"  # two pictures prove nothing, and it says so
    assert found.comparison["interval"][1] > 0.7


def test_digits_are_read(shared_data: Path, tmp_path: Path) -> None:
    for digit in range(5):
        (tmp_path / "set" / str(digit)).mkdir(parents=True)
        shutil.copy(shared_data / f"images/mnist/sample{digit}.png", tmp_path / "set" / str(digit))
    options = {"input": {"kind": "image", "mean": [0.0], "std": [255.0]}}
    folder = shared_data / "models/classification"
    against = folder / "mnist_conv_fc_float.tflite"
    found = judge(Question(folder / "mnist_conv_fc_a8w8.tflite", tmp_path / "set", against=against, options=options))
    assert list(found.values.values()) == [1.0, 1.0]


def test_words_are_heard(shared_data: Path, tmp_path: Path) -> None:
    for word in ("yes", "no", "silence"):
        (tmp_path / "set" / word).mkdir(parents=True)
        shutil.copy(shared_data / f"audio/{word}_1000ms.wav", tmp_path / "set" / word)
    options = {
        "task": "audio_classification",
        "labels": written(tmp_path / "labels.txt", ["silence", "unknown", "yes", "no"]),
        "input": {
            "kind": "audio", "features": "micro_frontend", "low_hz": 125.0, "high_hz": 7500.0, "stride": 16_000,
        },
    }  # fmt: skip
    found = judge(
        Question(shared_data / "models/audio/micro_speech_quantized.tflite", tmp_path / "set", options=options)
    )
    assert (found.samples, found.value) == (3, 1.0)


def test_keywords_are_heard_by_both_models(shared_data: Path, tmp_path: Path) -> None:
    case = expected(shared_data, "kws:yes:int8")
    (tmp_path / "set/yes").mkdir(parents=True)
    shutil.copy(shared_data / "audio/yes_1000ms.wav", tmp_path / "set/yes")
    options = {
        "task": "audio_classification",
        "labels": written(tmp_path / "labels.txt", case["classes"]),
        "input": {"kind": "audio", "features": "mfcc", "bins": 10, "amplitude": "peak", "stride": 16_000},
    }
    against = shared_data / expected(shared_data, "kws:yes:float")["model"]
    found = judge(Question(shared_data / case["model"], tmp_path / "set", against=against, options=options))
    assert list(found.values.values()) == [1.0, 1.0]


def test_objects_lie_where_they_were_measured(shared_data: Path, tmp_path: Path) -> None:
    """The boxes that the file gives are stored; held against a COCO file of these, little can be missing."""
    pictures = ("pets.jpg", "cat_720p.jpg", "squat.bmp")
    cases = [expected(shared_data, f"detect:{name}") for name in pictures]
    found_there = [each for case in cases for each in case["expected"]["pil_squash"]]
    names = sorted({each["label"] for each in found_there})
    annotations = []
    for image, case in enumerate(cases):
        for each in case["expected"]["pil_squash"]:
            left, top, right, bottom = each["box_xyxy_px"]
            box = [left, top, right - left, bottom - top]
            annotations.append({"image_id": image, "category_id": names.index(each["label"]), "bbox": box})
    tree = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(pictures)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": annotations,
    }
    for name in pictures:
        shutil.copy(shared_data / "images" / name, tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps(tree))
    options: dict[str, Any] = {"output": {"score_threshold": 0.5}}
    found = judge(Question(shared_data / cases[0]["model"], tmp_path / "truth.json", options=options))
    told = figures(found)
    assert told["map_75"] == pytest.approx(1.0)
    assert found.value is not None
    assert found.value > 0.9
    assert told["threshold"]["recall"] == 1.0
    same = shared_data / "models/detection/coco_ssd_mobilenet_v1_no_metadata.tflite"
    labels = str(shared_data / "labels/coco_labels.txt")
    options = {"task": "detection", "labels": labels, "output": {"score_threshold": 0.5}}
    beside = judge(Question(same, tmp_path / "truth.json", against=shared_data / cases[0]["model"], options=options))
    assert beside.value == found.value
    assert beside.comparison is not None
    assert (beside.comparison["verdict"], beside.comparison["interval"]) == ("no difference", [0, 0])


def test_the_bird_covers_what_was_measured(shared_data: Path, tmp_path: Path) -> None:
    case = expected(shared_data, "segment:bird")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    shutil.copy(shared_data / case["input"], tmp_path / "images/bird.bmp")
    shutil.copy(shared_data / case["mask"], tmp_path / "masks/bird.bmp")
    found = judge(Question(shared_data / case["model"], tmp_path))
    bird = next(row for row in figures(found)["per_class"] if row["label"] in ("bird", str(case["class_id"])))
    assert bird["iou"] == pytest.approx(case["expected_iou"], abs=0.01)


def test_the_published_keypoints_are_met(shared_data: Path, tmp_path: Path) -> None:
    case = expected(shared_data, "pose:squat")
    from PIL import Image

    with Image.open(shared_data / case["input"]) as image:
        width, height = image.size
    with open(shared_data / case["published"], encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    points = [(float(row["keypoint_x"]) * width, float(row["keypoint_y"]) * height) for row in rows]
    (left, top), (right, bottom) = np.min(points, axis=0), np.max(points, axis=0)
    annotation = {
        "image_id": 1, "category_id": 1, "bbox": [left, top, right - left, bottom - top],
        "keypoints": [value for x, y in points for value in (x, y, 2)],
    }  # fmt: skip
    tree = {
        "images": [{"id": 1, "file_name": "squat.bmp"}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [annotation],
    }
    shutil.copy(shared_data / case["input"], tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps(tree))
    found = judge(Question(shared_data / case["model"], tmp_path, options={"task": "pose"}))
    assert figures(found)["pck_0.2"] == 1.0
    assert figures(found)["map_75"] == pytest.approx(1.0)


def test_a_sine_is_met_as_measured_and_its_quantization_is_really_worse(shared_data: Path, tmp_path: Path) -> None:
    x = np.linspace(0, 2 * np.pi, 100)
    np.savez(tmp_path / "sine.npz", x=x[:, np.newaxis], y=np.sin(x))
    against, model = (shared_data / f"models/sensor/sine_{kind}.tflite" for kind in ("float", "int8"))
    found = judge(Question(model, tmp_path / "sine.npz", against=against, options={"task": "regression"}))
    float_model, int8 = found.figures.values()
    assert float_model["rmse"] < expected(shared_data, "sine:sine_float")["expected_max_abs_error"]
    assert int8["rmse"] < expected(shared_data, "sine:sine_int8")["expected_max_abs_error"]
    assert found.comparison is not None
    assert found.comparison["verdict"] == "a real drop"
