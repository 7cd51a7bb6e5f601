"""The source of a conversion, told by its content and never by its name alone, as a `.tflite` that can be loaded.

Which layers, operators and versions can be converted is left to the front-ends.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from converter.errors import ConversionError
from converter.frontends.contract import REFERENCE_NAME, TFLITE_NAME
from converter.frontends.keras import convert_keras
from converter.frontends.tflite import normalize
from converter.recipe import Scheme
from converter.tflite_schema import Graph, read_graph
from edge_agent.inference.model_file import check_model_file
from edge_agent.release.manifest import MANIFEST_FILE, MODEL_FILE

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Source:
    """Ready to be loaded: a float model with its batch fixed or, unchanged, whatever it is."""

    path: Path  # of the .tflite
    content: bytes
    graph: Graph
    digest: str  # sha-256 of the file that was given
    size_bytes: int  # of the file that was given
    reference: Path | None  # answers of the framework
    tools: Mapping[str, str]


def open_source(path: Path, scheme: Scheme, folder: Path, *, signature: str | None = None) -> Source:
    """Read a `.tflite`, or convert a `.keras` file to one. `signature`: the one that is to be run.

    Raises:
        ModelError: it is neither; says what it is instead.
        ConversionError: it cannot be converted to `scheme`.
    """
    tools: Mapping[str, str] = {}
    beginning = _beginning(path)
    if beginning.startswith(_HDF5):
        raise ConversionError(
            f"{path} is an HDF5 file; .keras and .tflite can be converted",
            hint="load it with Keras and save it with model.save('model.keras')",
        )
    if beginning.startswith(_ZIP) and _is_keras(path):
        tools = convert_keras(path, folder)
        model_path, reference = folder / TFLITE_NAME, folder / REFERENCE_NAME
    else:
        check_model_file(path)
        model_path, reference = path, None
    given = path.read_bytes()
    content = normalize(model_path.read_bytes(), scheme, path.name, signature)
    ready = folder / "source.tflite"
    ready.write_bytes(content)
    return Source(ready, content, read_graph(content), hashlib.sha256(given).hexdigest(), len(given), reference, tools)


def _beginning(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(len(_HDF5))
    except OSError:
        return b""  # check_model_file says what is wrong


def _is_keras(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return path.suffix == ".keras"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError):
        return path.suffix == ".keras"
    if MANIFEST_FILE in names and MODEL_FILE in names:
        raise ConversionError(f"{path} is an artifact already", hint="look into it with 'edgectl inspect'")
    return path.suffix == ".keras" or "config.json" in names
