"""The real command with what people get wrong: one error, one hint, the right exit code, no traceback."""

import json
from pathlib import Path

import pytest

from tests.converter.conftest import EXAMPLES
from tests.converter.data.forms import picture
from tests.system.artifacts import edgectl

pytestmark = pytest.mark.system
FLOAT, RECIPE = str(EXAMPLES / "digits_v2.tflite"), str(EXAMPLES / "digits.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "set/3/a.png")
    picture(tmp_path / "fish/fish/a.png")
    picture(tmp_path / "loose/a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half.json").write_text('{"images": [{"id": 1')
    (tmp_path / "cut.edge").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "limits.toml").write_text("scheme = 'dynamic'\n[limits]\nmin_accuracy = 1.0\n")
    (tmp_path / "unknown.toml").write_text("[limits]\nmin_acuracy = 1.0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([FLOAT, "missing"], 1, "no such file or folder"),
        ([FLOAT, "empty"], 1, "is empty"),
        ([FLOAT, "loose"], 1, "none of the 1 samples has a label"),
        ([FLOAT, "fish"], 1, "does not know: fish"),
        ([FLOAT, "half.json"], 1, "is not whole JSON"),
        (["cut.edge", "set"], 1, "cut.edge"),
        (["missing.tflite", "set"], 1, "missing.tflite"),
        ([FLOAT, "set", "--against", "half.json"], 1, "half.json"),
        ([FLOAT, "python:no_such:f"], 1, "cannot be loaded"),
        ([FLOAT, "set", "--task", "segmentation"], 1, "segmentation"),
    ],
)
def test_what_cannot_be_judged_is_said(folder: Path, arguments: list[str], code: int, words: str) -> None:
    done = edgectl(folder, "evaluate", *arguments, "--recipe", RECIPE, expect=code)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    hints = [line for line in done.stderr.splitlines() if line.startswith("hint: ")]
    assert (len(errors), len(hints)) == (1, 1), done.stderr
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_typo_in_a_limit_is_asked_wrongly(folder: Path) -> None:
    done = edgectl(folder, "evaluate", FLOAT, "set", "--recipe", "unknown.toml", expect=2)
    assert "min_acuracy" in done.stderr


def test_a_gate_that_says_no_ends_with_3_and_writes_nothing(folder: Path) -> None:
    """A picture of nothing is no 3."""
    options = ("--color", "gray", "--mean", "0", "--std", "255", "--labels", str(EXAMPLES / "labels.txt"), "--json")
    asked = ("convert", FLOAT, "-o", "digits-1.edge", "--recipe", "limits.toml", "--evaluate", "set", *options)
    done = edgectl(folder, *asked, expect=3)
    assert "min_accuracy: accuracy is 0.0000, less than 1.0. No artifact was written" in done.stderr
    assert json.loads(done.stdout)["fidelity"]["evaluation"]["samples"] == 1
    assert not (folder / "digits-1.edge").exists()
    assert "max_drop" not in done.stderr
