"""A model as a list of layers: what each operator multiplies, what its weights take, and how both are stored.

Reckoned from shapes alone; nothing is run. How far a layer is from the float model's is left to `layers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from converter.tflite_schema import Graph, Operator, Tensor

_RECURRENT = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "SVDF")
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_COUNTING = ("INT32", "INT64", "BOOL")  # types of sizes and positions, which are no weights
_SHORT = 48  # characters


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of the graph."""

    name: str  # of its first output tensor
    operator: str  # CONV_2D
    shape: tuple[int, ...]  # of its first output
    macs: int | None  # multiplications that are added up, for the batch the model is stored with; None: it has none
    size_bytes: int  # of the constants it takes
    precision: str  # int8, int16x8, "float32, int8 weights"
    granularity: str | None  # of its quantized weights: tensor, channel, block


def list_layers(graph: Graph) -> tuple[Layer, ...]:
    """Every operator in the order in which they run, without those that only make float of numbers or the reverse.

    Weights that are made float by an operator of their own (float16) count for the operator that takes them.
    """
    unpacked = {
        output: operator.inputs[0]
        for operator in graph.operators
        if operator.name == "DEQUANTIZE" and graph.tensors[operator.inputs[0]].constant
        for output in operator.outputs
    }
    return tuple(_layer(graph, operator, unpacked) for operator in graph.operators if operator.name not in _CONVERSIONS)


def short_name(name: str) -> str:
    """A tensor's name for a person: converters join the names of all operators that they have made one of."""
    first = name.partition(";")[0]
    return first if len(first) <= _SHORT else f"…{first[1 - _SHORT :]}"


def _layer(graph: Graph, operator: Operator, unpacked: Mapping[int, int]) -> Layer:
    inputs = [graph.tensors[unpacked.get(position, position)] for position in operator.inputs if position >= 0]
    outputs = [graph.tensors[position] for position in operator.outputs if position >= 0]
    constants = [tensor for tensor in inputs if tensor.constant]
    kernels = [tensor for tensor in constants if len(tensor.shape) > 1 and tensor.type not in _COUNTING]
    weights = max(kernels, key=lambda tensor: tensor.stored_bytes, default=None)
    first = outputs[0] if outputs else None
    return Layer(
        name=first.name if first else "",
        operator=operator.name,
        shape=first.shape if first else (),
        macs=count_macs(operator.name, inputs, outputs),
        size_bytes=sum(tensor.stored_bytes for tensor in constants),
        precision=_precision(first, weights),
        granularity=weights.granularity if weights else None,
    )


def count_macs(operator: str, inputs: list[Tensor], outputs: list[Tensor]) -> int | None:  # noqa: PLR0911 - one for each kind
    """Multiply-accumulates of one run; None of an operator that has none to speak of.

    Weights are laid out as the schema has it: [out, height, width, in], depthwise [1, height, width, out], dense
    [out, in], 3-D [depth, height, width, in, out].
    """
    if not outputs or len(inputs) < 2:
        return None
    made, first, second = prod(outputs[0].shape), inputs[0].shape, inputs[1].shape
    match operator:
        case "CONV_2D":
            return made * prod(second[1:])
        case "DEPTHWISE_CONV_2D":
            return made * prod(second[1:3])
        case "CONV_3D":
            return made * prod(second[:4])
        case "FULLY_CONNECTED":
            return made * second[-1] if second else None
        case "TRANSPOSE_CONV" if len(inputs) > 2:  # each value of the input goes into a whole kernel of the output
            return prod(inputs[2].shape) * prod(second[:3])
        case "BATCH_MATMUL" if len(first) > 1 and len(outputs[0].shape) > 1 and outputs[0].shape[-2]:
            return made * (prod(first[-2:]) // outputs[0].shape[-2])
        case name if name in _RECURRENT:
            return prod(first[:-1]) * sum(prod(tensor.shape) for tensor in inputs[1:] if _is_matrix(tensor))
    return None


def _is_matrix(tensor: Tensor) -> bool:
    return tensor.constant and len(tensor.shape) == 2


def _precision(made: Tensor | None, weights: Tensor | None) -> str:
    values = made.type.lower() if made else ""
    if weights is None or weights.type.lower() == values:
        return values
    kept = weights.type.lower()
    return "int16x8" if (values, kept) == ("int16", "int8") else f"{values}, {kept} weights"
