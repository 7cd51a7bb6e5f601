"""The constants of a model as numbers: its weights and biases, real again where they are quantized."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
# by name of TensorType; others (int4 and the like are packed) are not read
_DTYPES = {
    "FLOAT32": "<f4", "FLOAT16": "<f2", "FLOAT64": "<f8", "INT8": "i1", "UINT8": "u1", "INT16": "<i2", "UINT16": "<u2",
    "INT32": "<i4", "UINT32": "<u4", "INT64": "<i8", "UINT64": "<u8", "BOOL": "?",
}  # fmt: skip


class Constants:
    """Of the main subgraph of a model that has been read without an error (`tflite_schema.read_graph`)."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._content = content
        self._model: Any = schema.Model.GetRootAs(content, 0)
        self._graph: Any = self._model.Subgraphs(0)
        self._names = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}

    def stored(self, position: int) -> bytes:
        """The bytes of a tensor, by its position; none of one that is computed."""
        buffer = self._model.Buffers(self._graph.Tensors(position).Buffer())
        if buffer.Offset() > 1:  # values behind the flatbuffer (schema.fbs, table Buffer)
            return self._content[buffer.Offset() : buffer.Offset() + buffer.Size()]
        return bytes(buffer.DataAsNumpy().tobytes()) if buffer.DataLength() else b""

    def real(self, position: int) -> Real | None:
        """Its values in its shape; None of one that is computed, packed, or not as large as its shape says."""
        tensor = self._graph.Tensors(position)
        dtype = _DTYPES.get(self._names.get(tensor.Type(), ""))
        stored = self.stored(position)
        shape = tuple(int(tensor.Shape(number)) for number in range(tensor.ShapeLength()))
        if dtype is None or not stored or len(stored) != np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64)):
            return None
        values = np.frombuffer(stored, dtype).reshape(shape).astype(np.float64)
        quantization = tensor.Quantization()
        if quantization is None or not quantization.ScaleLength():
            return values
        scales = np.asarray(quantization.ScaleAsNumpy(), np.float64)
        zero_points = np.zeros_like(scales)
        if quantization.ZeroPointLength() == len(scales):
            zero_points = np.asarray(quantization.ZeroPointAsNumpy(), np.float64)
        if len(scales) > 1:
            axis = int(quantization.QuantizedDimension())
            if axis >= len(shape) or shape[axis] != len(scales):
                return None
            along = [1] * len(shape)
            along[axis] = len(scales)
            scales, zero_points = scales.reshape(along), zero_points.reshape(along)
        real: Real = (values - zero_points) * scales
        return real
