"""Keras models, converted and held to what Keras itself answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from converter.convert import convert
from converter.errors import ConversionError
from converter.frontends.keras import convert_keras
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import REPORT_FILE
from tests.converter.conftest import EXAMPLES, Digits, order, row_accuracy, unpack
from tests.converter.test_shared_models import activity_accuracy


def test_a_keras_model_becomes_the_artifact_its_tflite_becomes(digits: Digits, tmp_path: Path) -> None:
    output = tmp_path / "linescan-1.edge"
    recipe = EXAMPLES / "linescan.toml"
    source = EXAMPLES / "linescan_v1.keras"
    options = {"scheme": "int8"}
    convert(order(output, source=source, recipe=recipe, options=options, calibrate=digits.calibration_rows))
    assert row_accuracy(output, digits, tmp_path / "release") >= 0.9547 - 0.015
    report = json.loads(read_artifact(output).members[REPORT_FILE])
    assert report["tools"]["tensorflow"].startswith("2.")
    assert report["fidelity"]["outputs"][0]["name"] == "scores"

    again = tmp_path / "again" / "linescan-1.edge"
    convert(order(again, source=source, recipe=recipe, options=options, calibrate=digits.calibration_rows))
    assert again.read_bytes() == output.read_bytes()


def test_a_layer_without_a_kernel_is_named(make_model: Callable[[str], Path]) -> None:
    folder = make_model(
        "import keras; i = keras.Input((4,)); "
        "keras.Model(i, keras.layers.Identity()(keras.ops.erfinv(i))).save('model.keras')"
    )
    with pytest.raises(ConversionError, match="no TFLite kernel for Erfinv"):
        convert_keras(folder / "model.keras", folder)


@pytest.mark.shared_data
def test_the_activity_model_agrees_with_keras_and_names_98_percent_of_the_windows(
    shared_data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "har-1.edge"
    convert(
        order(
            output,
            source=shared_data / "source_models/har_cnn_8x8x8.keras",
            recipe=None,
            options={"scheme": "int8", "input": {"window": 52, "stride": 52}},
            calibrate=shared_data / "sensor/har",
        )
    )
    with unpack(output, tmp_path / "release") as model:
        assert activity_accuracy(model, shared_data / "sensor/har") >= 0.98
