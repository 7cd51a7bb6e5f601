"""An ONNX file as values: graphs, nodes, weights. Read without the onnx package; nothing is run.

Source: onnx.proto of ONNX 1.23, whose field numbers stand here. Weights that lie in files of their own are read too.
What is done with the values is left to `shapes`, `plan` and the tables of operators.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.errors import ConversionError
from converter.frontends.onnx_model import wire
from converter.frontends.onnx_model.wire import WireError

Array = NDArray[Any]

# TensorProto.DataType; types without an entry (strings, 4 bits, 8-bit floats) cannot be read.
DTYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype(np.float32), 2: np.dtype(np.uint8), 3: np.dtype(np.int8), 4: np.dtype(np.uint16),
    5: np.dtype(np.int16), 6: np.dtype(np.int32), 7: np.dtype(np.int64), 9: np.dtype(np.bool_),
    10: np.dtype(np.float16), 11: np.dtype(np.float64), 12: np.dtype(np.uint32), 13: np.dtype(np.uint64),
    16: np.dtype(np.float32),
}  # fmt: skip
_STRING, _FLOAT16, _BFLOAT16 = 8, 10, 16
_EXTERNAL = 1
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. An empty name among inputs and outputs stands for one that is left out."""

    operator: str
    domain: str  # "" for ONNX's own
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]  # float, int, str, lists of them, an array, or a Graph

    @property
    def called(self) -> str:
        return f"{self.domain}.{self.operator}" if self.domain else self.operator

    @property
    def graphs(self) -> tuple["Graph", ...]:
        return tuple(value for value in self.attributes.values() if isinstance(value, Graph))


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of a graph: `shape` has numbers, names, or None where nothing is said."""

    name: str
    type: int | None  # TensorProto.DataType; None: a sequence, a map, or not said
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order in which they can be run."""

    nodes: tuple[Node, ...]
    weights: Mapping[str, Array]
    inputs: tuple[Value, ...]  # without the weights, which old files list too
    outputs: tuple[Value, ...]

    def walk(self) -> Iterator[Node]:
        """All nodes, those of inner graphs too."""
        for node in self.nodes:
            yield node
            for graph in node.graphs:
                yield from graph.walk()


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A whole file."""

    graph: Graph
    opsets: Mapping[str, int]  # by domain, "" for ONNX's own
    producer: str

    @property
    def opset(self) -> int:
        return self.opsets.get("", 1)


@dataclass(slots=True)
class _Reading:
    folder: Path
    missing: list[str] = field(default_factory=list)  # files with weights that are not there


def read_onnx(path: Path) -> OnnxModel:
    """Read a model with its weights.

    Raises:
        ConversionError: it cannot be read, is damaged, or a file with its weights is missing.
    """
    try:
        message = memoryview(path.read_bytes())
    except OSError as error:
        raise ConversionError(f"{path}: {error.strerror}", hint="check the path") from error
    reading = _Reading(path.parent)
    try:
        model = _model(message, reading)
    except (WireError, ValueError, TypeError, RecursionError) as error:
        raise ConversionError(
            f"{path} is not a whole ONNX file: {error}", hint="it may be cut off: copy it again, or export it again"
        ) from error
    if reading.missing:
        names = sorted(set(reading.missing))
        raise ConversionError(
            f"{path} keeps its weights in {', '.join(names[:_NAMED])}, which cannot be read whole beside it",
            hint="copy that file into the same folder, or export with the weights inside (external_data=False)",
        )
    return model


def _model(message: memoryview, reading: _Reading) -> OnnxModel:
    graph: Graph | None = None
    opsets: dict[str, int] = {}
    producer, functions = "", 0
    for number, value in wire.fields(message):
        if number == 2:
            producer = wire.text(value)
        elif number == 7:
            graph = _graph(wire.content(value), reading)
        elif number == 8:
            entry = dict(wire.fields(wire.content(value)))
            domain = wire.text(entry[1]) if 1 in entry else ""
            opsets["" if domain == "ai.onnx" else domain] = wire.integer(entry.get(2, 0))
        elif number == 25:
            functions += 1
    if graph is None:
        raise WireError("it has no graph")
    if not graph.outputs:
        raise WireError("its graph has no output")
    return OnnxModel(graph, opsets, producer)


def _graph(message: memoryview, reading: _Reading) -> Graph:
    nodes: list[Node] = []
    weights: dict[str, Array] = {}
    inputs: list[Value] = []
    outputs: list[Value] = []
    for number, value in wire.fields(message):
        if number == 1:
            nodes.append(_node(wire.content(value), reading))
        elif number == 5:
            name, array = _tensor(wire.content(value), reading)
            weights[name] = array
        elif number == 11:
            inputs.append(_value(wire.content(value)))
        elif number == 12:
            outputs.append(_value(wire.content(value)))
        elif number == 15:
            raise WireError("it has sparse weights, which are not read")
    return Graph(tuple(nodes), weights, tuple(end for end in inputs if end.name not in weights), tuple(outputs))


def _node(message: memoryview, reading: _Reading) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Any] = {}
    operator = domain = ""
    for number, value in wire.fields(message):
        if number == 1:
            inputs.append(wire.text(value))
        elif number == 2:
            outputs.append(wire.text(value))
        elif number == 4:
            operator = wire.text(value)
        elif number == 5:
            name, content = _attribute(wire.content(value), reading)
            attributes[name] = content
        elif number == 7:
            domain = wire.text(value)
    return Node(operator, "" if domain == "ai.onnx" else domain, tuple(inputs), tuple(outputs), attributes)


_LISTS: Mapping[int, Callable[[int | memoryview], list[Any]]] = {
    7: wire.floats,
    8: wire.integers,
    9: lambda value: [wire.text(value)],
}


def _attribute(message: memoryview, reading: _Reading) -> tuple[str, Any]:
    name, kind = "", None
    found: dict[int, Any] = {6: [], 7: [], 8: []}  # by AttributeProto.AttributeType
    for number, value in wire.fields(message):
        match number:
            case 1:
                name = wire.text(value)
            case 2:
                found[1] = wire.floats(value)[0]
            case 3:
                found[2] = wire.integer(value)
            case 4:
                found[3] = wire.text(value)
            case 5:
                found[4] = _tensor(wire.content(value), reading)[1]
            case 6:
                found[5] = _graph(wire.content(value), reading)
            case 7 | 8 | 9:
                found[number - 1] += _LISTS[number](value)
            case 20:
                kind = wire.integer(value)
    if kind is None:  # of before IR version 2
        kind = next((number for number in sorted(found) if number < 6 or found[number]), 7)
    return name, found.get(kind, {1: 0.0, 2: 0, 3: ""}.get(kind))


def _value(message: memoryview) -> Value:
    entry = dict(wire.fields(message))
    name = wire.text(entry[1]) if 1 in entry else ""
    kinds = dict(wire.fields(wire.content(entry[2]))) if 2 in entry else {}
    if 1 not in kinds:
        return Value(name, None, None)
    tensor = dict(wire.fields(wire.content(kinds[1])))
    shape = None
    if 2 in tensor:
        shape = tuple(
            _dimension(wire.content(value)) for number, value in wire.fields(wire.content(tensor[2])) if number == 1
        )
    return Value(name, wire.integer(tensor.get(1, 0)), shape)


def _dimension(message: memoryview) -> int | str | None:
    entry = dict(wire.fields(message))
    if 2 in entry:
        return wire.text(entry[2]) or None
    size = wire.integer(entry.get(1, 0))
    return size if size > 0 else None


def _tensor(message: memoryview, reading: _Reading) -> tuple[str, Array]:
    found: dict[int, list[Any]] = {}
    for number, value in wire.fields(message):
        found.setdefault(number, []).append(value)
    shape = [size for value in found.get(1, []) for size in wire.integers(value)]
    kind = wire.integer(found.get(2, [0])[-1])
    name = wire.text(found[8][-1]) if 8 in found else ""
    if kind == _STRING:
        return name, np.array([wire.text(value) for value in found.get(6, [])], dtype=object).reshape(shape)
    if kind not in DTYPES:
        raise WireError(f"weight {name or '?'} is of a type that is not read ({kind})")
    raw = wire.content(found[9][-1]) if 9 in found else None
    if wire.integer(found.get(14, [0])[-1]) == _EXTERNAL:
        raw = _outside(_pairs(found.get(13, [])), reading, math.prod(shape) * _itemsize(kind))
        if raw is None:
            return name, np.zeros(shape, DTYPES[kind])
    return name, _array(kind, shape, raw, _numbers(found), name)


def _numbers(found: Mapping[int, list[Any]]) -> list[Any]:
    """What stands in the fields for numbers, of which a tensor uses one."""
    numbers: list[Any] = [number for value in found.get(4, []) for number in wire.floats(value)]
    numbers += [number for field_ in (5, 7, 11) for value in found.get(field_, []) for number in wire.integers(value)]
    for value in found.get(10, []):
        numbers += np.frombuffer(wire.content(value), "<f8").tolist()
    return numbers


def _pairs(values: list[Any]) -> dict[str, str]:
    entries = [dict(wire.fields(wire.content(value))) for value in values]
    return {wire.text(entry[1]): wire.text(entry.get(2, memoryview(b""))) for entry in entries if 1 in entry}


def _itemsize(kind: int) -> int:
    return 2 if kind == _BFLOAT16 else DTYPES[kind].itemsize


def _array(kind: int, shape: list[int], raw: memoryview | None, numbers: list[Any], name: str) -> Array:
    dtype = DTYPES[kind]
    count = math.prod(shape)
    if raw is None:
        if kind == _FLOAT16 and all(isinstance(number, int) for number in numbers):  # stored as their bits
            array: Array = np.array(numbers, np.uint16).view(np.float16)
        elif kind == _BFLOAT16:
            array = (np.array(numbers, np.uint32) << 16).astype(np.uint32).view(np.float32)
        else:
            array = np.array(numbers).astype(dtype)
    elif len(raw) != count * _itemsize(kind):
        raise WireError(f"weight {name or '?'} has {len(raw)} bytes instead of {count * _itemsize(kind)}")
    elif kind == _BFLOAT16:
        array = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        array = np.frombuffer(raw, dtype.newbyteorder("<"))
    if array.size != count:
        raise WireError(f"weight {name or '?'} has {array.size} numbers instead of {count}")
    return array.reshape(shape).astype(dtype)


def _outside(where: Mapping[str, str], reading: _Reading, size: int) -> memoryview | None:
    """The bytes of a weight in a file beside the model; None, and a note of it, where they cannot be had."""
    location = where.get("location", "")
    path = (reading.folder / location).resolve()
    if not location or not path.is_relative_to(reading.folder.resolve()):
        raise WireError(f"it points at weights outside of its own folder ({location or 'nowhere'})")
    start, length = int(where.get("offset", 0)), int(where.get("length", size))
    try:
        with open(path, "rb") as file:
            file.seek(start)
            found = file.read(length)
    except OSError:
        found = b""
    if len(found) != size:
        reading.missing.append(location)
        return None
    return memoryview(found)
