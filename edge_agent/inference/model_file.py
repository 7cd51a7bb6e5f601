"""Reading a `.tflite` without running it: operators, tensors, quantization, signatures, metadata, label files.

Neither an interpreter nor numpy here. An interpreter of the older kind crashes on a damaged file, so engines read a
model with this first: all tables, all lengths, all indices. Source of the slot numbers:
tensorflow/compiler/mlir/lite/schema/schema.fbs. What a file is that is no model is told by `file_kind`.
"""

import mmap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge_agent.errors import ModelError, Reason
from edge_agent.inference.file_kind import IDENTIFIER, check_is_tflite
from edge_agent.inference.flatbuffer import Buffer, DamagedError, Table, root_table
from edge_agent.inference.flexbuffer import read_integer
from edge_agent.inference.metadata import (
    ENTRY_NAME,
    Metadata,
    TensorMetadata,
    parse_metadata,
    read_associated_files,
)
from edge_agent.inference.operators import (
    CUSTOM,
    DETECTION_POSTPROCESS,
    EDGE_TPU_OPERATOR,
    FLEX_PREFIX,
    KNOWN_CUSTOM,
    operator_name,
)
from edge_agent.inference.ultralytics import ExportNotes, parse_export_notes
from edge_agent.tasks.labels import parse_labels

Item = TypeVar("Item")

# enum TensorType, by number
_DTYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64",
    "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4",
)  # fmt: skip
_SCHEMA_VERSION = 3
# Operators that pass values on: the one that makes an output stands before them.
_PASSING = ("RESHAPE", "QUANTIZE", "DEQUANTIZE", "SQUEEZE", "CAST")


@dataclass(frozen=True, slots=True)
class FileOperator:
    """A kind of operator, and how often the model uses it."""

    name: str
    count: int
    custom: bool


@dataclass(frozen=True, slots=True)
class FileTensor:
    """One tensor as the file describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    dynamic_shape: tuple[int, ...]  # -1 where the size is open; equal to `shape` where none is
    scales: tuple[float, ...]  # empty: not quantized; several: per channel
    zero_points: tuple[int, ...]
    constant_bytes: int  # 0: computed, not stored

    @property
    def per_channel(self) -> bool:
        return len(self.scales) > 1


@dataclass(frozen=True, slots=True)
class Signature:
    """A named entry: its own names for inputs and outputs → names of tensors."""

    key: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    output_operators: dict[str, str]  # its own name of an output → what makes it
    graph: int = 0  # 0: the main graph, which runs where no signature is chosen


@dataclass(frozen=True, slots=True)
class ModelFile:
    """All that can be known of a model without running it."""

    path: Path
    size_bytes: int
    description: str
    operators: tuple[FileOperator, ...]  # the commonest first
    tensors: tuple[FileTensor, ...]  # of all subgraphs
    inputs: tuple[FileTensor, ...]  # of the first subgraph, the one that runs
    outputs: tuple[FileTensor, ...]
    output_operators: tuple[str, ...]  # what makes each output, for example SOFTMAX; "" where nothing does
    signatures: tuple[Signature, ...]
    metadata: Metadata | None
    associated_files: dict[str, bytes]
    detection_classes: int | None = None  # of the operator that ends an SSD, without the background; None: it has none

    @property
    def unsupported_operators(self) -> tuple[str, ...]:
        """Custom and Flex operators that no interpreter of ours brings along."""
        return tuple(item.name for item in self.operators if item.custom and item.name not in KNOWN_CUSTOM)

    @property
    def flex_operators(self) -> tuple[str, ...]:
        return tuple(name for name in self.unsupported_operators if name.startswith(FLEX_PREFIX))

    @property
    def needs_edge_tpu(self) -> bool:
        return EDGE_TPU_OPERATOR in self.unsupported_operators

    @property
    def export_notes(self) -> ExportNotes | None:
        """What Ultralytics' exporter wrote into the model; None where it was another one."""
        return parse_export_notes(self.associated_files)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the first output that has any, else those the exporter wrote, else of the only text file."""
        named = next(filter(None, map(self.labels_of, self.metadata.outputs if self.metadata else ())), ())
        notes = self.export_notes
        texts = [name for name in self.associated_files if name.endswith(".txt")]
        return named or (notes.names if notes else self._parsed(texts) if len(texts) == 1 else ())

    def labels_of(self, output: TensorMetadata) -> tuple[str, ...]:
        """The labels that the metadata names for an output; () where none."""
        return self._parsed(output.label_files)

    def _parsed(self, files: Sequence[str]) -> tuple[str, ...]:
        """Of the first of these files that is there."""
        content = next((self.associated_files[name] for name in files if name in self.associated_files), b"")
        try:
            return parse_labels(content)
        except ValueError:
            return ()


def check_model_file(path: Path) -> None:
    """Nothing, if the file is a whole TensorFlow Lite model.

    Raises:
        ModelError: NOT_A_MODEL, saying what it is and what to do.
    """
    inspect_model(path)


def inspect_model(path: Path) -> ModelFile:
    """Read the description of a model.

    Raises:
        ModelError: NOT_A_MODEL, as `check_model_file`.
    """
    check_is_tflite(path)
    with _mapped(path) as buffer:
        return _read(path, buffer)


@contextmanager
def _mapped(path: Path) -> Iterator[Buffer]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            yield buffer
    except (DamagedError, MemoryError) as error:
        raise ModelError(
            f"{path} is a TensorFlow Lite model, but cut off or damaged: {error}",
            reason=Reason.NOT_A_MODEL,
            hint="copy or download it again, and compare its size with the original",
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}", reason=Reason.NOT_A_MODEL, hint="check the path") from error


def _read(path: Path, buffer: Buffer) -> ModelFile:
    root = root_table(buffer, IDENTIFIER)
    version = root.number(0, "u32")
    if version != _SCHEMA_VERSION:
        raise DamagedError(f"schema version {version} instead of {_SCHEMA_VERSION}")
    # Buffer 0 stands for "no values", also where the list itself is left out.
    buffer_sizes = [_buffer_size(table, len(buffer)) for table in root.tables(4)] or [0]
    codes = [_operator_code(table) for table in root.tables(1)]
    subgraphs = [_Subgraph(table, codes, buffer_sizes) for table in root.tables(2)]
    if not subgraphs:
        raise DamagedError("it holds no graph")
    first = subgraphs[0]
    counts = Counter(code for subgraph in subgraphs for code, _ in subgraph.operators)
    return ModelFile(
        path=path,
        size_bytes=len(buffer),
        description=root.text(3),
        operators=tuple(FileOperator(name, count, custom) for (name, custom), count in counts.most_common()),
        tensors=tuple(tensor for subgraph in subgraphs for tensor in subgraph.tensors),
        inputs=tuple(_at(first.tensors, index) for index in first.inputs),
        outputs=tuple(_at(first.tensors, index) for index in first.outputs),
        output_operators=tuple(first.maker(index) for index in first.outputs),
        signatures=tuple(_signature(table, subgraphs) for table in root.tables(7)),
        metadata=_metadata(root),
        associated_files=read_associated_files(path),
        detection_classes=next(filter(None, map(_detection_classes, first.operators)), None),
    )


class _Subgraph:
    """Tensors and operators of one graph, all indices checked."""

    def __init__(self, table: Table, codes: list[tuple[str, bool]], buffer_sizes: list[int]) -> None:
        self.tensors = [_tensor(tensor, buffer_sizes) for tensor in table.tables(0)]
        self.inputs = table.integers(1, "i32")
        self.outputs = table.integers(2, "i32")
        self.operators: list[tuple[tuple[str, bool], Table]] = []
        self._makers: dict[int, tuple[str, tuple[int, ...]]] = {}  # tensor → operator and its inputs
        for operator in table.tables(3):
            code = _at(codes, operator.number(0, "u32"))
            inputs, outputs = operator.integers(1, "i32"), operator.integers(2, "i32")
            for index in (*inputs, *outputs):
                if index != -1:  # an optional input that is left out
                    _at(self.tensors, index)
            self.operators.append((code, operator))
            self._makers.update(dict.fromkeys(outputs, (code[0], inputs)))

    def maker(self, tensor: int) -> str:
        """The operator that makes a tensor's values, looking through those that only pass them on."""
        name = ""
        for _ in range(len(_PASSING) + 1):
            name, inputs = self._makers.get(tensor, ("", ()))
            if name not in _PASSING or not inputs:
                break
            tensor = inputs[0]
        return name


def _detection_classes(operator: tuple[tuple[str, bool], Table]) -> int | None:
    """Its option num_classes (tensorflow/lite/kernels/detection_postprocess.cc, Init)."""
    (name, _), table = operator
    options = table.octets(5) if name == DETECTION_POSTPROCESS else None
    try:
        return read_integer(options, "num_classes") if options else None
    except DamagedError:
        return None  # the interpreter will say so


def _operator_code(table: Table) -> tuple[str, bool]:
    """Name, and whether it is a custom operator. The newer field stands where the older one, a byte, is too small."""
    code = max(table.number(0, "i8"), table.number(3, "i32"))
    return (table.text(1) or "unnamed custom operator", True) if code == CUSTOM else (operator_name(code), False)


def _buffer_size(table: Table, file_bytes: int) -> int:
    inside = table.octets_size(0)
    offset, size = table.number(1, "u64"), table.number(2, "u64")
    if offset > 1:  # models of more than 2 GB keep their values behind the flatbuffer
        if offset + size > file_bytes:
            raise DamagedError(f"values end at byte {offset + size} of {file_bytes}")
        return size
    return inside or 0


def _tensor(table: Table, buffer_sizes: list[int]) -> FileTensor:
    shape = table.integers(0, "i32")
    number = table.number(1, "i8")
    quantization = table.table(4)
    return FileTensor(
        name=table.text(3),
        dtype=_DTYPES[number] if 0 <= number < len(_DTYPES) else f"type {number}",
        shape=shape,
        dynamic_shape=table.integers(7, "i32") or shape,
        scales=quantization.numbers(2, "f32") if quantization else (),
        zero_points=quantization.integers(3, "i64") if quantization else (),
        constant_bytes=_at(buffer_sizes, table.number(2, "u32")),
    )


def _signature(table: Table, subgraphs: list[_Subgraph]) -> Signature:
    number = table.number(4, "u32")
    subgraph = _at(subgraphs, number)
    inputs, outputs = ({entry.text(0): entry.number(1, "u32") for entry in table.tables(slot)} for slot in (0, 1))
    return Signature(
        key=table.text(2),
        inputs={name: _at(subgraph.tensors, index).name for name, index in inputs.items()},
        outputs={name: _at(subgraph.tensors, index).name for name, index in outputs.items()},
        output_operators={name: subgraph.maker(index) for name, index in outputs.items()},
        graph=number,
    )


def _metadata(root: Table) -> Metadata | None:
    """The author's metadata; None where there is none, or it is damaged: the model runs without."""
    for entry in root.tables(6):
        if entry.text(0) == ENTRY_NAME:
            buffers = root.tables(4)
            content = _at(buffers, entry.number(1, "u32")).octets(0)
            try:
                return parse_metadata(content) if content else None
            except DamagedError:
                return None
    return None


def _at(items: list[Item], index: int) -> Item:
    if not 0 <= index < len(items):
        raise DamagedError(f"index {index} of {len(items)}")
    return items[index]
