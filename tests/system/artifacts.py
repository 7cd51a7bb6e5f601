"""Real artifacts for the system tests: the demo's models, converted once a session by `edgectl convert` itself."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.release.archive import format_archive, read_artifact
from edge_agent.release.manifest import MANIFEST_FILE, format_manifest
from examples.digits import dataset

DIGITS = Path(dataset.__file__).parent
_RECIPE = """\
scheme = "int8"
labels = "{labels}"
{input}
[device]
trial_frames = 10
trial_s = 0.5
"""


@dataclass(frozen=True)
class Artifacts:
    """A folder with pictures, rows and `digits-*.edge`, `linescan-*.edge`."""

    folder: Path

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.csv"

    def __getitem__(self, name: str) -> Path:
        """`digits-1.0.0`, say."""
        return self.folder / f"{name}.edge"


def make_artifacts(folder: Path) -> Artifacts:
    dataset.write_pictures(folder / "pictures", 30)
    dataset.write_pictures(folder / "calibration", 60, held_out=False)
    dataset.write_rows(folder / "rows.csv", 30)
    dataset.write_rows(folder / "calibration.csv", 60, held_out=False)
    labels = DIGITS / "labels.txt"
    camera = '[input]\nkind = "image"\ncolor = "gray"\nmean = [0]\nstd = [255]'
    scanner = '[input]\nkind = "signal"\nwindow = 8\nstride = 8'
    (folder / "camera.toml").write_text(_RECIPE.format(labels=labels, input=camera))
    (folder / "scanner.toml").write_text(_RECIPE.format(labels=labels, input=scanner))
    for version in ("1", "2"):
        _convert(folder, f"digits_v{version}.tflite", f"digits-{version}.0.0.edge", "camera.toml", "calibration")
    _convert(folder, "linescan_v1.tflite", "linescan-1.0.0.edge", "scanner.toml", "calibration.csv")
    return Artifacts(folder)


def _convert(folder: Path, model: str, artifact: str, recipe: str, calibration: str) -> None:
    edgectl(folder, "convert", str(DIGITS / model), "-o", artifact, "--recipe", recipe, "--calibrate", calibration)


def with_trial(good: Path, slow: Path, *, trial_s: float) -> None:
    """Write `slow`, the artifact `good` with another length of trial."""
    artifact = read_artifact(good)
    manifest = replace(artifact.manifest, limits=replace(artifact.manifest.limits, trial_s=trial_s))
    slow.write_bytes(format_archive({**artifact.members, MANIFEST_FILE: format_manifest(manifest)}))


def edgectl(folder: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the real command in `folder`; its exit code must be the expected one."""
    command = [sys.executable, "-m", "converter.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=edgectl_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == expect, f"{' '.join(arguments)} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def edgectl_environment() -> dict[str, str]:
    """Ours, without what a developer may have set for `edgectl`, and with this checkout importable anywhere."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("EDGECTL_")}
    return {**mine, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
