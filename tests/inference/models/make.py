"""Makes the models beside it: `python -m tests.inference.models.make`. Same script, same bytes.

running_sum.tflite   next_sum = sum + x; y = next_sum x gain; float32[1,2], gain float32[]. Its signature is `step`.
                     edge_agent/doctor/tiny.tflite, which the doctor tries the interpreter with, is the same.
closed_batch.tflite  y = x reshaped to [1,2]; float32[-1,2]: its batch looks open, and a reshape within closes it. Its
                     signature is `run`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FOLDER = Path(__file__).parent
TINY = FOLDER.parents[2] / "edge_agent" / "doctor" / "tiny.tflite"
_EMPTY = 0  # the buffer that stands for "no values"


def main() -> None:
    for path in (FOLDER / "running_sum.tflite", TINY):
        path.write_bytes(running_sum())
    (FOLDER / "closed_batch.tflite").write_bytes(closed_batch())


def running_sum() -> bytes:
    tensors = [_tensor("x", (1, 2)), _tensor("sum", (1, 2)), _tensor("gain", ()), _tensor("next_sum", (1, 2))]
    tensors.append(_tensor("y", (1, 2)))
    add, multiply = schema.AddOptionsT(), schema.MulOptionsT()
    operators = [
        _operator(0, [0, 1], [3], schema.BuiltinOptions.AddOptions, add),
        _operator(1, [3, 2], [4], schema.BuiltinOptions.MulOptions, multiply),
    ]
    signature = _signature("step", {"x": 0, "sum": 1, "gain": 2}, {"next_sum": 3, "y": 4})
    codes = [schema.BuiltinOperator.ADD, schema.BuiltinOperator.MUL]
    return _model(_graph(tensors, [0, 1, 2], [3, 4], operators), codes, [signature], [b""])


def closed_batch() -> bytes:
    shape = _tensor("shape", (2,), kind=schema.TensorType.INT32, buffer=1)
    tensors = [_tensor("x", (1, 2), (-1, 2)), shape, _tensor("y", (1, 2), (-1, 2))]
    options = schema.ReshapeOptionsT()
    options.newShape = [1, 2]
    operators = [_operator(0, [0, 1], [2], schema.BuiltinOptions.ReshapeOptions, options)]
    signature = _signature("run", {"x": 0}, {"y": 2})
    content = np.array([1, 2], np.int32).tobytes()
    return _model(_graph(tensors, [0], [2], operators), [schema.BuiltinOperator.RESHAPE], [signature], [b"", content])


def doubled() -> bytes:
    """Gives y = x + x, both float32[]: made where it is needed."""
    operators = [_operator(0, [0, 0], [1], schema.BuiltinOptions.AddOptions, schema.AddOptionsT())]
    graph = _graph([_tensor("x", ()), _tensor("y", ())], [0], [1], operators)
    return _model(graph, [schema.BuiltinOperator.ADD], [], [b""])


def _tensor(
    name: str,
    shape: Sequence[int],
    signature: Sequence[int] | None = None,
    *,
    kind: int = schema.TensorType.FLOAT32,
    buffer: int = _EMPTY,
) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
    if signature is not None:
        tensor.shapeSignature = list(signature)
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], kind: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _signature(key: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = key
    signature.inputs, signature.outputs = _named(inputs), _named(outputs)
    return signature


def _named(tensors: Mapping[str, int]) -> list[Any]:
    entries = []
    for name, index in tensors.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        entries.append(entry)
    return entries


def _graph(tensors: list[Any], inputs: list[int], outputs: list[int], operators: list[Any]) -> Any:
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, inputs, outputs, operators
    return graph


def _model(graph: Any, codes: list[int], signatures: list[Any], buffers: list[bytes]) -> bytes:
    model = schema.ModelT()
    model.version = 3
    model.subgraphs = [graph]
    model.signatureDefs = signatures
    model.operatorCodes = []
    for code in codes:
        entry = schema.OperatorCodeT()
        entry.deprecatedBuiltinCode = entry.builtinCode = code
        entry.version = 1
        model.operatorCodes.append(entry)
    model.buffers = []
    for content in buffers:
        buffer = schema.BufferT()
        buffer.data = list(content) or None
        model.buffers.append(buffer)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    main()
