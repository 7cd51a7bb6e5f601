"""The source of a conversion as a `.tflite` that can be loaded: told by its content, given to its front-end.

Telling is left to `source_kind`; which layers, operators and versions can be converted, to the front-ends.
"""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from converter.errors import ConversionError
from converter.frontends.class_names import read_class_names
from converter.frontends.contract import REFERENCE_NAME, TFLITE_NAME, Wanted, read_notes
from converter.frontends.tflite import normalize
from converter.recipe import Scheme
from converter.source_kind import SourceKind, check_is_source, tell_kind
from converter.tflite_schema import Graph, read_graph
from edge_agent.inference.model_file import check_model_file

Frontend = Callable[[Path, Path, Wanted], Mapping[str, str]]

# Kind → module and function below `converter.frontends`; a `.tflite` is its own result.
_FRONTENDS: Mapping[SourceKind, tuple[str, str]] = {
    "keras": ("keras", "convert_keras"),
    "hdf5": ("keras", "convert_keras"),
    "saved_model": ("saved_model", "convert_saved_model"),
    "frozen_graph": ("frozen", "convert_frozen"),
    "onnx": ("onnx", "convert_onnx"),
    "pt2": ("torch", "convert_pt2"),
    "torchscript": ("torch", "convert_torchscript"),
    "pickle": ("sklearn", "convert_sklearn"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Ready to be loaded: a float model with its batch fixed or, unchanged, whatever it is."""

    path: Path  # of the .tflite
    content: bytes
    graph: Graph
    digest: str  # sha-256 of the file that was given; of a directory, of its files' names and contents
    size_bytes: int  # of what was given
    reference: Path | None  # answers of the framework
    tools: Mapping[str, str]
    classes: tuple[str, ...] = ()  # names of those whose scores the output holds, where the source says them
    notes: tuple[str, ...] = ()  # of the front-end, for whoever converts


def open_source(path: Path, scheme: Scheme, folder: Path, *, wanted: Wanted | None = None) -> Source:
    """Read a `.tflite`, or have another kind of model converted to one.

    Raises:
        ModelError: it is no model; says what it is instead.
        ConversionError: it cannot be converted, or not to `scheme`.
    """
    wanted = wanted or Wanted()
    tools: Mapping[str, str] = {}
    kind = tell_kind(path)
    signature = wanted.signature
    if kind == "tflite":
        if path.is_dir() and not (path / "model.tflite").exists():
            raise ConversionError(
                f"{path} is a directory, and no SavedModel: it holds no saved_model.pb",
                hint="give the model's file, or the directory that saved_model.pb lies in",
            )
        check_is_source(path)
        check_model_file(path)
        _check_nothing_is_cut(wanted)
        model_path, reference = path, None
    else:
        if path.name == "saved_model.pb" and kind == "saved_model" and path.is_file():
            path = path.parent
        tools = _frontend(kind)(path, folder, wanted)
        model_path, reference = folder / TFLITE_NAME, folder / REFERENCE_NAME
    digest, size_bytes = _digest(path)
    content = normalize(model_path.read_bytes(), scheme, path.name, signature)
    ready = folder / "source.tflite"
    ready.write_bytes(content)
    graph = read_graph(content)
    classes = read_class_names(folder, graph) if reference is not None else ()
    notes = read_notes(folder) if reference is not None else ()
    return Source(ready, content, graph, digest, size_bytes, reference, tools, classes, notes)


def _frontend(kind: SourceKind) -> Frontend:
    """Loaded only when asked for: each brings what it needs to read its files."""
    module, function = _FRONTENDS[kind]
    found: Frontend = getattr(importlib.import_module(f"converter.frontends.{module}"), function)
    return found


def _check_nothing_is_cut(wanted: Wanted) -> None:
    for given, option in (
        (wanted.inputs, "--inputs"), (wanted.outputs, "--outputs"), (wanted.input_shapes, "--input-shape"),
    ):  # fmt: skip
        if given:
            raise ConversionError(
                f"{option} is for sources that are converted to .tflite first; this one is a .tflite",
                hint="leave it out, or give the model that the .tflite was made of",
            )


def _digest(path: Path) -> tuple[str, int]:
    if path.is_file():
        content = path.read_bytes()
        return hashlib.sha256(content).hexdigest(), len(content)
    digest, size_bytes = hashlib.sha256(), 0
    for file in sorted(found for found in path.rglob("*") if found.is_file()):
        content = file.read_bytes()
        name = file.relative_to(path).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
        size_bytes += len(content)
    return digest.hexdigest(), size_bytes
