"""What a model's author wrote into it: TensorFlow Lite metadata, and the files appended to the model as a zip.

Source: tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs (slot numbers below are its fields).
Only what an input or output transform needs is read. Writing it is left to the converter.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_agent.inference.flatbuffer import Table, root_table

ENTRY_NAME = "TFLITE_METADATA"  # of the model's own metadata vector
_IDENTIFIER = b"M001"
_MAX_ASSOCIATED_BYTES = 8_000_000
_NORMALIZATION = 1  # ProcessUnitOptions
_IMAGE = 2  # ContentProperties
_LABELS = (2, 3)  # AssociatedFileType: TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS
_COLORS: dict[int, Literal["rgb", "gray"]] = {1: "rgb", 2: "gray"}  # ColorSpaceType


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """Of one input or output."""

    name: str
    description: str
    mean: tuple[float, ...] = ()  # real value = (sample - mean) / std; empty: not stated
    std: tuple[float, ...] = ()
    color: Literal["rgb", "gray"] | None = None
    label_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metadata:
    """Of the whole model."""

    name: str
    description: str
    version: str
    author: str
    license: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


def parse_metadata(content: bytes) -> Metadata:
    """Read the metadata buffer of a model.

    Raises:
        DamagedError: it is not metadata.
    """
    root = root_table(content, _IDENTIFIER)
    subgraphs = root.tables(3)
    first = subgraphs[0] if subgraphs else None
    return Metadata(
        name=root.text(0),
        description=root.text(1),
        version=root.text(2),
        author=root.text(4),
        license=root.text(5),
        inputs=tuple(_tensor(table) for table in first.tables(2)) if first else (),
        outputs=tuple(_tensor(table) for table in first.tables(3)) if first else (),
    )


def read_associated_files(path: Path) -> dict[str, bytes]:
    """The files in the zip at the end of a model; none where there is no zip, or a broken one."""
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [info for info in archive.infolist() if info.file_size <= _MAX_ASSOCIATED_BYTES]
            return {info.filename: archive.read(info) for info in wanted if not info.is_dir()}
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return {}


def _tensor(table: Table) -> TensorMetadata:
    mean, std = _normalization(table)
    labels = [file.text(0) for file in table.tables(6) if file.number(2, "i8") in _LABELS]
    return TensorMetadata(table.text(0), table.text(1), mean, std, _color(table), tuple(labels))


def _normalization(table: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in table.tables(4):
        options = unit.table(1)
        if unit.number(0, "u8") == _NORMALIZATION and options is not None:
            return options.numbers(0, "f32"), options.numbers(1, "f32")
    return (), ()


def _color(table: Table) -> Literal["rgb", "gray"] | None:
    content = table.table(3)
    if content is None or content.number(0, "u8") != _IMAGE:
        return None
    image = content.table(1)
    return _COLORS.get(image.number(0, "i8")) if image is not None else None
