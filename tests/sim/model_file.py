"""Descriptions of models that there are not, and metadata as its writers lay it out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from edge_agent.inference.metadata import Metadata, TensorMetadata
from edge_agent.inference.model_file import FileTensor, ModelFile, Signature
from edge_agent.transform.tensor import Quantization, TensorSpec

Tree = Mapping[int, Any]


def tensor(name: str, *shape: int, dtype: Any = np.float32, scale: float = 0.0, zero_point: int = 0) -> TensorSpec:
    quantization = Quantization(scale, zero_point) if scale else None
    return TensorSpec(name, shape, np.dtype(dtype), quantization)


def describe(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    operators: Sequence[str] = (),
    signatures: Sequence[Signature] = (),
    metadata: tuple[Sequence[TensorMetadata], Sequence[TensorMetadata]] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> ModelFile:
    """As `inspect_model` would of a model with these inputs and outputs. `metadata` is that of either."""
    if not path.exists():
        path.write_bytes(b"a model")
    said = Metadata("", "", "", "", "", tuple(metadata[0]), tuple(metadata[1])) if metadata else None
    return ModelFile(
        path=path,
        size_bytes=7,
        description="",
        operators=(),
        tensors=(),
        inputs=tuple(map(_of_file, inputs)),
        outputs=tuple(map(_of_file, outputs)),
        output_operators=tuple(operators) or ("",) * len(outputs),
        signatures=tuple(signatures),
        metadata=said,
        associated_files=dict(files or {}),
    )


def build_table(tree: Tree, identifier: bytes) -> bytes:
    """A flatbuffer. A slot's value: a table (a mapping), a vector of tables, strings or numbers, a string, bytes, or a
    number with its kind.
    """
    builder = flatbuffers.Builder(0)
    builder.Finish(_table(builder, tree), file_identifier=identifier)
    return bytes(builder.Output())


def _of_file(spec: TensorSpec) -> FileTensor:
    quantization = spec.quantization
    scales, zeros = ((quantization.scale,), (quantization.zero_point,)) if quantization else ((), ())
    return FileTensor(spec.name, spec.dtype.name, spec.shape, spec.shape, scales, zeros, 0)


def _table(builder: Any, tree: Tree) -> int:
    offsets = {slot: _offset(builder, value) for slot, value in tree.items() if not isinstance(value, tuple)}
    builder.StartObject(max(tree, default=-1) + 1)
    for slot, value in tree.items():
        if isinstance(value, tuple):
            getattr(builder, f"Prepend{value[0]}Slot")(slot, value[1], None)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    return int(builder.EndObject())


def _offset(builder: Any, value: Any) -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, bytes):
        return int(builder.CreateByteVector(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, Mapping):
        return _table(builder, value)
    offsets = [_offset(builder, item) for item in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
