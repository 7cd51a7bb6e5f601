"""Same inputs, same bytes: wherever it runs, and however Python orders its sets."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.release.archive import read_artifact
from tests.converter.conftest import EXAMPLES, Digits

ROOT = Path(__file__).parent.parent.parent


def converted(folder: Path, seed: str, digits: Digits, scheme: str) -> Path:
    """Convert in a process of its own, from copies of all inputs in `folder`."""
    folder.mkdir()
    for name in ("digits_v2.tflite", "digits.toml", "labels.txt"):
        shutil.copy(EXAMPLES / name, folder / name)
    shutil.copytree(digits.calibration, folder / "pictures")
    output = folder / "digits-1.0.edge"
    command = [
        sys.executable, "-m", "converter.cli", "convert", "digits_v2.tflite", "-o", output.name,
        "--recipe", "digits.toml", "--scheme", scheme, "--calibrate", "pictures",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "TZ": f"UTC+{seed}"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return output


@pytest.mark.parametrize("scheme", ["int8", "float16"])
def test_two_processes_in_two_places_make_the_same_artifact(scheme: str, digits: Digits, tmp_path: Path) -> None:
    one = converted(tmp_path / "here", "1", digits, scheme)
    other = converted(tmp_path / "another folder", "2", digits, scheme)
    first, second = (read_artifact(path).members for path in (one, other))
    assert [name for name in first if first[name] != second[name]] == []
    assert one.read_bytes() == other.read_bytes()


def test_provenance_names_all_that_the_bytes_depend_on(int8: Path) -> None:
    """With what is told here, somebody else can make the same artifact, or see why theirs is another."""
    provenance = read_artifact(int8).manifest.provenance
    assert set(provenance) == {"calibration", "fidelity", "machine", "recipe", "scheme", "source", "tools"}
    source = (EXAMPLES / "digits_v2.tflite").read_bytes()
    assert provenance["source"]["sha256"] == hashlib.sha256(source).hexdigest()
    assert set(provenance["calibration"]) == {"samples", "sha256"}
    assert set(provenance["tools"]) == {
        "ai-edge-litert", "ai-edge-quantizer", "edge-deploy", "flatbuffers", "numpy", "pillow"
    }  # fmt: skip
    recipe = provenance["recipe"]
    assert recipe["scheme"] == "int8"
    assert recipe["input"]["kind"] == "image"
    assert {"calibration_samples", "golden_vectors", "float_operators", "limits"} <= set(recipe)
