"""The front-end for `.keras`: what it refuses without TensorFlow. What it converts: tests/frontends/test_keras.py."""

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
from converter.frontends.contract import Wanted
from converter.frontends.keras import convert_keras
from tests.converter.conftest import EXAMPLES, order

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None

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


def hdf5(path: Path, *, version: int, stated: int, size: int) -> Path:
    """The superblock of an HDF5 file that states its length, and zeros."""
    head = bytearray(b"\x89HDF\r\n\x1a\n" + bytes([version]) + bytes(55))
    head[13 if version < 2 else 9] = 8  # bytes of an address
    position = {0: 40, 1: 44, 2: 28, 3: 28}[version]
    head[position : position + 8] = stated.to_bytes(8, "little")
    path.write_bytes(bytes(head) + bytes(size - len(head)))
    return path


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_a_cut_off_h5_is_named_before_anything_is_loaded(version: int, tmp_path: Path) -> None:
    error = refused(hdf5(tmp_path / "model.h5", version=version, stated=2000, size=1000), tmp_path)
    assert "1,000 of its 2,000 bytes are there" in str(error)
    assert not list(tmp_path.glob("*.json"))  # no child was asked


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
    assert "--allow-code" not in str(error.hint)  # it would not help with the others
    assert "Dense" not in str(error)


def test_a_lambda_layer_is_loaded_only_when_code_is_allowed(tmp_path: Path) -> None:
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "halve"}, "registered_name": None}
    path = keras_file(tmp_path / "model.keras", [DENSE, layer])
    assert "--allow-code" in str(refused(path, tmp_path).hint)
    with pytest.raises(ConversionError) as caught:
        convert_keras(path, tmp_path, Wanted(allow_code=True))
    assert "Lambda" not in str(caught.value)  # but that it has no weights, or that there is no TensorFlow


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
