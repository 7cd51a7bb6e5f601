"""The inputs and outputs of what is run of a model, each with all its names and what the author wrote of it.

Of several inputs, which are fed by the model itself (state) and which always get the same value. What is fed into the
others, and what the outputs mean, is left to `guess`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_agent.inference.metadata import TensorMetadata
from edge_agent.inference.model_file import ModelFile, Signature
from edge_agent.transform.tensor import TensorSpec

# Words of a name that tell which way a tensor goes, or nothing at all: `state_in` and `state_out` are the same thing.
_DIRECTIONS = {
    "in", "out", "input", "output", "inputs", "outputs", "new", "next", "prev", "previous", "old", "current", "updated",
    "serving", "default", "identity", "statefulpartitionedcall", "partitionedcall", "n",
}  # fmt: skip
_STATE_WORDS = {
    "state", "states", "hidden", "cell", "memory", "cache", "carry", "rnn", "lstm", "gru", "buffer", "h", "c",
}  # fmt: skip
_NEXT_WORDS = {"next", "new", "updated"}
_RATE_NAMES = {"sr", "sample_rate", "samplerate", "sampling_rate"}


@dataclass(frozen=True, slots=True)
class End:
    """One input or output."""

    tensor: TensorSpec
    names: tuple[str, ...]  # the tensor's, and those that signature and metadata give it
    metadata: TensorMetadata | None = None
    operator: str = ""  # what makes an output, for example SOFTMAX; "" where nothing is known

    @property
    def sizes(self) -> tuple[int, ...]:
        """Its shape without the dimensions of 1, which say nothing."""
        return tuple(size for size in self.tensor.shape if size != 1)


@dataclass(frozen=True, slots=True)
class Ends:
    """All of them, in the engine's order."""

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]

    @property
    def state(self) -> dict[str, str]:
        """Output → the input it is fed back to: two of the same shape and dtype whose names tell the same thing."""
        found: dict[str, str] = {}
        for end in self.inputs:
            same = [output for output in self.outputs if _could_feed(output, end) and output.tensor.name not in found]
            named = [output for output in same if _tells_same(output, end)]
            closest = max(named, key=lambda output: len(_words(output) & _words(end)), default=None)
            if closest is None and len(same) == 1 and _words(end) & _STATE_WORDS:
                closest = same[0]  # converters often leave outputs without a name that tells anything
            if closest is not None:
                found[closest.tensor.name] = end.tensor.name
        return found if len(found) < len(self.outputs) else {}

    @property
    def rate_input(self) -> End | None:
        """The input that wants to be told the sample rate, as voice activity detectors have it."""
        several = len(self.inputs) > 1
        wanted = (end for end in self.inputs if several and not end.sizes and _RATE_NAMES & {*map(_bare, end.names)})
        return next(wanted, None)


def find_ends(
    described: ModelFile, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], signature: str | None
) -> Ends:
    """`inputs` and `outputs` are the engine's: of the main graph by their own names, of a signature by its names."""
    chosen = _signature(described, signature)
    main = signature is None or (chosen is not None and chosen.graph == 0)
    metadata = described.metadata if main else None
    # A signature's order is not the graph's, to which the metadata keeps.
    graph = ([tensor.name for tensor in described.inputs], [tensor.name for tensor in described.outputs])
    operators = dict(zip(graph[1], described.output_operators, strict=False)) if main else {}
    operators |= chosen.output_operators if chosen else {}
    said_in, said_out = (metadata.inputs, metadata.outputs) if metadata else ((), ())
    return Ends(
        _ends(inputs, chosen.inputs if chosen else {}, graph[0], said_in, {}),
        _ends(outputs, chosen.outputs if chosen else {}, graph[1], said_out, operators),
    )


def _ends(
    tensors: Iterable[TensorSpec],
    aliases: Mapping[str, str],
    graph: list[str],
    metadata: tuple[TensorMetadata, ...],
    operators: Mapping[str, str],
) -> tuple[End, ...]:
    """`aliases`: the signature's name → the tensor's. `graph`: names in the order of `metadata`."""
    found = []
    for tensor in tensors:
        own = aliases.get(tensor.name, tensor.name)
        names = [tensor.name, own, *(alias for alias, name in aliases.items() if name == own)]
        place = graph.index(own) if own in graph else len(metadata)
        said = metadata[place] if len(metadata) == len(graph) and place < len(metadata) else None
        if said is not None and said.name:
            names.append(said.name)
        operator = next((made for name in names if (made := operators.get(name))), "")
        found.append(End(tensor, tuple(dict.fromkeys(names)), said, operator))
    return tuple(found)


def _signature(described: ModelFile, key: str | None) -> Signature | None:
    """That one, or the one that stands for the main graph."""
    fitting = [each for each in described.signatures if (each.graph == 0 if key is None else each.key == key)]
    return fitting[0] if fitting else None


def _could_feed(output: End, end: End) -> bool:
    return output.tensor.shape == end.tensor.shape and output.tensor.dtype == end.tensor.dtype


def _tells_same(output: End, end: End) -> bool:
    """`state_out` and `state_in`, `next_sum` and `sum`; not an `image` that is made of an `image`."""
    shared = _words(output) & _words(end)
    return bool(shared & _STATE_WORDS) or bool(shared and _parts(output) & _NEXT_WORDS)


def _words(end: End) -> set[str]:
    """What its names tell beside the direction: `serving_default_state_in:0` → state."""
    return _parts(end) - _DIRECTIONS


def _parts(end: End) -> set[str]:
    bare = (re.sub(r":\d+$", "", name.lower()) for name in end.names)
    return {part for name in bare for part in re.split(r"[^a-z]+", name) if part}


def _bare(name: str) -> str:
    return re.sub(r"^serving_default_|:\d+$", "", name.lower())
