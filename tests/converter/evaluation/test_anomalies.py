"""An autoencoder of a humming machine, judged by recordings of it with and without a fault."""

from pathlib import Path

import numpy as np

from converter.convert import convert
from converter.evaluation.judge import Question, judge
from tests.converter.conftest import order
from tests.converter.test_anomaly import WINDOW, hum, write_rows
from tests.sim.linear_model import linear_model, principal_autoencoder


def test_a_threshold_made_by_convert_is_judged_with_the_rest(tmp_path: Path) -> None:
    faulty = hum(60, seed=5)
    faulty[:, ::2] += 0.4
    for name, windows in (("normal", hum(300, seed=4)), ("bearing", faulty)):
        (tmp_path / "set" / name).mkdir(parents=True)
        write_rows(tmp_path / "set" / name / "log.csv", windows)
    source = tmp_path / "hum.tflite"
    source.write_bytes(linear_model(principal_autoencoder(hum(500, seed=1), 2), input_shape=(1, WINDOW)))
    options = {
        "scheme": "int8",
        "task": "anomaly",
        "input": {"kind": "signal", "channels": ["level"], "window": WINDOW, "stride": WINDOW},
        "calibration_samples": 400,
    }
    normal = write_rows(tmp_path / "normal.csv", hum(400, seed=2))
    asked = order(
        tmp_path / "hum-1.edge",
        source=source,
        recipe=None,
        options=options,
        calibrate=normal,
        evaluate=tmp_path / "set",
    )
    done = convert(asked)
    assert done.evaluation is not None
    figures = done.evaluation.figures["int8"]
    assert (done.evaluation.metric, done.evaluation.samples, figures["anomalies"]) == ("roc_auc", 360, 60)
    assert figures["roc_auc"] > 0.99
    assert figures["threshold"]["false_alarms"] < 0.03  # made for 0.5 %
    assert figures["best_threshold"]["f1"] >= figures["threshold"]["f1"]
    again = judge(Question(done.path, tmp_path / "set"))
    assert again.figures["hum-1.edge"] == figures
    assert np.isclose(again.value or 0, figures["roc_auc"])


def test_without_anomalies_there_is_no_area_and_a_note_says_why(tmp_path: Path) -> None:
    (tmp_path / "set/normal").mkdir(parents=True)
    write_rows(tmp_path / "set/normal/log.csv", hum(40, seed=4))
    source = tmp_path / "hum.tflite"
    source.write_bytes(linear_model(principal_autoencoder(hum(500, seed=1), 2), input_shape=(1, WINDOW)))
    options = {
        "task": "anomaly",
        "input": {"kind": "signal", "channels": ["level"], "window": WINDOW, "stride": WINDOW},
        "output": {"threshold": 0.5},
    }
    found = judge(Question(source, tmp_path / "set", options=options))
    assert found.value is None
    assert any("needs normal samples and anomalies" in note for note in found.notes)
