"""An anomaly's threshold is made of what the converted model does to normal data, and travels in the manifest."""

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from converter.convert import Converted, convert
from converter.errors import RecipeError
from edge_agent.inference.model import Model
from edge_agent.release.archive import read_artifact
from edge_agent.tasks.prediction import Prediction
from tests.converter.conftest import order, unpack
from tests.sim.linear_model import linear_model, principal_autoencoder

WINDOW = 16
Rows = NDArray[np.float64]


def hum(count: int, seed: int) -> Rows:
    """Windows [count, WINDOW] of a machine that hums: one period, any phase, some noise."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 2 * np.pi, (count, 1))
    return np.sin(phase + np.arange(WINDOW) * 2 * np.pi / WINDOW) + generator.normal(0, 0.05, (count, WINDOW))


def write_rows(path: Path, windows: Rows) -> Path:
    path.write_text("level\n" + "\n".join(f"{value:.6f}" for value in windows.reshape(-1)) + "\n", encoding="utf-8")
    return path


def converted(
    folder: Path, *, scheme: str = "float32", calibrate: Path | None = None, error: str = "mse", **output: object
) -> tuple[Converted, Path]:
    source = folder / "hum.tflite"
    source.write_bytes(linear_model(principal_autoencoder(hum(500, seed=1), 2), input_shape=(1, WINDOW)))
    options = {
        "scheme": scheme,
        "task": "anomaly",
        "input": {"kind": "signal", "channels": ["level"], "window": WINDOW, "stride": WINDOW},
        "output": {"error": error, **output},
        "calibration_samples": 400,
    }
    path = folder / f"hum-{scheme}-1.edge"
    return convert(order(path, source=source, recipe=None, options=options, calibrate=calibrate)), path


def told(model: Model, windows: Rows) -> Iterator[Prediction]:
    for window in windows:
        prepared = model.prepare_rows(window[:, np.newaxis])
        yield from model.decode(model.invoke(prepared), prepared)


@pytest.mark.parametrize(("scheme", "error"), [("float32", "mse"), ("float32", "mae"), ("int8", "mse")])
def test_normal_windows_stay_below_the_threshold_and_others_do_not(scheme: str, error: str, tmp_path: Path) -> None:
    normal = write_rows(tmp_path / "normal.csv", hum(400, seed=2))
    done, path = converted(tmp_path, scheme=scheme, calibrate=normal, error=error)
    manifest = read_artifact(path).manifest
    threshold = manifest.output.threshold
    assert threshold is not None
    assert any(
        note == f"threshold {threshold:g}: exceeded by 0.50% of normal samples, told from 400" for note in done.notes
    )
    with unpack(path, tmp_path / "release") as model:
        seen = list(told(model, hum(1000, seed=3)))
        assert sum(prediction.label == "anomaly" for prediction in seen) <= 15
        rattle = hum(100, seed=4) + np.random.default_rng(5).normal(0, 0.3, (100, WINDOW))
        assert {prediction.label for prediction in told(model, rattle)} == {"anomaly"}
        assert all(prediction.score > 0.5 for prediction in told(model, rattle))


def test_a_threshold_in_the_recipe_is_kept(tmp_path: Path) -> None:
    normal = write_rows(tmp_path / "normal.csv", hum(50, seed=2))
    done, path = converted(tmp_path, calibrate=normal, threshold=0.25)
    assert read_artifact(path).manifest.output.threshold == 0.25
    assert not any("threshold" in note for note in done.notes)


def test_without_data_there_is_no_threshold_and_it_is_said(tmp_path: Path) -> None:
    done, path = converted(tmp_path)
    assert read_artifact(path).manifest.output.threshold is None
    assert any(note.startswith("no threshold: only errors are told") for note in done.notes)
    with unpack(path, tmp_path / "release") as model:
        assert {(each.label, each.score) for each in told(model, hum(3, seed=3))} == {(None, 1.0)}


def test_few_samples_make_a_wide_threshold_and_it_is_said(tmp_path: Path) -> None:
    normal = write_rows(tmp_path / "normal.csv", hum(20, seed=2))
    done, path = converted(tmp_path, calibrate=normal)
    with unpack(path, tmp_path / "release") as model:
        largest = max(each.value or 0.0 for each in told(model, np.loadtxt(normal, skiprows=1).reshape(-1, WINDOW)))
        assert model.manifest.output.threshold == pytest.approx(1.5 * largest, rel=1e-4)
    assert any(
        "1.5 x the largest error: 20 samples cannot tell what 0.50% exceed, 199 can" in note for note in done.notes
    )


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_false_alarms_is_checked_before_anything_is_converted(share: float, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="false_alarm_share"):
        convert(order(tmp_path / "hum-1.edge", options={"false_alarm_share": share}))
    assert not list(tmp_path.iterdir())


@pytest.mark.shared_data
def test_a_machine_raises_few_false_alarms_and_its_shutdown_is_seen(shared_data: Path, tmp_path: Path) -> None:
    """The machine temperature of the Numenta Anomaly Benchmark: one sensor, 78 days, rows 5 minutes apart."""
    folder = shared_data / "sensor/nab"
    name = "machine_temperature_system_failure.csv"
    length, codes = 24, 4
    with open(folder / name, encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    level = np.array([float(row["value"]) for row in rows])
    when = [datetime.fromisoformat(row["timestamp"]) for row in rows]
    spans = [
        tuple(map(datetime.fromisoformat, span))
        for span in json.loads((folder / "anomaly_windows.json").read_text(encoding="utf-8"))[name]
    ]
    begins = range(0, len(level) - length, length)
    odd = [any(low <= when[at + length - 1] and when[at] <= high for low, high in spans) for at in begins]
    windows = np.stack([level[at : at + length] for at in begins])
    normal = windows[~np.array(odd)]
    source = tmp_path / "machine.tflite"
    centered = (normal[::2] - 85.0) / 12.0
    source.write_bytes(linear_model(principal_autoencoder(centered, codes), input_shape=(1, length)))
    options = {
        "task": "anomaly",
        "input": {
            "kind": "signal", "channels": ["level"], "window": length, "stride": length, "mean": [85.0], "std": [12.0],
        },
        "calibration_samples": 1000,
        "false_alarm_share": 0.01,
    }  # fmt: skip
    path = tmp_path / "machine-1.edge"
    calibration = write_rows(tmp_path / "normal.csv", normal[1::4])
    convert(order(path, source=source, recipe=None, options=options, calibrate=calibration))
    shutdown = [position for position, at in enumerate(begins) if when[at].strftime("%m-%d") == "12-16"]
    with unpack(path, tmp_path / "release") as model:
        held_out = [prediction.label for prediction in told(model, normal[3::4])]
        assert held_out.count("anomaly") / len(held_out) <= 0.03
        assert "anomaly" in {prediction.label for prediction in told(model, windows[shutdown])}
