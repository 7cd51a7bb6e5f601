"""What a model's author wrote into it: TensorFlow Lite metadata, and the files appended to the model as a zip.

Sources: tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs, and its later versions in MediaPipe,
mediapipe/tasks/metadata/metadata_schema.fbs (1.5.0); the slot numbers below are its fields. All of it is read that an
input or output transform can use; what it means for a model is left to `guess`, writing it to the converter.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_agent.inference.flatbuffer import Table, root_table

ENTRY_NAME = "TFLITE_METADATA"  # of the model's own metadata vector
_IDENTIFIER = b"M001"
_MAX_ASSOCIATED_BYTES = 8_000_000
_NORMALIZATION, _CALIBRATION, _THRESHOLD = 1, 2, 3  # ProcessUnitOptions
_LABELS = (2, 3)  # AssociatedFileType: TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS
_COLORS: dict[int, Literal["rgb", "gray"]] = {1: "rgb", 2: "gray"}  # ColorSpaceType

Content = Literal["feature", "image", "boxes", "audio"]
_CONTENTS: dict[int, Content] = {1: "feature", 2: "image", 3: "boxes", 4: "audio"}  # ContentProperties
Corners = Literal["boundaries", "upper_left", "center"]
_CORNERS: dict[int, Corners] = {1: "boundaries", 2: "upper_left", 3: "center"}  # BoundingBoxType

# A table without fields: its vtable (4 bytes long, of a table of 4), then the table's offset back to it.
_NOTHING = Table(b"\x04\x00\x04\x00\x04\x00\x00\x00", 4)


@dataclass(frozen=True, slots=True)
class BoxLayout:
    """How the numbers of an output make boxes."""

    # boundaries: left, top, right, bottom; upper_left: x, y, width, height; center: x, y, width, height
    corners: Corners | None
    index: tuple[int, ...]  # where each of these stands; (): in their order
    units: Literal["normalized", "pixels"]


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """Of one input or output."""

    name: str
    description: str
    mean: tuple[float, ...] = ()  # real value = (sample - mean) / std; empty: not stated
    std: tuple[float, ...] = ()
    color: Literal["rgb", "gray"] | None = None
    label_files: tuple[str, ...] = ()  # those of no language first
    content: Content | None = None
    sample_rate_hz: int | None = None  # of sound
    channels: int | None = None  # of sound
    boxes: BoxLayout | None = None
    score_threshold: float | None = None
    calibrated: bool = False  # scores go through a calibration of their own (ScoreCalibrationOptions)
    low: tuple[float, ...] = ()  # the least and the largest value, one or one per channel; empty: not stated
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """Tensors that belong together, by their names in the metadata."""

    name: str
    tensors: tuple[str, ...]


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
    output_groups: tuple[TensorGroup, ...] = ()


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
        output_groups=tuple(TensorGroup(table.text(0), table.texts(1)) for table in first.tables(8)) if first else (),
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
    holder = table.table(3)
    content = _CONTENTS.get(holder.number(0, "u8")) if holder else None
    properties = (holder.table(1) if holder else None) or _NOTHING
    units = {unit.number(0, "u8"): unit.table(1) or _NOTHING for unit in reversed(table.tables(4))}
    normalization, threshold = units.get(_NORMALIZATION, _NOTHING), units.get(_THRESHOLD)
    stats = table.table(5) or _NOTHING
    return TensorMetadata(
        name=table.text(0),
        description=table.text(1),
        mean=normalization.numbers(0, "f32"),
        std=normalization.numbers(1, "f32"),
        color=_COLORS.get(properties.number(0, "i8")) if content == "image" else None,
        label_files=_label_files(table),
        content=content,
        sample_rate_hz=(properties.number(0, "u32") or None) if content == "audio" else None,
        channels=(properties.number(1, "u32") or None) if content == "audio" else None,
        boxes=_boxes(properties) if content == "boxes" else None,
        score_threshold=threshold.real(0) if threshold else None,
        calibrated=_CALIBRATION in units,
        low=stats.numbers(1, "f32"),
        high=stats.numbers(0, "f32"),
    )


def _label_files(table: Table) -> tuple[str, ...]:
    """Of several, the first is to be used; others are told apart by their language (AssociatedFileType)."""
    found = [file for file in table.tables(6) if file.number(2, "i8") in _LABELS]
    return tuple(file.text(0) for file in sorted(found, key=lambda file: bool(file.text(3))))


def _boxes(properties: Table) -> BoxLayout:
    return BoxLayout(
        corners=_CORNERS.get(properties.number(1, "i8")),
        index=properties.integers(0, "u32"),
        units="pixels" if properties.number(2, "i8") == 1 else "normalized",
    )
