"""A frozen graph of TensorFlow 1 (`GraphDef`), read without TensorFlow: its nodes, and where it begins and ends.

Source: tensorflow/core/framework/graph.proto, node_def.proto. What the operators compute is left to TensorFlow.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.errors import ConversionError
from converter.frontends.onnx_model.wire import WireError, content, fields, text

_NODE, _NAME, _OPERATOR, _INPUT = 1, 1, 2, 3
# What nobody consumes and is no answer either.
_NO_ANSWER = {"Const", "NoOp", "Assert", "Placeholder", "PlaceholderWithDefault", "SaveV2", "Print", "PrintV2"}
# They read files inside the graph, which no TFLite kernel does.
FILE_OPERATORS = {
    "DecodeWav", "AudioSpectrogram", "Mfcc", "DecodeJpeg", "DecodePng", "DecodeBmp", "DecodeGif", "DecodeImage",
    "DecodeRaw", "DecodeCSV", "ParseExample", "ParseExampleV2", "DecodeBase64",
}  # fmt: skip
# They reach out of the graph: files, Python of the process that made it.
DANGEROUS_OPERATORS = {
    "ReadFile", "WriteFile", "MatchingFiles", "Save", "SaveSlices", "SaveV2", "PyFunc", "EagerPyFunc",
    "PyFuncStateless", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2",
}  # fmt: skip
_NAMED = 12


@dataclass(frozen=True, slots=True)
class Node:
    """One operator and the tensors it takes: `name`, or `name:1` for another output than the first."""

    name: str
    operator: str
    inputs: tuple[str, ...]  # without control inputs


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a graph is cut, as tensors: `name`, or `name:1`."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_nodes(source: Path) -> Mapping[str, Node]:
    """The nodes by their names.

    Raises:
        ConversionError: the file cannot be read, is cut off, or is no graph.
    """
    try:
        message = memoryview(source.read_bytes())
        nodes = [_node(content(value)) for number, value in fields(message) if number == _NODE]
    except OSError as error:
        raise ConversionError(f"{source}: {error.strerror}", hint="check the path") from error
    except WireError as error:
        raise ConversionError(
            f"{source} is not a whole frozen graph: {error}", hint="it may be cut off: copy it again"
        ) from error
    by_name = {node.name: node for node in nodes}
    missing = sorted({node_of(taken) for node in nodes for taken in node.inputs} - by_name.keys())
    if missing:
        raise ConversionError(
            f"{source} is not a whole frozen graph: it has no {', '.join(missing[:_NAMED])}, which other nodes take",
            hint="it may be cut off: copy it again",
        )
    return by_name


def find_ends(nodes: Mapping[str, Node], inputs: Sequence[str], outputs: Sequence[str], source: Path) -> Ends:
    """The ends that are named, else those that the graph has: its placeholders, and what nobody consumes.

    Raises:
        ConversionError: a name that it has not, none to be found, or inputs that the outputs do not depend on.
    """
    named = [*inputs, *outputs]
    unknown = [name for name in named if node_of(name) not in nodes]
    if unknown:
        near = [close for name in unknown for close in difflib.get_close_matches(name, nodes, n=2, cutoff=0.5)]
        raise ConversionError(
            f"{source} has no node {', '.join(unknown)}",
            hint=f"it has {', '.join(near or _computed(nodes)[-_NAMED:])}",
        )
    found_outputs = tuple(outputs) or _unconsumed(nodes)
    if not found_outputs:
        raise ConversionError(f"{source} has no outputs: every node is consumed", hint="name them: --outputs NODE")
    reached = set(reachable(nodes, found_outputs, inputs))
    found_inputs = tuple(inputs) or tuple(name for name in nodes if name in reached and _is_placeholder(nodes[name]))
    if not found_inputs:
        raise ConversionError(
            f"{source} has no inputs: its outputs ({', '.join(found_outputs)}) depend on no placeholder",
            hint="name the tensors to begin with: --inputs NODE",
        )
    unused = [name for name in inputs if node_of(name) not in reached]
    if unused:
        raise ConversionError(
            f"the outputs {', '.join(found_outputs)} do not depend on {', '.join(unused)}",
            hint="leave that input out, or name other outputs with --outputs",
        )
    free = [name for name in reached if _is_placeholder(nodes[name]) and name not in map(node_of, found_inputs)]
    if free:
        raise ConversionError(
            f"the outputs depend on {', '.join(sorted(free))} too, which {', '.join(inputs)} do not cut off",
            hint="name every input: --inputs A,B",
        )
    return Ends(found_inputs, found_outputs)


def reachable(nodes: Mapping[str, Node], outputs: Sequence[str], inputs: Sequence[str]) -> Iterator[str]:
    """Names of the nodes that the outputs need, where the graph ends at the inputs; those of the inputs too."""
    ends, seen, waiting = {output_of(name) for name in inputs}, set(), [output_of(name) for name in outputs]
    while waiting:
        tensor = waiting.pop()
        name = node_of(tensor)
        if tensor in ends:
            if name not in seen:
                yield name
            continue
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield name
        waiting += [output_of(taken) for taken in nodes[name].inputs]


def after_files(nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """Nodes that end what reads files in the graph: places to cut it."""
    readers = {name for name, node in nodes.items() if node.operator in FILE_OPERATORS}
    feeding = {node_of(taken) for name in readers for taken in nodes[name].inputs}
    return tuple(name for name in nodes if name in readers - feeding)


def node_of(tensor: str) -> str:
    """`name` for `name:1`."""
    name, _, number = tensor.rpartition(":")
    return name if name and number.isdigit() else tensor


def output_of(tensor: str) -> str:
    """`name:0` for `name`."""
    return tensor if node_of(tensor) != tensor else f"{tensor}:0"


def _computed(nodes: Mapping[str, Node]) -> list[str]:
    return [name for name, node in nodes.items() if node.operator not in ("Const", "Identity", "NoOp")]


def _unconsumed(nodes: Mapping[str, Node]) -> tuple[str, ...]:
    consumed = {node_of(taken) for node in nodes.values() for taken in node.inputs}
    return tuple(name for name, node in nodes.items() if name not in consumed and node.operator not in _NO_ANSWER)


def _is_placeholder(node: Node) -> bool:
    return node.operator == "Placeholder"


def _node(message: memoryview) -> Node:
    name, operator, inputs = "", "", []
    for number, value in fields(message):
        if number == _NAME:
            name = text(value)
        elif number == _OPERATOR:
            operator = text(value)
        elif number == _INPUT and not text(value).startswith("^"):
            inputs.append(text(value))
    return Node(name, operator, tuple(inputs))
