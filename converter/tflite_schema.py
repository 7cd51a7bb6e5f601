"""What the converter must see inside a `.tflite`, and the repairs it needs before it can be quantized.

Reads through the generated schema (the laptop may; the device uses `inference.model_file`). Whether the file is a
model at all has been checked before; a damaged one still raises only `ConversionError`. The changes that make up a
scheme are left to `quantize`.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.errors import ConversionError

_SIGNATURE_KEY = "serving_default"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a subgraph."""

    name: str
    type: str  # FLOAT32, INT8, …
    shape: tuple[int, ...]
    signature: tuple[int, ...]  # the shape with -1 where it may change
    constant: bool
    quantized: bool
    finite: bool  # a constant float tensor without NaN and Inf
    stored_bytes: int = 0  # of a constant
    granularity: str | None = None  # of a quantized one: tensor, channel, block
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a subgraph; inputs and outputs are positions among its tensors, -1 where there is none."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Names for inputs and outputs: name → position among the tensors."""

    key: str
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(frozen=True, slots=True)
class Graph:
    """The main subgraph, the one that runs."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    signatures: tuple[Signature, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        """As the signature has them, in the order the engine takes them; without a signature, the tensors' names."""
        return self._names(self.inputs, self.signatures[0].inputs if self.signatures else {})

    @property
    def output_names(self) -> tuple[str, ...]:
        return self._names(self.outputs, self.signatures[0].outputs if self.signatures else {})

    def _names(self, positions: tuple[int, ...], named: dict[str, int]) -> tuple[str, ...]:
        by_position = {position: name for name, position in named.items()}
        return tuple(by_position.get(position, self.tensors[position].name) for position in positions)


@dataclass(frozen=True, slots=True)
class TensorView:
    """A constant tensor. `values` of whole bytes are the model's own memory: writing them changes the model."""

    values: NDArray[Any]  # of INT4 a copy, a byte for each
    scales: NDArray[np.float64]  # empty: not quantized
    axis: int  # which the scales belong to, where there are several
    shared: bool  # another tensor has the same buffer


def constant_tensors(content: bytearray) -> list[TensorView | None]:
    """The constant tensors of the main subgraph, by position; None for the others and for types not known here.

    Raises:
        ConversionError: the model is damaged.
    """
    with _reading():
        schema = _schema()
        model = schema.Model.GetRootAs(content, 0)
        main = model.Subgraphs(0)
        tensors = [main.Tensors(number) for number in range(main.TensorsLength())]
        uses = Counter(tensor.Buffer() for tensor in tensors)
        types = _names_of(schema.TensorType)
        return [
            _constant(tensor, _memory(tensor, model, content), types, shared=uses[tensor.Buffer()] > 1)
            for tensor in tensors
        ]


def read_graph(content: bytes) -> Graph:
    """The main subgraph of a model.

    Raises:
        ConversionError: the model is damaged.
    """
    with _reading():
        schema = _schema()
        model = schema.Model.GetRootAs(bytes(content), 0)
        main = model.Subgraphs(0)
        known, types = _names_of(schema.BuiltinOperator), _names_of(schema.TensorType)
        codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
        names = [_operator_name(code, known) for code in codes]
        tensors = [main.Tensors(number) for number in range(main.TensorsLength())]
        return Graph(
            inputs=_ints(main.InputsAsNumpy()),
            outputs=_ints(main.OutputsAsNumpy()),
            tensors=tuple(_tensor(tensor, types, _memory(tensor, model, content)) for tensor in tensors),
            operators=tuple(_operator(main.Operators(number), names) for number in range(main.OperatorsLength())),
            signatures=tuple(_signature(model.SignatureDefs(number)) for number in range(model.SignatureDefsLength())),
        )


def fix_batch(content: bytes) -> bytes:
    """The model with every changeable batch (-1 in front) fixed to what it is stored as; else the same bytes."""
    changed = bytearray(content)
    with _reading():
        model = _schema().Model.GetRootAs(changed, 0)
        for subgraph in (model.Subgraphs(number) for number in range(model.SubgraphsLength())):
            for tensor in (subgraph.Tensors(number) for number in range(subgraph.TensorsLength())):
                if tensor.ShapeSignatureLength() and tensor.ShapeLength() and tensor.ShapeSignature(0) == -1:
                    tensor.ShapeSignatureAsNumpy()[0] = tensor.Shape(0)  # a view: written in place
    return bytes(changed)


def renew_operator_codes(content: bytes) -> bytes:
    """The model with its operators named in the newer field too, which is all the quantizer reads; else the same bytes.

    Models made before TensorFlow 2.4 name them only in the older one (schema.fbs, table OperatorCode), and the
    quantizer takes every one of their operators for an ADD.
    """
    with _reading():
        model = _schema().Model.GetRootAs(bytes(content), 0)
        codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
        if all(code.BuiltinCode() >= code.DeprecatedBuiltinCode() for code in codes):
            return content
        tree = unpacked_model(content, "is of before TensorFlow 2.4")
        for code in tree.operatorCodes:
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        return packed_model(tree, len(content))


def add_signature(content: bytes) -> bytes:
    """The model with a signature named after its tensors, which static quantization needs."""
    schema = _schema()
    with _reading():
        model = unpacked_model(content, "has no signature")
        main = model.subgraphs[0]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = _SIGNATURE_KEY.encode(), 0
        signature.inputs, signature.outputs = (
            [_mapping(schema, main.tensors[position], position) for position in positions]
            for positions in (main.inputs, main.outputs)
        )
        model.signatureDefs = [signature]
        return packed_model(model, len(content))


def expose_tensors(content: bytes) -> bytes:
    """The model with the outputs of all its operators among its own, behind those it has: each can be read, at full
    speed, for XNNPACK computes them as well. To be run here; it is no model to publish.
    """
    schema = _schema()
    with _reading():
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytes(content), 0))
        for buffer in model.buffers:
            if buffer.offset > 1:  # values behind the flatbuffer, which is packed anew
                buffer.data = np.frombuffer(content[buffer.offset : buffer.offset + buffer.size], np.uint8)
                buffer.offset = buffer.size = 0
        main = model.subgraphs[0]
        made = (int(position) for operator in main.operators for position in operator.outputs if position >= 0)
        main.outputs = list(dict.fromkeys([*(int(position) for position in main.outputs), *made]))
        return packed_model(model, len(content))


def name_ends(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The model with these names for its inputs and outputs, in its signature and as its tensors.

    litert-torch counts them instead (args_0, output_0), since Python's arguments cannot have every name. An input may
    be an output too; then it keeps the name of the input.
    """
    with _reading():
        model = unpacked_model(content, "has to be given names")
        (signature,) = model.signatureDefs
        tensors = model.subgraphs[signature.subgraphIndex].tensors
        for mappings, names in ((signature.outputs, outputs), (signature.inputs, inputs)):
            for mapping in mappings:
                name = names[int(_text(mapping.name).rpartition("_")[2])].encode()
                mapping.name = tensors[mapping.tensorIndex].name = name
        return packed_model(model, len(content))


def fused_activations(content: bytes) -> list[str]:
    """The activation function fused into each operator of the main subgraph: as NONE, RELU or RELU6."""
    schema = _schema()
    with _reading():
        operators = unpacked_model(content, "is looked into").subgraphs[0].operators
        known = _names_of(schema.ActivationFunctionType)
        codes = [getattr(operator.builtinOptions, "fusedActivationFunction", 0) for operator in operators]
        return [known.get(code, f"ACTIVATION_{code}") for code in codes]


def float_results(graph: Graph, *, activations: bool) -> list[tuple[str, str]]:
    """Operators that still compute in float, each with its first output: with `activations` those with a float result
    (int8), unless their weights are integers; else those with float weights (dynamic, float16).
    """
    found = []
    for operator in graph.operators:
        if operator.name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        results = [graph.tensors[position] for position in operator.outputs if position >= 0]
        weights = [graph.tensors[position] for position in operator.inputs if position >= 0]
        weights = [tensor for tensor in weights if tensor.constant and len(tensor.shape) > 1]
        if activations:
            is_float = any(tensor.type == "FLOAT32" for tensor in results)
            is_float = is_float and not any(tensor.quantized for tensor in weights)
        else:
            is_float = any(tensor.type == "FLOAT32" for tensor in weights)
        if is_float:
            found.append((operator.name, results[0].name if results else ""))
    return found


def count_partitions(path: Path) -> int:
    """Parts of the graph XNNPACK took; 1 is best. Loads the model: only in a child process."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    operators: Any = interpreter._get_ops_details()  # noqa: SLF001  # LiteRT has no public way to ask
    return sum(1 for operator in operators if operator["op_name"] == "DELEGATE")


def unpacked_model(content: bytes, trait: str) -> Any:
    """The model as objects that can be changed (`ModelT` of the schema); `trait` says in an error why that is needed.

    Raises:
        ConversionError: its weights lie outside of the flatbuffer.
    """
    schema = _schema()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytes(content), 0))
    if any(buffer.offset for buffer in model.buffers or ()):
        raise ConversionError(f"the model keeps its weights outside of the flatbuffer and {trait}")
    return model


def packed_model(model: Any, size_bytes: int) -> bytes:
    """The bytes of such objects; `size_bytes` is a guess of how many."""
    from flatbuffers import Builder

    builder = Builder(size_bytes + 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _schema() -> Any:
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (
        struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, KeyError, MemoryError
    ) as error:  # fmt: skip
        raise ConversionError(
            f"the model is damaged: {error}", hint="copy it again, or export it again where it was trained"
        ) from error


def _ints(array: Any) -> tuple[int, ...]:
    return () if isinstance(array, int) else tuple(int(value) for value in array)  # 0 stands for an absent vector


def _reals(array: Any) -> tuple[float, ...]:
    return () if isinstance(array, int) else tuple(float(value) for value in array)


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")


def _names_of(enumeration: type) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


def _operator_name(code: Any, known: dict[int, str]) -> str:
    # the newer field stands where the older one, a byte, is too small (schema.fbs, table OperatorCode)
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = known.get(number, f"BUILTIN_{number}")
    return _text(code.CustomCode()) if name == "CUSTOM" else name


def _tensor(tensor: Any, types: dict[int, str], stored: NDArray[np.uint8]) -> Tensor:
    shape = _ints(tensor.ShapeAsNumpy())
    quantization = tensor.Quantization()
    kind = types.get(tensor.Type(), f"TYPE_{tensor.Type()}")
    return Tensor(
        name=_text(tensor.Name()),
        type=kind,
        shape=shape,
        signature=_ints(tensor.ShapeSignatureAsNumpy()) or shape,
        constant=stored.size > 0,
        quantized=kind == "FLOAT16" or (quantization is not None and quantization.ScaleLength() > 0),
        finite=kind != "FLOAT32" or bool(np.isfinite(stored.view("<f4")).all()),
        stored_bytes=stored.size,
        granularity=_granularity(quantization),
        scales=_reals(quantization.ScaleAsNumpy()) if quantization else (),
        zero_points=_ints(quantization.ZeroPointAsNumpy()) if quantization else (),
    )


def _granularity(quantization: Any) -> str | None:
    if quantization is None:
        return None
    if quantization.DetailsType() == _schema().QuantizationDetails.BlockwiseQuantization:
        return "block"
    scales = quantization.ScaleLength()
    return ("tensor" if scales == 1 else "channel") if scales else None


def _memory(tensor: Any, model: Any, content: bytes | bytearray) -> NDArray[np.uint8]:
    """The bytes of a tensor, where they lie in `content`: uint8 [n]; none of one that is computed."""
    if not model.BuffersLength() and not tensor.Buffer():
        return np.empty(0, np.uint8)  # the list of buffers, whose first one would say so, is left out
    buffer = model.Buffers(tensor.Buffer())
    if buffer.Offset() > 1:  # behind the flatbuffer (schema.fbs, table Buffer)
        return np.frombuffer(content, np.uint8)[buffer.Offset() : buffer.Offset() + buffer.Size()]
    found: NDArray[np.uint8] = buffer.DataAsNumpy() if buffer.DataLength() else np.empty(0, np.uint8)
    return found


_STORED = {"FLOAT32": "<f4", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"}


def _constant(tensor: Any, raw: NDArray[np.uint8], types: dict[int, str], *, shared: bool) -> TensorView | None:
    kind = types.get(tensor.Type())
    if raw.size == 0 or (kind not in _STORED and kind != "INT4"):
        return None
    shape = _ints(tensor.ShapeAsNumpy())
    if kind == "INT4":  # two in a byte, the lower half first
        halves = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1)[: math.prod(shape)].astype(np.int8)
        values = np.where(halves > 7, halves - 16, halves).reshape(shape)
    else:
        values = raw.view(_STORED[kind]).reshape(shape)
    quantization = tensor.Quantization()
    scaled = quantization is not None and quantization.ScaleLength() > 0
    scales = quantization.ScaleAsNumpy().astype(np.float64) if scaled else np.empty(0)
    return TensorView(values, scales, quantization.QuantizedDimension() if scaled else 0, shared)


def _operator(operator: Any, names: list[str]) -> Operator:
    return Operator(names[operator.OpcodeIndex()], _ints(operator.InputsAsNumpy()), _ints(operator.OutputsAsNumpy()))


def _signature(signature: Any) -> Signature:
    inputs = [signature.Inputs(number) for number in range(signature.InputsLength())]
    outputs = [signature.Outputs(number) for number in range(signature.OutputsLength())]
    return Signature(
        _text(signature.SignatureKey()),
        {_text(mapping.Name()): int(mapping.TensorIndex()) for mapping in inputs},
        {_text(mapping.Name()): int(mapping.TensorIndex()) for mapping in outputs},
    )


def _mapping(schema: Any, tensor: Any, position: int) -> Any:
    mapping = schema.TensorMapT()
    mapping.name, mapping.tensorIndex = tensor.name or f"tensor_{position}".encode(), int(position)
    return mapping
