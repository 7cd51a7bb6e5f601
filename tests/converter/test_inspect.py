"""`inspect`: models and artifacts as trees and as text."""

import json
from pathlib import Path

import pytest

from converter.inspect import format_inspection, inspect_file
from edge_agent.errors import EdgeError
from edge_agent.release.archive import read_artifact
from tests.converter.conftest import EXAMPLES


def test_a_model_shows_tensors_operators_and_signature() -> None:
    tree = inspect_file(EXAMPLES / "digits_v2.tflite")
    assert tree["kind"] == "model"
    assert tree["inputs"][0]["shape"] == [1, 32, 32, 1]
    assert tree["operators"]["CONV_2D"] == 2
    assert tree["signatures"][0]["inputs"].keys() == {"image"}
    assert tree["weights"]["by_dtype"]["float32"] > 1_300_000
    text = format_inspection(tree)
    for words in ("float32[1,32,32,1]", "CONV_2D x2", "signature serving_default: image -> scores"):
        assert words in text
    json.dumps(tree)


def test_an_artifact_shows_its_manifest_files_chunks_and_fidelity(int8: Path) -> None:
    tree = inspect_file(int8)
    artifact = read_artifact(int8)
    assert tree["kind"] == "artifact"
    assert tree["digest"] == artifact.digest
    assert tree["files"] == {name: len(content) for name, content in artifact.members.items()}
    assert tree["chunks"]["model.tflite"] == 6
    assert tree["fidelity"]["scheme"] == "int8"
    assert tree["labels"] == [str(digit) for digit in range(10)]
    assert tree["model"]["inputs"][0]["quantization"]["zero_point"] == -128
    text = format_inspection(tree)
    for words in ("release: digits 1", "not recorded", "int8[1,32,32,1]", "golden.npz", "fidelity: scheme int8"):
        assert words in text
    json.dumps(tree)


def test_each_layer_is_shown_with_size_multiplications_and_quantization(int8: Path) -> None:
    model = inspect_file(int8)["model"]
    assert [layer["operator"] for layer in model["layers"]][:3] == ["CONV_2D", "MAX_POOL_2D", "CONV_2D"]
    assert model["layers"][2]["macs"] == 884_736
    assert model["layers"][2]["precision"] == "int8"
    assert model["layers"][2]["granularity"] == "channel"
    assert model["macs"] == sum(layer["macs"] or 0 for layer in model["layers"])
    text = format_inspection(inspect_file(int8))
    row = next(line for line in text.splitlines() if line.startswith("  3  CONV_2D"))
    assert row.split() == [
        "3", "CONV_2D", "1x16x16x32", "int8", "channel", "884,736", "3,584", "digits_1/conv2d_1_2/Relu"
    ]  # fmt: skip
    assert "multiply-accumulates: 1,324,608" in text


@pytest.mark.shared_data
def test_metadata_and_labels_inside_a_model_are_shown(shared_data: Path) -> None:
    tree = inspect_file(shared_data / "models/classification/mobilenet_v1_0.25_224_1_metadata_1.tflite")
    assert len(tree["labels"]) == 1001
    text = format_inspection(tree)
    assert "normalization: mean" in text
    assert "… (1001)" in text


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"PK\x03\x04 cut off", b"{}"])
def test_what_is_neither_is_named(content: bytes, tmp_path: Path) -> None:
    for name in ("thing.tflite", "thing-1.edge"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EdgeError) as caught:
            inspect_file(tmp_path / name)
        assert name in str(caught.value)
        assert caught.value.hint


def test_a_damaged_artifact_is_refused(int8: Path, tmp_path: Path) -> None:
    content = bytearray(int8.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "digits-1.edge").write_bytes(content)
    with pytest.raises(EdgeError):
        inspect_file(tmp_path / "digits-1.edge")
