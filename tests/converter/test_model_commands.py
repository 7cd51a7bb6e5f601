"""The commands `convert` and `inspect`: options to an order, results to stdout, talk to stderr."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from converter.commands.model import convert, inspect
from converter.errors import ConversionError, QualityGateError
from edge_agent.release.archive import read_artifact
from edge_agent.release.inputs import ImageInput, SignalInput
from tests.converter.conftest import EXAMPLES, Digits


def run(*arguments: object) -> Result:
    return CliRunner().invoke(convert, [str(argument) for argument in arguments])


def test_options_without_a_recipe_make_the_whole_manifest(digits: Digits, tmp_path: Path) -> None:
    output = tmp_path / "digits-3.edge"
    result = run(
        EXAMPLES / "digits_v2.tflite", "-o", output, "--scheme", "int8", "--calibrate", digits.calibration,
        "--labels", EXAMPLES / "labels.txt", "--color", "gray", "--mean", "0", "--std", "255", "--fit", "crop",
        "--resample", "box", "--threshold", "0.2", "--top-k", "3", "--task", "classification", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    tree = json.loads(result.stdout)
    assert tree["fidelity"]["scheme"] == "int8"
    assert tree["fidelity"]["converted"]["latency_ms"] > 0
    manifest = read_artifact(output).manifest
    assert manifest.input == ImageInput(color="gray", fit="crop", resample="box", mean=(0.0,), std=(255.0,))
    assert (manifest.output.score_threshold, manifest.output.top_k) == (0.2, 3)
    assert "guessed" not in result.stderr


def test_the_table_goes_to_stdout_and_notes_to_stderr(tmp_path: Path) -> None:
    result = run(
        EXAMPLES / "linescan_v1.tflite", "-o", tmp_path / "linescan-1.edge", "--scheme", "weight_int8",
        "--window", "8", "--stride", "4", "--channels", ",".join(f"d{number}" for number in range(8)),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for words in ("weight_int8", "ratio", "top-1 agreement", "output scores", "operators left float: none", "sha256"):
        assert words in result.stdout
    assert "made-up" in result.stderr
    spec = read_artifact(tmp_path / "linescan-1.edge").manifest.input
    assert isinstance(spec, SignalInput)
    assert (spec.stride, spec.channels[7]) == (4, "d7")


def test_a_missed_limit_is_the_error_that_the_command_line_exits_3_with(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("scheme = 'float16'\n[limits]\nmax_size_bytes = 1\n")
    asked = (EXAMPLES / "linescan_v1.tflite", "-o", tmp_path / "linescan-1.edge", "--recipe", recipe)
    result = run(*asked)
    assert isinstance(result.exception, QualityGateError)
    assert "top-1 agreement" in result.stdout  # what it was judged by
    assert "note: no --calibrate" in result.stderr
    assert "converted" in json.loads(run(*asked, "--json").stdout)["fidelity"]
    assert not (tmp_path / "linescan-1.edge").exists()


def test_wrong_options_are_usage_errors(tmp_path: Path) -> None:
    source = EXAMPLES / "digits_v2.tflite"
    for wrong in (
        ["--mean", "gray"],
        ["--scheme", "int4"],
        ["--fit", "squeeze"],
        ["--window", "x"],
        ["--input-shape", "x=1xa"],
    ):
        result = run(source, "-o", tmp_path / "digits-1.edge", *wrong)
        assert result.exit_code == 2, wrong
    assert run(source).exit_code == 2


@pytest.mark.parametrize(
    "option", [("--input-shape", "image=1x64x64x3"), ("--inputs", "image"), ("--outputs", "scores")]
)
def test_a_tflite_is_not_cut(option: tuple[str, str], tmp_path: Path) -> None:
    result = run(EXAMPLES / "digits_v2.tflite", "-o", tmp_path / "digits-1.edge", *option)
    assert isinstance(result.exception, ConversionError)
    assert option[0] in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_comes_up_without_anything_heavy() -> None:
    heavy = [
        "numpy",
        "PIL",
        "tensorflow",
        "tf_keras",
        "keras",
        "h5py",
        "torch",
        "onnx",
        "sklearn",
        "scipy",
        "ai_edge_litert",
        "ai_edge_quantizer",
        "tuf",
    ]
    script = f"import converter.cli, sys; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_inspect_prints_text_or_json() -> None:
    source = str(EXAMPLES / "linescan_v1.tflite")
    text = CliRunner().invoke(inspect, [source])
    assert "float32[1,8,8]" in text.stdout
    tree = CliRunner().invoke(inspect, [source, "--json"])
    assert json.loads(tree.stdout)["outputs"][0]["shape"] == [1, 10]
