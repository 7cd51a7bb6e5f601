"""`edgectl evaluate` and `convert --evaluate`, with real models and the pictures that they were not trained on."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from converter.cli import cli
from converter.convert import Converted, convert
from converter.errors import CalibrationError, QualityGateError, RecipeError
from converter.evaluation.judge import Question, judge
from converter.evaluation.text import format_evaluation
from converter.report.metrics import evaluation as accuracy_section
from converter.report.sections import Sections
from edge_agent.release.archive import read_artifact
from tests.converter.conftest import EXAMPLES, Digits, order, picture_accuracy

RECIPE = EXAMPLES / "digits.toml"
FLOAT = EXAMPLES / "digits_v2.tflite"


@pytest.fixture(scope="session")
def held_out(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The held-out pictures, in a folder for each digit."""
    folder = tmp_path_factory.mktemp("held_out")
    for path, digit in digits.held_out:
        (folder / str(digit)).mkdir(exist_ok=True)
        shutil.copy(path, folder / str(digit) / path.name)
    return folder


@pytest.fixture(scope="session")
def few(held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of each digit."""
    folder = tmp_path_factory.mktemp("few")
    for digit in sorted(held_out.iterdir()):
        (folder / digit.name).mkdir()
        for path in sorted(digit.iterdir())[:4]:
            shutil.copy(path, folder / digit.name / path.name)
    return folder


def test_the_accuracy_is_that_of_the_device(int8: Path, held_out: Path, digits: Digits, tmp_path: Path) -> None:
    found = judge(Question(int8, held_out))
    assert found.samples == len(digits.held_out)
    assert found.value == pytest.approx(picture_accuracy(int8, digits, tmp_path / "release"), abs=1e-6)
    figures = found.figures[int8.name]
    assert np.sum(figures["confusion"]) == found.samples
    assert figures["accuracy_interval"][0] < figures["accuracy"] < figures["accuracy_interval"][1]
    assert figures["top_5"] > figures["accuracy"]


def test_a_drop_is_told_from_noise(int8: Path, held_out: Path) -> None:
    """The quantized model is held to the float one, which takes its input from the artifact beside it."""
    found = judge(Question(int8, held_out, against=FLOAT))
    comparison = found.comparison
    assert comparison is not None
    low, high = comparison["interval"]
    assert low <= comparison["drop"] <= high
    assert comparison["drop"] == pytest.approx(found.values[FLOAT.name] - found.values[int8.name], abs=1e-6)  # type: ignore[operator]  # neither is None
    assert (comparison["verdict"] == "within noise") == (low <= 0 <= high)
    changed = comparison["mcnemar"]
    assert changed["only_first"] - changed["only_second"] == pytest.approx(comparison["drop"] * found.samples, abs=0.01)
    assert found.to_json() == judge(Question(int8, held_out, against=FLOAT)).to_json()  # the same each time


def test_a_model_that_is_really_worse_is_called_so(int8: Path, held_out: Path, tmp_path: Path) -> None:
    """The labels of one artifact are turned around: whoever mixed them up has to hear it."""
    turned = tmp_path / "labels.txt"
    turned.write_text("\n".join(map(str, reversed(range(10)))))
    options = {"labels": str(turned)}
    found = judge(Question(FLOAT, held_out, against=FLOAT, recipe=RECIPE))
    assert found.comparison is not None
    assert (found.comparison["drop"], found.changed) == (0, ())
    assert found.comparison["verdict"] == "within noise"  # as much as so many pictures can tell
    assert found.comparison["interval"][1] == pytest.approx(3 / found.samples, rel=0.01)
    worse = judge(Question(FLOAT, held_out, against=int8, recipe=RECIPE, options=options))
    assert worse.comparison is not None
    assert worse.comparison["verdict"] == "a real drop"
    assert worse.changed
    assert worse.changed[0].picture_png is not None
    assert "a real drop" in format_evaluation(worse)


@pytest.mark.parametrize("count", [1, 3])
def test_a_handful_of_samples_proves_no_drop(count: int, int8: Path, held_out: Path, tmp_path: Path) -> None:
    """All of them are wrong in one model and right in the other: so they may be by chance."""
    turned = tmp_path / "labels.txt"
    turned.write_text("\n".join(map(str, reversed(range(10)))))
    for digit in range(count):
        (tmp_path / "data" / str(digit)).mkdir(parents=True)
        path = min((held_out / str(digit)).iterdir())
        shutil.copy(path, tmp_path / "data" / str(digit) / path.name)
    found = judge(Question(FLOAT, tmp_path / "data", against=int8, recipe=RECIPE, options={"labels": str(turned)}))
    assert found.comparison is not None
    assert (found.comparison["drop"], found.comparison["interval"]) == (1.0, None)
    assert found.comparison["mcnemar"]["p_value"] >= 0.05
    assert found.comparison["verdict"] == "too few samples to tell"


def test_the_report_is_given_its_parts(int8: Path, few: Path) -> None:
    sections = judge(Question(int8, few, against=FLOAT)).fill(Sections())
    assert list(sections.evaluation) == ["float", "converted"]
    assert sections.evaluation["converted"]["samples"] == 40
    drawn = str(accuracy_section(sections.evaluation))
    assert "Confusion matrix, converted" in drawn
    assert "each of 10 classes" in drawn


def test_what_was_calibrated_with_is_no_proof(int8: Path, digits: Digits, few: Path, tmp_path: Path) -> None:
    shutil.copytree(few, tmp_path / "set")
    calibrated = min(digits.calibration.iterdir())
    shutil.copy(calibrated, tmp_path / "set/0/seen-before.png")
    found = judge(Question(int8, tmp_path / "set", calibrated_with=digits.calibration))
    assert any("1 of 41 samples are in the calibration data too (0/seen-before.png)" in note for note in found.notes)
    assert not any("calibrate with data that covers" in note for note in found.notes)
    dark = tmp_path / "dark"
    for number in range(3):
        dark.mkdir(exist_ok=True)
        Image.new("L", (32, 32), 10 + number).save(dark / f"{number}.png")
    found = judge(Question(int8, few, calibrated_with=dark))
    assert any("100% of the samples hold values beyond those calibrated with" in note for note in found.notes)


def test_few_samples_of_one_class_are_told(int8: Path, few: Path, tmp_path: Path) -> None:
    shutil.copytree(few / "3", tmp_path / "set/3")
    notes = judge(Question(int8, tmp_path / "set")).notes
    assert any("only 4 samples" in note for note in notes)
    assert any("all 4 samples are of class 3" in note for note in notes)


def test_a_picture_that_breaks_on_the_way_is_left_out_for_both_models(int8: Path, few: Path, tmp_path: Path) -> None:
    """Its beginning is whole, so nothing is seen before it is decoded."""
    folder = tmp_path / "set"
    shutil.copytree(few, folder)
    broken = min((folder / "3").iterdir())
    broken.write_bytes(broken.read_bytes()[:-60])
    with pytest.raises(CalibrationError, match=f"1 of 40 samples cannot be used: 3/{broken.name}"):
        judge(Question(int8, folder, against=FLOAT))
    found = judge(Question(int8, folder, against=FLOAT, skip_unreadable=True))
    assert found.samples == 39
    assert any(f"1 left out: 3/{broken.name}" in note for note in found.notes)


def test_labels_that_the_model_does_not_know_are_named(int8: Path, few: Path, tmp_path: Path) -> None:
    shutil.copytree(few, tmp_path / "set")
    (tmp_path / "set/3").rename(tmp_path / "set/three")
    with pytest.raises(CalibrationError, match=r"1 labels that digits-1\.edge does not know: three; it has 0, 1, 2"):
        judge(Question(int8, tmp_path / "set"))


def test_data_without_labels_is_refused(int8: Path, digits: Digits) -> None:
    with pytest.raises(CalibrationError, match="none of the 120 samples has a label") as caught:
        judge(Question(int8, digits.calibration))
    assert "subfolder" in str(caught.value.hint)


def test_arrays_are_judged_like_the_pictures_that_they_are_of(int8: Path, few: Path, tmp_path: Path) -> None:
    files = sorted(few.rglob("*.png"))
    pictures = np.stack([np.asarray(Image.open(path).convert("L")) for path in files])
    np.savez(tmp_path / "d.npz", x=pictures, y=np.array([int(path.parent.name) for path in files]))
    assert judge(Question(int8, tmp_path / "d.npz")).value == judge(Question(int8, few)).value
    small = pictures[:, ::4, ::4, np.newaxis]
    np.savez(tmp_path / "d.npz", x=small / 255, y=np.array([int(path.parent.name) for path in files]))
    assert judge(Question(int8, tmp_path / "d.npz")).samples == 40
    np.savez(tmp_path / "d.npz", x=small / 127.5 - 1, y=np.zeros(len(files), int))
    with pytest.raises(CalibrationError, match=r"from -1 to .*; by its normalization the model takes 0 to 1"):
        judge(Question(int8, tmp_path / "d.npz"))


# --- convert and its gate ---------------------------------------------------------------------------------------


def converted(output: Path, digits: Digits, data: Path, **limits: float) -> Converted:
    options: dict[str, Any] = {"scheme": "int8", "limits": limits}
    return convert(order(output, options=options, calibrate=digits.calibration, evaluate=data))


def test_convert_judges_both_models_and_keeps_a_summary(digits: Digits, few: Path, tmp_path: Path) -> None:
    done = converted(tmp_path / "digits-1.edge", digits, few, max_drop=0.5, min_accuracy=0.5)
    assert done.evaluation is not None
    assert list(done.evaluation.figures) == ["float32", "int8"]
    report = json.loads(read_artifact(done.path).members["report.json"])
    assert report["evaluation"] == json.loads(json.dumps(done.evaluation.summary()))
    assert set(report["evaluation"]) == {"samples", "sha256", "metric", "values", "comparison"}
    again = converted(tmp_path / "again/digits-1.edge", digits, few, max_drop=0.5, min_accuracy=0.5)
    assert again.digest == done.digest


def test_a_model_that_misses_its_accuracy_is_not_written(digits: Digits, few: Path, tmp_path: Path) -> None:
    with pytest.raises(QualityGateError, match=r"min_accuracy: accuracy is 0\.9.*, less than 1\.0") as caught:
        converted(tmp_path / "digits-1.edge", digits, few, min_accuracy=1.0)
    assert "f1 by class" in caught.value.table
    assert caught.value.figures["evaluation"]["samples"] == 40
    assert [path.name for path in tmp_path.iterdir()] == ["digits-1.report.html"]  # no artifact


def test_a_limit_on_accuracy_needs_labeled_data(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="judged on labeled data, and none was given"):
        convert(order(tmp_path / "digits-1.edge", options={"limits": {"max_drop": 0.01}}))
    with pytest.raises(RecipeError, match="share from 0 to 1"):
        convert(order(tmp_path / "digits-1.edge", options={"limits": {"max_drop": 5}}))


# --- the command line -------------------------------------------------------------------------------------------


def edgectl(*arguments: str | Path) -> tuple[int | BaseException | None, str]:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    return done.exception, done.stdout


def test_the_command_tells_figures_and_difference(int8: Path, few: Path) -> None:
    exception, stdout = edgectl("evaluate", int8, few, "--against", FLOAT)
    assert exception is None
    assert "40 samples" in stdout
    assert "accuracy: drop" in stdout
    exception, stdout = edgectl("evaluate", int8, few, "--json")
    assert json.loads(stdout)["metric"] == "accuracy"


def test_limits_of_a_recipe_hold_for_a_model_that_is_there_already(int8: Path, few: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "limits.toml"
    recipe.write_text("[limits]\nmin_accuracy = 1.0\n")
    exception, stdout = edgectl("evaluate", int8, few, "--recipe", recipe)
    assert isinstance(exception, QualityGateError)
    assert "40 samples" in stdout
    recipe.write_text("[limits]\nmax_drop = 0.1\n")
    exception, _ = edgectl("evaluate", int8, few, "--recipe", recipe)
    assert isinstance(exception, RecipeError)
    exception, _ = edgectl("evaluate", int8, few, "--mean", "0", "--std", "1")
    assert isinstance(exception, RecipeError)
    assert "an artifact states" in str(exception)
