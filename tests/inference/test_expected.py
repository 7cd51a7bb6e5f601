"""`edge-agent infer` gives what others measured: every check of the shared data's `expected.json`, or why not.

docs/inference-reference.md lists the figures that are reached, and what is not run: the tests here compare both.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent import cli
from edge_agent.clock import SystemClock
from edge_agent.config.row_sources import CsvSource
from edge_agent.inference.frame import Sample, Wanted
from edge_agent.inference.opening import open_any
from edge_agent.inference.sources.csv_rows import CsvRows
from edge_agent.inference.tflite import engine_library
from edge_agent.tasks.prediction import Box
from edge_agent.tasks.segmentation import SegmentationDecoder
from edge_agent.transform.image import read_image
from tests.conftest import SHARED_DATA

pytestmark = pytest.mark.shared_data

# What is not run, by the beginning of its id.
EXCUSED = {
    "delta:": "sizes of patches between two files: nothing is inferred",
    "vad": "its model is ONNX, which only the laptop could convert",
    "fastestdet:": "its model is ONNX, which only the laptop could convert; its head is tested in tests/tasks",
}
SCORES = "largest difference of a score"
RUN = (
    "classify:", "mnist:", "detect:", "segment:", "pose:", "har:", "sine:", "signatures", "micro_speech:", "kws:",
    "video:", "bad:", "nab:",
)  # fmt: skip
# `norm` of expected.json → what has to be said, beside what is found without.
NORMALIZATIONS: dict[str, tuple[str, ...]] = {
    "uint8 bytes / int8 = byte-128": (),
    "pm1": (),  # in its metadata
    "tm": ("--mean", "127", "--std", "127"),
    "float: raw 0..255; int8 = byte-128": ("--mean", "0", "--std", "1"),
    "01q": (),
    "01": ("--mean", "0", "--std", "255"),
}

DOCUMENT = Path(__file__).parents[2] / "docs" / "inference-reference.md"

Lines = list[dict[str, Any]]
Infer = Callable[..., Lines]


@cache
def checks() -> Lines:
    path = SHARED_DATA / "expected.json"
    found: Lines = json.loads(path.read_text(encoding="utf-8"))["checks"] if path.is_file() else []
    return found


@cache
def documented() -> dict[tuple[str, str], tuple[float, float]]:
    """By check and by what is compared: the figure of docs/inference-reference.md, and how far off it may be."""
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    return {(name, what): (float(figure), float(within)) for name, what, figure, within in rows}


def reached(case: dict[str, Any], what: str, figure: float, *, within: float) -> None:
    """The figure that a check has come to is the documented one, as near as it can be held to on any machine."""
    assert (case["id"], what) in documented(), f"{DOCUMENT.name} does not say: {case['id']}: {what} {figure:.4g}"
    stated, stated_within = documented()[case["id"], what]
    assert stated_within == pytest.approx(within), what
    assert figure == pytest.approx(stated, abs=tolerance(within) if what.startswith(SCORES) else within), what


def starting(*prefixes: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in checks() if case["id"].startswith(prefixes)]


@pytest.fixture
def infer(shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Infer:
    """The command as a person types it; words that are files of the shared data are given as such."""

    def command(*words: object) -> Lines:
        typed = [str(shared_data / word) if isinstance(word, Path) else str(word) for word in words]
        monkeypatch.setattr("sys.argv", ["edge-agent", "infer", *typed])
        capsys.readouterr()
        cli.main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return command


def tolerance(stated: float) -> float:
    """Kernels of the older interpreter round otherwise: up to 6 of 255, more where scores are near 0.5."""
    return stated if engine_library().name.startswith("ai-edge-litert") else max(stated, 0.05)


def test_every_check_is_run_or_excused() -> None:
    found = {case["id"]: [*filter(case["id"].startswith, (*RUN, *EXCUSED))] for case in checks()}
    assert len(found) == len(checks())
    assert {name: fitting for name, fitting in found.items() if len(fitting) != 1} == {}
    assert [prefix for prefix in (*RUN, *EXCUSED) if not any(name.startswith(prefix) for name in found)] == []


def test_the_document_lists_every_check_and_excuses_what_is_excused_here() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    figures = {name for name, _ in documented()}
    excused = dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|$", text, re.MULTILINE))
    named = {case["id"] for case in checks()}
    not_run = {name: EXCUSED[prefix] for name in named for prefix in EXCUSED if name.startswith(prefix)}
    assert excused == not_run
    assert figures == named - set(not_run)


@pytest.mark.parametrize("case", starting("classify:"))
def test_pictures_are_classified_as_measured(infer: Infer, case: dict[str, Any]) -> None:
    words = () if "_int8" in case["model"] else NORMALIZATIONS[case["norm"]]
    fit = ("--fit", "crop") if "crop" in case["preprocess"] else ()
    lines = infer(Path(case["model"]), Path(case["input"]), *words, *fit, "--top-k", 20)
    assert len(lines) == 1
    found = {result["index"]: result for result in lines[0]["results"]}
    best = lines[0]["results"][0]
    may_be_best = case["expected_topk"][: 2 if case["top1_margin"] < 0.05 else 1]
    assert best["index"] in {expected["index"] for expected in may_be_best}
    differences = [
        abs((found[expected["index"]]["score"] if expected["index"] in found else 0.0) - expected["score"])
        for expected in case["expected_topk"]
    ]
    assert max(differences) <= tolerance(case["score_tolerance"]), case["expected_topk"][int(np.argmax(differences))]
    reached(case, SCORES, max(differences), within=case["score_tolerance"])
    if best["label"] is not None:  # where the model holds labels; those in expected.json have more than one name
        assert best["label"] in (case["expected_topk"][0]["label"], case["expected_topk"][0]["label"].split(", ")[0])


@pytest.mark.parametrize("case", starting("mnist:"))
def test_digits_are_read(infer: Infer, case: dict[str, Any]) -> None:
    pictures = [Path(case["input"].format(d=digit)) for digit in case["digits"]]
    lines = infer(Path(case["model"]), *pictures, "--mean", 0, "--std", 255, "--top-k", 1)
    found = [line["results"][0]["index"] for line in lines]
    assert found == case["expected"]
    right = [one == digit for one, digit in zip(found, case["digits"], strict=True)]
    reached(case, "digits of five that are read", sum(right), within=0)


@pytest.mark.parametrize("case", starting("detect:"))
@pytest.mark.parametrize("metadata", ["metadata", "no_metadata"])
def test_objects_are_found_where_they_are(infer: Infer, case: dict[str, Any], metadata: str) -> None:
    model = Path(case["model"].replace("_metadata", f"_{metadata}"))
    labels = ("--labels", Path("labels/coco_labels.txt")) if metadata == "no_metadata" else ()
    results = infer(model, Path(case["input"]), *labels)[0]["results"]
    expected = case["expected"]["pil_squash"]
    assert [result["label"] for result in results] == [item["label"] for item in expected]
    assert [result["index"] for result in results] == [item["index"] for item in expected]
    pairs = list(zip(results, expected, strict=True))
    difference = max(abs(result["score"] - item["score"]) for result, item in pairs)
    least = min(overlap(Box(*result["box"]), Box(*map(float, item["box_xyxy_px"]))) for result, item in pairs)
    assert difference <= case["score_tolerance"]
    assert least >= case["iou_tolerance"]
    reached(case, SCORES, difference, within=case["score_tolerance"])
    reached(case, "smallest overlap (IoU) of a box", least, within=1 - case["iou_tolerance"])


def overlap(one: Box, other: Box) -> float:
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one.area + other.area - shared)


@pytest.mark.parametrize("case", starting("segment:"))
def test_the_bird_covers_what_it_covers(infer: Infer, shared_data: Path, case: dict[str, Any]) -> None:
    with Image.open(shared_data / case["mask"]) as opened:
        mask = opened.convert("L")
    labels = Path("labels/pascal_voc_segmentation_labels.txt")
    line = infer(Path(case["model"]), Path(case["input"]), "--labels", labels)[0]
    bird = next(result for result in line["results"] if result["index"] == case["class_id"])
    assert (line["task"], bird["label"]) == ("segmentation", "bird")
    assert bird["share"] == pytest.approx(float((np.asarray(mask) == case["class_id"]).mean()), abs=0.03)
    # The command tells shares only, so the pixels are looked at behind it.
    model, _ = open_any(shared_data / case["model"])
    with model:
        prepared = model.prepare_image(read_image(shared_data / case["input"]))
        decoder = SegmentationDecoder.build(model.manifest.output, model.outputs, ())
        found = decoder.class_map(model.invoke(prepared), prepared) == case["class_id"]
    expected = np.asarray(mask.resize(found.shape[::-1], Image.Resampling.NEAREST)) == case["class_id"]
    overlapping = (found & expected).sum() / (found | expected).sum()
    assert overlapping >= case["min_iou"]
    reached(case, "IoU with the published mask", overlapping, within=0.02)


@pytest.mark.parametrize("case", starting("pose:"))
def test_the_body_is_found_as_measured_and_published(infer: Infer, shared_data: Path, case: dict[str, Any]) -> None:
    line = infer(Path(case["model"]), Path(case["input"]), "--fit", "stretch")[0]
    width, height = read_image(shared_data / case["input"]).size_px
    points = line["results"][0]["keypoints"]
    found = np.array([[point["y"] / height, point["x"] / width, point["score"]] for point in points])
    assert (line["task"], points[0]["name"]) == ("pose", "nose")
    assert np.abs(found - np.array(case["expected_keypoints_yxs"]))[:, :2].max() < 0.01
    published = np.genfromtxt(shared_data / case["published"], delimiter=",", names=True)
    differences = np.abs(np.column_stack([published["keypoint_y"], published["keypoint_x"]]) - found[:, :2])
    assert differences.max() <= case["tolerance"]
    assert differences.mean() <= case["mean_abs_diff_to_published"] + 0.005
    reached(case, "mean difference of a coordinate to those published", differences.mean(), within=0.005)


@pytest.mark.parametrize("case", starting("har:"))
def test_activities_are_recognized_as_often_as_published(infer: Infer, shared_data: Path, case: dict[str, Any]) -> None:
    """Measured there: 950 windows, 0.9916. The logs hold 966: 16 of them are a whole number of windows long, and of
    these the last window was left out. It is recognized in all 16.
    """
    right: list[bool] = []
    counted: list[bool] = []
    for folder in sorted((shared_data / case["data"]).iterdir()):
        options = ("--window", case["window"], "--stride", case["stride"], "--top-k", 1)
        by_log: dict[str, list[bool]] = {}
        for line in infer(Path(case["model"]), folder, *options):
            answer = line["results"][0]["index"] == int(folder.name[0])
            by_log.setdefault(line["input"].rpartition("#")[0], []).append(answer)
        for log, answers in by_log.items():
            right += answers
            counted += answers[:-1] if rows_of(Path(log)) % case["window"] == 0 else answers
    assert len(counted) == case["windows"]
    assert sum(counted) / len(counted) == pytest.approx(case["expected_accuracy"], abs=0.00005)
    reached(case, "share of 950 windows recognized", sum(counted) / len(counted), within=0.00005)
    assert len(right) == 966
    assert sum(right) / len(right) == pytest.approx(0.9917, abs=0.00005)


def rows_of(log: Path) -> int:
    lines = log.read_text(encoding="utf-8").splitlines()
    return sum(bool(line.strip()) and not line.startswith("#") for line in lines) - 1


@pytest.mark.parametrize("case", starting("sine:"))
def test_the_sine_is_as_good_as_measured(infer: Infer, tmp_path: Path, case: dict[str, Any]) -> None:
    x = np.linspace(0, 2 * np.pi, 100)
    np.save(tmp_path / "x.npy", x)
    lines = infer(Path(case["model"]), tmp_path / "x.npy")
    found = np.array([line["results"][0]["value"] for line in lines])
    error = np.abs(found - np.sin(x)).max()
    assert error == pytest.approx(case["expected_max_abs_error"], abs=0.01)
    reached(case, "largest error of 100 points", error, within=0.01)


@pytest.mark.parametrize("case", starting("signatures"))
def test_every_signature_may_be_run(infer: Infer, tmp_path: Path, case: dict[str, Any]) -> None:
    (tmp_path / "x.csv").write_text(f"x\n{case['x']}\n")
    for signature, expected in case["expected"].items():
        lines = infer(Path(case["model"]), tmp_path / "x.csv", "--signature", signature)
        assert [line["results"][0]["value"] for line in lines] == [expected]
        reached(case, f"value of signature {signature}", lines[0]["results"][0]["value"], within=0)


@pytest.mark.parametrize("case", starting("kws:", "micro_speech:"))
@pytest.mark.parametrize("given", ["features", "sound"])
def test_words_are_recognized(infer: Infer, case: dict[str, Any], given: str) -> None:
    word = "yes" if "yes" in case["input"] else "no"
    path = Path(case["input"] if given == "features" else f"audio/{word}_1000ms.wav")
    lines = infer(Path(case["model"]), path, "--top-k", 20)
    assert [line["task"] for line in lines] == ["audio_classification"]
    found = {result["index"]: result["score"] for result in lines[0]["results"]}
    assert lines[0]["results"][0]["index"] == case["expected_topk"][0]["index"]
    differences = [abs(found[expected["index"]] - expected["score"]) for expected in case["expected_topk"]]
    assert max(differences) <= tolerance(case["score_tolerance"]), case["expected_topk"][int(np.argmax(differences))]
    reached(case, f"{SCORES}, of {given}", max(differences), within=case["score_tolerance"])


@pytest.mark.parametrize("case", starting("video:"))
def test_the_bottles_of_the_video_are_found_in_every_sampled_frame(infer: Infer, case: dict[str, Any]) -> None:
    pytest.importorskip("av", reason="needs PyAV, the extra `video`")
    lines = infer(Path(case["model"]), Path(case["input"]), "--every", case["every"])
    with_label = [line for line in lines if case["label"] in [result["label"] for result in line["results"]]]
    assert len(lines) == case["sampled"]
    assert lines[1]["input"].endswith(f"#{case['every']}")
    assert abs(len(with_label) - case["expected_frames_with_label"]) <= case["tolerance_frames"]
    reached(case, "frames of 119 with a bottle", len(with_label), within=case["tolerance_frames"])


@pytest.mark.parametrize("case", starting("bad:"))
def test_a_bad_model_is_refused_with_its_reason(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: dict[str, Any]
) -> None:
    path = shared_data / case["model"]
    monkeypatch.setattr("sys.argv", ["edge-agent", "infer", str(path), str(shared_data / "images/cat.bmp")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if line.startswith(("error: ", "hint: "))]
    assert (ended.value.code, out, len(said)) == (1, "", 2)
    assert str(path) in said[0]
    operator = case["expected"].partition("custom op: ")[2].partition(".")[0]
    assert operator in said[0]
    assert isinstance(ended.value.code, int)
    reached(case, "exit code, with one error and one hint", ended.value.code, within=0)
    assert "Traceback" not in err


@pytest.mark.parametrize("case", starting("nab:"))
def test_the_rows_of_a_machine_are_read_as_they_are(shared_data: Path, case: dict[str, Any]) -> None:
    """There is no model for them: values and gaps are checked, and that rows are named by their lines."""
    path = shared_data / case["data"]
    lines = path.read_text(encoding="utf-8").splitlines()
    samples = read_rows(path, max_gap_s=case["longest_gap_s"])
    values = [sample.values[0] for sample in samples]
    assert len(samples) == case["rows"]
    reached(case, "rows read", len(samples), within=0)
    assert (min(values), max(values)) == pytest.approx((case["min"], case["max"]), abs=0.001)
    named = [lines[int(sample.name.rpartition(":")[2]) - 1].split(",") for sample in samples]
    assert [float(cells[1]) for cells in named] == values
    assert (named[0][0], named[-1][0]) == (case["first"], case["last"])
    assert sum(sample.after_gap for sample in samples) == case["non_increasing_timestamps"]  # a time that goes back
    assert sum(sample.after_gap for sample in read_rows(path, max_gap_s=case["longest_gap_s"] - 1)) > len(samples) / 2


def read_rows(path: Path, max_gap_s: float) -> list[Sample]:
    config = CsvSource(kind="csv", path=path, columns=("value",), time_column="timestamp", max_gap_s=max_gap_s)
    found: list[Sample] = []
    with CsvRows(config, SystemClock()) as source:
        while (item := source.take(Wanted())) is not None:
            assert isinstance(item, Sample), item
            found.append(item)
    return found


def test_a_real_process_answers_on_stdout_and_talks_on_stderr(shared_data: Path) -> None:
    command = [sys.executable, "-m", "edge_agent.cli", "infer"]
    command += [str(shared_data / "models/audio/kws_dscnn_int8.tflite"), str(shared_data / "audio/yes_1000ms.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["results"][0]["index"] for line in lines] == [9]
    assert "note: input guessed from its shape: mfcc" in done.stderr


@pytest.mark.parametrize(
    ("model", "picture"),
    [
        ("models/detection/coco_ssd_mobilenet_v1_metadata.tflite", "images/pets.jpg"),
        ("models/pose/movenet_single_pose_lightning_ptq.tflite", "images/squat.bmp"),
        ("models/segmentation/deeplabv3_mnv2_dm05_pascal_quant.tflite", "images/bird_segmentation.bmp"),
    ],
)
def test_what_was_found_is_drawn_where_somebody_asks_for_it(
    infer: Infer, shared_data: Path, tmp_path: Path, model: str, picture: str
) -> None:
    for number in (1, 2):
        assert len(infer(Path(model), Path(picture), "--save", tmp_path / "drawn")) == 1
        assert len(list((tmp_path / "drawn").iterdir())) == number  # nothing is written over
    with Image.open(tmp_path / f"drawn/{Path(picture).stem}.jpg") as drawn, Image.open(shared_data / picture) as before:
        assert drawn.size == before.size
        changed = np.abs(np.asarray(drawn, np.int16) - np.asarray(before.convert("RGB"), np.int16)).max(axis=2) > 60
    assert 0.002 < changed.mean() < 0.5


def test_nothing_can_be_drawn_into_rows(infer: Infer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        infer(Path("models/sensor/sine_float.tflite"), tmp_path / "x.csv", "--save", tmp_path / "drawn")
    assert (ended.value.code, (tmp_path / "drawn").exists()) == (1, False)
    assert "this model takes input kind 'tensor'" in capsys.readouterr().err
