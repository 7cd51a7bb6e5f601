"""The kind of a source is told by what is in it."""

import bz2
import gzip
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import ConversionError
from converter.frontends.onnx_model.wire import length_prefixed
from converter.source import open_source
from converter.source_kind import SourceKind, tell_kind
from edge_agent.errors import ModelError
from edge_agent.release.manifest import MANIFEST_FILE, MODEL_FILE
from tests.converter.conftest import EXAMPLES

NODE = length_prefixed(1, length_prefixed(1, b"image") + length_prefixed(2, b"Placeholder"))
WEIGHTS = length_prefixed(1, length_prefixed(1, b"w") + length_prefixed(2, b"Const") + length_prefixed(5, bytes(9000)))
ONNX = b"\x08\x08" + length_prefixed(2, b"pytorch") + length_prefixed(7, bytes(5000))
SAVED_MODEL = b"\x08\x01" + length_prefixed(2, length_prefixed(2, NODE))
PICKLE = pickle.dumps({"weights": list(range(2000))})


def archive(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as opened:
            for name in names:
                opened.writestr(name, bytes(500))

    return write


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("tflite", (EXAMPLES / "digits_v1.tflite").read_bytes()),
        ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
        ("frozen_graph", NODE + WEIGHTS),
        ("onnx", ONNX),
        ("pickle", PICKLE),
        ("pickle", zlib.compress(PICKLE)),
        ("pickle", gzip.compress(PICKLE)),
        ("pickle", bz2.compress(PICKLE)),
        ("pickle", lzma.compress(PICKLE)),
        ("keras", archive("metadata.json", "config.json", "model.weights.h5")),
        ("torchscript", archive("net/constants.pkl", "net/code/net.py", "net/data.pkl", "net/data/0")),
        ("pt2", archive("net/archive_format", "net/models/model.json", "net/data/weights/w")),
        ("pt2", archive("serialized_exported_program.json", "version")),
        ("tflite", b"hello, this is text"),
        ("tflite", gzip.compress(b"hello", mtime=0)),
        ("tflite", archive("readme.txt")),
        ("tflite", b""),
    ],
)
@pytest.mark.parametrize("suffix", [".bin", ".tflite", ".pb"])
def test_the_kind_is_told_by_the_content_whatever_the_name(
    kind: SourceKind, content: bytes | Callable[[Path], None], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    content(path) if callable(content) else path.write_bytes(content)
    assert tell_kind(path) == kind


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("frozen_graph", NODE + WEIGHTS),
        ("onnx", ONNX),
        ("pickle", PICKLE),
        ("keras", archive("metadata.json", "config.json", "model.weights.h5")),
        ("torchscript", archive("net/data.json", "net/code/net.py", "net/constants.pkl")),
        ("torchscript", archive("net/data/0", "net/data/1", "net/data/2", "net/data.pkl", "net/code/net.py")),
        ("pt2", archive("net/archive_format", "net/models/model.json", "net/data/weights/w")),
    ],
)
def test_half_of_a_file_is_of_the_same_kind(
    kind: SourceKind, content: bytes | Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "model"
    content(path) if callable(content) else path.write_bytes(content)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert tell_kind(path) == kind


def test_a_saved_model_is_a_directory_or_the_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(SAVED_MODEL)
    assert tell_kind(tmp_path) == "saved_model"
    assert tell_kind(tmp_path / "saved_model.pb") == "saved_model"
    (tmp_path / "empty").mkdir()
    assert tell_kind(tmp_path / "empty") == "tflite"


OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


@pytest.mark.parametrize(
    "content", [archive("net/data.pkl", "net/byteorder", "net/data/0"), OLD_TORCH, b"\x80\x02ctorch.nn\nLinear\n."]
)
def test_what_torch_save_wrote_is_explained(content: bytes | Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    content(path) if callable(content) else path.write_bytes(content)
    with pytest.raises(ConversionError, match=r"torch\.save.*without the program") as caught:
        tell_kind(path)
    assert "torch.export" in str(caught.value.hint)


def test_an_artifact_is_named(tmp_path: Path) -> None:
    archive(MANIFEST_FILE, MODEL_FILE)(tmp_path / "digits-1.edge")
    with pytest.raises(ConversionError, match="is an artifact already"):
        tell_kind(tmp_path / "digits-1.edge")


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "empty"), (bytes(range(128, 256)) * 9, "of an unknown kind"), (b"see the other folder\n", "a text file")],
)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.onnx", "an ONNX model"),
        ("model.pb", "a graph of TensorFlow"),
        ("saved_model.pb", "a graph of TensorFlow"),
        ("model.pt2", "a PyTorch ExportedProgram"),
        ("model.H5", "a Keras model in HDF5"),
        ("model.keras", "a Keras model"),
        ("model.joblib", "a pickled scikit-learn model"),
        ("model.tflite", "a TensorFlow Lite model"),
    ],
)
def test_nonsense_is_told_by_what_its_name_promises_and_what_it_is(
    content: bytes, found: str, name: str, expected: str, tmp_path: Path
) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} is {found}.*; expected {expected}") as caught:
        open_source(source, "float32", tmp_path)
    hint = str(caught.value.hint)
    assert hint
    assert name.endswith(".tflite") or ".tflite" not in hint
    assert list(tmp_path.iterdir()) == [source]


@given(
    st.sampled_from([b"", NODE, ONNX, b"PK\x03\x04", b"\x80\x04", b"\x78\x9c", SAVED_MODEL]), st.binary(max_size=300)
)
def test_whatever_stands_in_a_file_it_has_some_kind(beginning: bytes, rest: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(beginning + rest)
        try:
            assert tell_kind(path)
        except ConversionError as error:
            assert error.hint  # noqa: PT017  # torch.save's, by chance
