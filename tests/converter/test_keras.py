"""The front-end for `.keras`: what it refuses without TensorFlow, and what it converts with it."""

import importlib.util
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.convert import convert
from converter.errors import ConversionError
from converter.frontends.keras import convert_keras
from edge_agent.release.archive import read_artifact
from edge_agent.release.manifest import REPORT_FILE
from tests.converter.conftest import EXAMPLES, Digits, order, row_accuracy, unpack

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
needs_tensorflow = pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed (edge-deploy[keras])")

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "dense"}, "registered_name": None}


def keras_file(
    path: Path, layers: list[Mapping[str, Any]], *, version: str = "3.15.1", leave_out: str | None = None
) -> Path:
    """A `.keras` file with this configuration and no weights."""
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "model", "layers": layers}}
    members = {
        "metadata.json": json.dumps({"keras_version": version}),
        "config.json": json.dumps(config),
        "model.weights.h5": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name != leave_out:
                archive.writestr(name, content)
    return path


def refused(path: Path, folder: Path) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        convert_keras(path, folder)
    assert caught.value.hint
    return caught.value


def test_a_cut_off_file_is_named(tmp_path: Path) -> None:
    whole = (EXAMPLES / "linescan_v1.keras").read_bytes()
    cut = tmp_path / "model.keras"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "not a whole .keras file" in str(refused(cut, tmp_path))
    with pytest.raises(ConversionError, match="not a whole"):
        convert(order(tmp_path / "m-1.edge", source=cut, recipe=None))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    content = bytearray((EXAMPLES / "linescan_v1.keras").read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        weights = archive.getinfo("model.weights.h5")
    content[weights.header_offset + weights.file_size // 2] ^= 0xFF
    (tmp_path / "model.keras").write_bytes(content)
    assert "damaged" in str(refused(tmp_path / "model.keras", tmp_path))


def test_a_zip_that_is_no_keras_file_is_named(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "model.keras", [DENSE], leave_out="model.weights.h5")
    assert "no model.weights.h5" in str(refused(path, tmp_path))


def test_keras_2_is_named(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "model.keras", [DENSE], version="2.15.0")
    error = refused(path, tmp_path)
    assert "saved by Keras 2.15.0" in str(error)
    assert "tf_keras" in str(error.hint)


def test_lambda_layers_and_foreign_classes_are_named_together(tmp_path: Path) -> None:
    layers: list[Mapping[str, Any]] = [
        DENSE,
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "halve"}, "registered_name": None},
        {"module": None, "class_name": "Attention2", "config": {}, "registered_name": "mine>Attention2"},
        {"module": "my_layers", "class_name": "Gate", "config": {}, "registered_name": "Gate"},
    ]
    error = refused(keras_file(tmp_path / "model.keras", layers), tmp_path)
    assert "Lambda layers (halve)" in str(error)
    assert "Attention2, Gate" in str(error)
    assert "Dense" not in str(error)


@pytest.mark.skipif(HAS_TENSORFLOW, reason="TensorFlow is installed")
def test_without_tensorflow_the_extra_is_named(tmp_path: Path) -> None:
    error = refused(EXAMPLES / "linescan_v1.keras", tmp_path)
    assert "needs TensorFlow" in str(error)
    assert "pip install 'edge-deploy[keras]'" in str(error.hint)


@given(st.binary(max_size=200), st.sampled_from(["metadata.json", "config.json"]))
def test_whatever_stands_in_the_file_only_our_error_comes_out(content: bytes, member: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        path = keras_file(Path(temporary) / "model.keras", [{"class_name": "Lambda", "config": {}}], leave_out=member)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(member, content)
        try:
            if member == "metadata.json":
                convert_keras(path, Path(temporary))
        except ConversionError as error:
            assert str(error)  # noqa: PT017  # any result is fine, any other error is not


@needs_tensorflow
@pytest.mark.timeout(300)
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


@needs_tensorflow
@pytest.mark.timeout(300)
def test_a_layer_without_a_kernel_is_named(tmp_path: Path) -> None:
    """An own file, because TensorFlow may not be loaded into the test's process."""
    import subprocess
    import sys

    script = (
        "import keras, sys; i = keras.Input((4,)); "
        "keras.Model(i, keras.layers.Identity()(keras.ops.erfinv(i))).save(sys.argv[1])"
    )
    path = tmp_path / "model.keras"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True)
    with pytest.raises(ConversionError, match="no TFLite kernel for Erfinv"):
        convert_keras(path, tmp_path)


@needs_tensorflow
@pytest.mark.shared_data
@pytest.mark.timeout(300)
def test_the_activity_model_agrees_with_keras_and_names_98_percent_of_the_windows(
    shared_data: Path, tmp_path: Path
) -> None:
    from tests.converter.test_shared_models import activity_accuracy

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
