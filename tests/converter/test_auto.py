"""`convert --auto` on real models: it finds by measuring what nobody told it, and keeps to its limits."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from converter.cli import cli
from converter.convert import Converted, convert
from converter.errors import CalibrationError, QualityGateError, RecipeError
from converter.quantization import auto_child
from converter.quantization.auto import Auto
from converter.quantization.quantize import ready
from converter.quantization.search import Limits
from converter.quantization.study import Study
from converter.recipe import read_recipe
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.transform.tensor import Array, TensorSpec
from examples.digits import dataset
from tests.converter.conftest import EXAMPLES, Digits, order, picture_accuracy

# The quantizer opens an interpreter of its own, which warns; in the product that is in a child.
pytestmark = pytest.mark.filterwarnings("ignore:Warning. Enabling:UserWarning")

ROWS = {"source": EXAMPLES / "linescan_v1.tflite", "recipe": EXAMPLES / "linescan.toml"}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    dataset.write_pictures(folder, 60, held_out=False, per_class=True)
    return folder


@pytest.fixture(scope="module")
def searched(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Converted, list[str]]:
    """One search within a drop of 2 %, and what it said while at it. Read only."""
    told: list[str] = []
    output = tmp_path_factory.mktemp("auto") / "digits-1.edge"
    done = convert(order(output, calibrate=labelled, auto=Auto(Limits(0.02)), tell=told.append))
    return done, told


def test_the_taken_one_is_within_the_limits_and_no_other_within_them_is_much_faster(
    searched: tuple[Converted, list[str]], digits: Digits, tmp_path: Path
) -> None:
    done, _ = searched
    candidates = done.sections.candidates
    [chosen] = [one for one in candidates if one.chosen]
    original = next(one for one in candidates if one.label == "float32")
    assert chosen.pareto
    assert chosen.fidelity_name == "accuracy"  # the folders are called like the labels
    assert chosen.fidelity >= original.fidelity - 0.02
    assert chosen.size_bytes < original.size_bytes
    for one in candidates:
        if one.fidelity >= original.fidelity - 0.02 and one.size_bytes:
            assert one.latency_ms is not None
            assert chosen.latency_ms is not None
            assert chosen.latency_ms <= max(1.06 * one.latency_ms, one.latency_ms + 0.011)
    assert picture_accuracy(done.path, digits, tmp_path / "release") >= 0.92


def test_the_curve_names_every_scheme_and_the_model_is_the_chosen_one(
    searched: tuple[Converted, list[str]],
) -> None:
    done, told = searched
    labels = [one.label for one in done.sections.candidates]
    for scheme in ("float32", "float16", "weight_int8", "dynamic", "int8", "weight_int4"):
        assert any(label.startswith(scheme) for label in labels), scheme
    assert any("layers in" in label for label in labels)
    assert "chosen" in done.curve
    [chosen] = [one for one in done.sections.candidates if one.chosen]
    released = len(read_artifact(done.path).members[MODEL_FILE])
    assert chosen.size_bytes <= released < chosen.size_bytes + 2000  # with labels and metadata
    assert any("which kinds of operators run slower" in line for line in told)


def test_the_recipe_in_the_artifact_makes_the_same_model_without_a_search(
    searched: tuple[Converted, list[str]], labelled: Path, tmp_path: Path
) -> None:
    done, _ = searched
    artifact = read_artifact(done.path)
    written = tmp_path / "found.json"
    written.write_text(json.dumps(artifact.manifest.provenance["recipe"]), encoding="utf-8")
    labels = (EXAMPLES / "digits.toml").parent / read_recipe(EXAMPLES / "digits.toml")["labels"]
    options = {"labels": str(labels)}
    again = convert(order(tmp_path / "digits-1.edge", recipe=written, options=options, calibrate=labelled))
    assert read_artifact(again.path).members[MODEL_FILE] == artifact.members[MODEL_FILE]


def test_limits_that_cannot_be_met_leave_the_curve_in_a_report_and_no_artifact(labelled: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli,
        ["convert", str(EXAMPLES / "digits_v2.tflite"), "-o", str(tmp_path / "digits-1.edge"), "--recipe",
         str(EXAMPLES / "digits.toml"), "--calibrate", str(labelled), "--auto", "--max-size", "1kB"],
    )  # fmt: skip
    assert isinstance(result.exception, QualityGateError)
    assert "no way of quantizing this model keeps to --max-drop 0.01, --max-size 1000" in str(result.exception)
    assert "comes nearest" in str(result.exception.hint)
    assert "--max-size" in result.stdout.splitlines()[1]
    [report] = tmp_path.iterdir()
    assert report.name == "digits-1.report.html"
    assert f"report: {report}" in result.stderr
    page = report.read_text(encoding="utf-8")
    assert "Refused: no way of quantizing this model keeps to --max-drop 0.01, --max-size 1000" in page
    assert "What was tried" in page
    assert "<svg" in page
    for shown in ("weight_int8", "on the front", "digits_v2.tflite"):
        assert shown in page
    assert "Size, latency, fidelity" not in page  # there is no model to tell it of
    assert "What a device will be held to" not in page


def test_a_latency_that_is_asked_of_another_machine_decides(digits: Digits, tmp_path: Path) -> None:
    asked: list[int] = []

    def there_ms(size_bytes: int) -> float:  # a hundredth of the size is more than a twentieth of the time
        return float((1e5 / size_bytes) ** 20)

    def latency(content: bytes) -> float:
        asked.append(len(content))
        return there_ms(len(content))  # a machine on which the largest model is by far the fastest

    auto = Auto(Limits(0.05), latency=latency, where="porch-pi")
    output = tmp_path / "linescan-1.edge"
    done = convert(order(output, **ROWS, calibrate=digits.calibration_rows, auto=auto))
    [chosen] = [one for one in done.sections.candidates if one.chosen]
    assert chosen.where == "porch-pi"
    assert chosen.size_bytes == max(asked)
    assert f"{there_ms(max(asked)):.3f} ms on porch-pi" in done.curve


def test_candidates_are_judged_by_the_labeled_data_that_evaluate_gives(digits: Digits, tmp_path: Path) -> None:
    """Every second label is wrong, so that half of the answers are right."""
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    lines = [f"{path},{(label + (number % 2)) % 10}" for number, (path, label) in enumerate(digits.held_out[:60])]
    (wrong / "labels.csv").write_text("\n".join(["file,label", *lines]), encoding="utf-8")
    done = convert(
        order(tmp_path / "digits-1.edge", calibrate=digits.calibration, evaluate=wrong / "labels.csv", auto=Auto())
    )
    original = next(one for one in done.sections.candidates if one.label == "float32")
    assert original.fidelity_name == "accuracy"
    assert done.evaluation is not None
    assert original.fidelity == pytest.approx(done.evaluation.values["float32"], abs=1e-6)
    assert 0.4 < original.fidelity < 0.6
    limits = read_artifact(done.path).manifest.provenance["recipe"]["limits"]
    assert limits["max_drop"] == 0.01  # held to it on all of the data too


@dataclass(frozen=True, slots=True)
class Named:
    """Samples of which only the names are asked."""

    names: tuple[str, ...]
    digest: str = ""

    def inputs(self, tensors: Sequence[TensorSpec]) -> Iterator[list[Array]]:
        raise NotImplementedError


def test_folders_of_calibration_data_name_classes_as_those_of_evaluation_data_do(int8: Path) -> None:
    manifest = read_artifact(int8).manifest

    def classes(*folders: str) -> tuple[str, ...]:
        return auto_child.classes_of(Named(tuple(f"{name}/1.png" for name in folders)), ("zero", "one"), manifest)

    assert classes("0_zero", "One") == ("zero", "one")
    assert classes("zero", "elsewhere") == ()
    assert classes("zero", "zero") == ()


def test_auto_without_data_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="judges candidates by representative data"):
        convert(order(tmp_path / "digits-1.edge", auto=Auto()))


def test_auto_without_data_ends_before_the_source_is_opened_or_trained(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="judges candidates by representative data"):
        convert(order(tmp_path / "digits-1.edge", source=tmp_path / "gone.tflite", auto=Auto()))


def test_auto_and_a_scheme_contradict_each_other(labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--auto chooses the scheme"):
        convert(
            order(tmp_path / "digits-1.edge", options={"scheme": "int8"}, calibrate=labelled, auto=Auto())
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-drop", "1%"], "only a search is held to it"),
        (["--auto", "--max-drop", "much"], "expected a share like 1% or 0.01"),
        (["--auto", "--max-drop", "150%"], "a share from 0 to 100 %"),
        (["--auto", "--max-size", "2 apples"], "expected a size like 2MB"),
        (["--auto", "--max-size", "0"], "expected a size like 2MB"),
        (["--auto", "--max-latency", "fast"], "expected milliseconds"),
        (["--auto", "--target", "pi 9"], "expected one of pi4, pi5, zero2w"),
        (["--auto", "--target", "pi4", "--max-latency", "5ms"], "only a device can tell"),
    ],
)
def test_wrong_limits_are_refused(options: list[str], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["convert", "x.tflite", "-o", str(tmp_path / "x-1.edge"), *options])
    assert isinstance(result.exception, RecipeError)
    assert words in str(result.exception)


def test_a_named_machine_is_not_said_to_have_this_ones_latency(digits: Digits, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli,
        ["convert", str(ROWS["source"]), "-o", str(tmp_path / "x-1.edge"), "--recipe", str(ROWS["recipe"]),
         "--calibrate", str(digits.calibration_rows), "--auto", "--max-drop", "5%", "--target", "zero2w", "--json"],
    )  # fmt: skip
    assert result.exception is None, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    assert any("not of a Raspberry Pi Zero 2 W" in note for note in answer["notes"])
    assert sum(one["chosen"] for one in answer["candidates"]) == 1


def test_a_kind_that_runs_slower_quantized_is_found_by_measuring() -> None:
    """int16 activations have no fast kernel: in float each kind gains, however busy the machine is."""
    content = ready((EXAMPLES / "digits_v2.tflite").read_bytes())
    generator = np.random.default_rng(0)
    samples = [[generator.random((1, 32, 32, 1), np.float32)] for _ in range(4)]
    study = Study(content, samples)
    assert "CONV_2D" in study.slow_kinds({"scheme": "int16x8"}, lambda _: None)


def test_the_layer_that_makes_most_noise_is_found() -> None:
    content = ready((EXAMPLES / "digits_v2.tflite").read_bytes())
    generator = np.random.default_rng(0)
    samples = [[generator.random((1, 32, 32, 1), np.float32)] for _ in range(8)]
    study = Study(content, samples)
    ranked = study.sensitivity({"scheme": "weight_int4"}, lambda _: None)
    kinds = {study.graph.operators[position].name for _, position in ranked}
    assert kinds <= {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    noises = [noise for noise, _ in ranked]
    assert noises == sorted(noises)
    assert noises[0] < noises[-1] - 5  # or there would be nothing to find


def test_when_time_is_up_the_layers_that_are_left_are_not_looked_at() -> None:
    content = ready((EXAMPLES / "digits_v2.tflite").read_bytes())
    generator = np.random.default_rng(0)
    study = Study(content, [[generator.random((1, 32, 32, 1), np.float32)] for _ in range(4)])
    asked: list[bool] = []

    def late() -> bool:
        asked.append(len(asked) >= 2)
        return asked[-1]

    ranked = study.sensitivity({"scheme": "weight_int8"}, lambda _: None, late=late)
    assert {position for _, position in ranked} <= {0, 1}
    assert asked == [False, False, True]
