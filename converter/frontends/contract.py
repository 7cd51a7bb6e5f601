"""What a front-end is asked and what it leaves: one module a kind of source, each a child process of its own.

A front-end `NAME` has `convert_NAME(source, folder, wanted)`, which looks into the file without the framework, refuses
what cannot be converted, and has its child write `TFLITE_NAME`, a float32 model with a batch of 1 and one signature,
and `REFERENCE_NAME`, answers of the framework itself, into `folder`. It gives the versions of its tools. Which
front-end takes a file is left to `source`; holding the model to the reference answers, to `evaluate`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

TFLITE_NAME = "frontend.tflite"
REFERENCE_NAME = "reference.npz"  # in:NAME and out:NAME, each [REFERENCES, ...]
REFERENCES = 4
TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody said about a source that the file itself does not tell."""

    signature: str | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # with the batch; "" names the only one
    inputs: tuple[str, ...] = ()  # tensors where the model is cut, in their order; empty: its own
    outputs: tuple[str, ...] = ()
    allow_code: bool = False  # code that stands in the file (Lambda layers, pickles) may run
