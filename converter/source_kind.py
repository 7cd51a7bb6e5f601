"""What kind of model a file or folder is, told by its content: beginnings, members, messages; never by name alone.

What its front-end refuses is left to the front-end; here is refused only what no front-end takes.
"""

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from converter.errors import ConversionError
from converter.frontends.onnx_model.wire import WireError, content, fields
from edge_agent.inference.file_kind import IDENTIFIER, TFLITE, Expected, check_is_tflite
from edge_agent.release.manifest import MANIFEST_FILE, MODEL_FILE

SourceKind = Literal[
    "tflite", "keras", "hdf5", "saved_model", "frozen_graph", "onnx", "pt2", "torchscript", "pickle"
]  # fmt: skip

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_SAVED_MODEL = "saved_model.pb"
_SAVED_MODEL_BEGINNING = b"\x08\x01\x12"  # saved_model.proto: schema version 1, then a graph
# The number that torch.save of before PyTorch 1.6 begins with, pickled (torch/serialization.py, MAGIC_NUMBER).
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_HEAD_BYTES = 1 << 16
_EXPORT = "export the model: torch.export.save(torch.export.export(model.eval(), (example,)), 'model.pt2')"
_TORCH_DATA = re.compile(r"data/\d+$|byteorder$|\.data/")  # what the beginning of one that is cut off may hold
_OPERATOR = re.compile(rb"_?[A-Z][A-Za-z0-9_]*>?[A-Za-z0-9_]*")

_PROMISED: Mapping[str, str] = {  # what a name says that the content does not
    ".keras": "a Keras model (a zip archive)",
    ".h5": "a Keras model in HDF5",
    ".hdf5": "a Keras model in HDF5",
    ".pb": "a graph of TensorFlow: frozen, or of a SavedModel",
    ".onnx": "an ONNX model",
    ".pt2": "a PyTorch ExportedProgram (a zip archive)",
    ".pt": "a TorchScript program (a zip archive)",
    ".pth": "a TorchScript program (a zip archive)",
    ".jit": "a TorchScript program (a zip archive)",
    ".pkl": "a pickled scikit-learn model",
    ".pickle": "a pickled scikit-learn model",
    ".joblib": "a pickled scikit-learn model",
}

_UNPACKERS: Mapping[bytes, Callable[[bytes], bytes]] = {  # as joblib compresses
    b"\x78": lambda head: zlib.decompressobj().decompress(head, 2),
    b"\x1f\x8b": lambda head: zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 2),
    b"BZh": lambda head: bz2.BZ2Decompressor().decompress(head, 2),
    b"\xfd7zXZ": lambda head: lzma.LZMADecompressor().decompress(head, 2),
    b"]\x00\x00": lambda head: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(head, 2),
}


def tell_kind(path: Path) -> SourceKind:
    """`tflite` too for what is none of the others; `check_is_source` says what it is instead.

    Raises:
        ConversionError: an artifact already, or weights without a model.
    """
    head = _head(path)
    if head is None:
        return "saved_model" if (path / _SAVED_MODEL).exists() or (path / "saved_model.pbtxt").exists() else "tflite"
    if head.startswith(_HDF5):
        return "hdf5"
    if head.startswith(_ZIP):
        return _zip_kind(path, head)
    if head.startswith(_OLD_TORCH):
        raise _saved_by_torch(path)
    if _is_pickle(head):
        return _pickle_kind(path, head)
    return _message_kind(path, head)


def check_is_source(path: Path) -> None:
    """Nothing, if the file is of a kind that can be converted.

    Raises:
        ModelError: it is of none; says which one its name promises, and what it is instead.
        ConversionError: as `tell_kind`.
    """
    if tell_kind(path) == "tflite":
        suffix = path.suffix.lower()
        check_is_tflite(path, Expected(_PROMISED[suffix], suffix) if suffix in _PROMISED else TFLITE)


def _head(path: Path) -> bytes | None:
    """None: it is a directory, or cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return None  # the front-end for .tflite says what is wrong


def _zip_kind(path: Path, head: bytes) -> SourceKind:
    names = set(_members(path, head))
    inner = {name.partition("/")[2] for name in names}
    if MANIFEST_FILE in names and MODEL_FILE in names:
        raise ConversionError(f"{path} is an artifact already", hint="look into it with 'edgectl inspect'")
    if any(name.startswith("models/") and name.endswith(".json") for name in inner) or any(
        "serialized_exported_program.json" in name for name in names
    ):
        return "pt2"
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "data.pkl" in inner:
        if zipfile.is_zipfile(path):
            raise _saved_by_torch(path)
        return "torchscript"  # cut off: what came after the data, nobody knows
    if path.suffix == ".keras" or names & {"config.json", "model.weights.h5"}:
        return "keras"
    if "archive_format" in inner:
        return "pt2"
    return "torchscript" if any(_TORCH_DATA.match(name) for name in inner) else "tflite"


def _members(path: Path, head: bytes) -> Iterator[str]:
    """Names of the members; of a zip that is cut off those that its beginning holds (PKWARE's APPNOTE, 4.3.7)."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield from archive.namelist()
            return
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError):
        pass
    for found in re.finditer(re.escape(_ZIP), head):
        start = found.start()
        length = int.from_bytes(head[start + 26 : start + 28], "little")
        yield head[start + 30 : start + 30 + length].decode("utf-8", "replace")


def _saved_by_torch(path: Path) -> ConversionError:
    return ConversionError(
        f"{path} was written by torch.save: weights (a state_dict) or a pickled object, without the program",
        hint=_EXPORT,
    )


def _is_pickle(head: bytes) -> bool:
    """A pickle of protocol 2 and up, plain or as joblib compresses it."""
    for magic, unpack in _UNPACKERS.items():
        if head.startswith(magic):
            try:
                head = unpack(head)
            except (zlib.error, OSError, lzma.LZMAError, EOFError, gzip.BadGzipFile):
                return False
            break
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def _pickle_kind(path: Path, head: bytes) -> SourceKind:
    if re.search(rb"torch(\.|\n|\x94)|torch\.nn", head[:200]):
        raise _saved_by_torch(path)
    return "pickle"


def _message_kind(path: Path, head: bytes) -> SourceKind:
    """A protocol buffer's kind, by its first fields; one that is cut off has them too."""
    if not head or head[4:8] == IDENTIFIER:
        return "tflite"
    if _is_onnx(head):
        return "onnx"
    if path.name == _SAVED_MODEL and head.startswith(_SAVED_MODEL_BEGINNING):
        return "saved_model"
    try:
        whole = memoryview(path.read_bytes())
    except OSError:
        return "tflite"
    return "frozen_graph" if _is_graph(whole) else "tflite"


def _is_onnx(head: bytes) -> bool:
    """ModelProto (onnx.proto): ir_version is written first, then a text (2 to 4), the graph (7) or an import (8)."""
    return len(head) > 3 and head[0] == 0x08 and 3 <= head[1] < 32 and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42)


def _is_graph(whole: memoryview) -> bool:
    """GraphDef (graph.proto) begins with a node (1), which has a name (1) and an operator (2)."""
    try:
        number, value = next(fields(whole))
        node = dict(fields(content(value)))
        name, operator = content(node[1]), content(node[2])
    except (WireError, StopIteration, KeyError):
        return False
    return number == 1 and len(name) > 0 and _OPERATOR.fullmatch(operator) is not None
