"""What a front-end is asked and what it leaves: one module a kind of source, each a child process of its own.

A front-end `NAME` has `convert_NAME(source, folder, wanted)`, which looks into the file without the framework, refuses
what cannot be converted, and has its child write `TFLITE_NAME`, a float32 model with a batch of 1 and one signature,
and `REFERENCE_NAME`, answers of the framework itself, into `folder`. It gives the versions of its tools, and leaves
what the user should know of the result by `leave_notes`. Which
front-end takes a file is left to `source`; holding the model to the reference answers, to `evaluate`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TFLITE_NAME = "frontend.tflite"
REFERENCE_NAME = "reference.npz"  # in:NAME and out:NAME, each [REFERENCES, ...]
_NOTES_NAME = "notes.json"
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


def leave_notes(folder: Path, notes: Sequence[str]) -> None:
    """Leave beside the model what is to be told of its conversion, in place of earlier ones."""
    (folder / _NOTES_NAME).write_text(json.dumps(list(notes)), encoding="utf-8")


def read_notes(folder: Path) -> tuple[str, ...]:
    """What was left there; () where nothing was."""
    path = folder / _NOTES_NAME
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ()
