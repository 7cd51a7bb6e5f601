"""What a training set is read by: what the model takes and tells, as its converted form says it.

Filled by `convert` before anything is trained; reading the training set by it is left to `samples`, in the child.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.data.files import absolute
from converter.evaluate import format_spec, parse_spec
from edge_agent import schema
from edge_agent.release.inputs import InputSpec
from edge_agent.release.outputs import TaskName
from edge_agent.transform.tensor import TensorSpec


@dataclass(frozen=True, slots=True)
class Taken:
    """`tensor` is the input of the `.tflite` that the source becomes: a source may have its channels elsewhere."""

    task: TaskName
    input: InputSpec
    tensor: TensorSpec
    input_name: str
    labels: tuple[str, ...] = ()
    values: int = 1  # that the model tells of one sample
    skip_unreadable: bool = False


def to_request(taken: Taken, path: Path) -> dict[str, Any]:
    """How it crosses to the child."""
    return {
        "path": absolute(path),
        "task": taken.task,
        "input": schema.dump(taken.input),
        "tensor": format_spec(taken.tensor),
        "input_name": taken.input_name,
        "labels": list(taken.labels),
        "values": taken.values,
        "skip_unreadable": taken.skip_unreadable,
    }


def from_request(tree: Mapping[str, Any]) -> tuple[Taken, Path]:
    taken = Taken(
        task=tree["task"],
        input=schema.parse(_Input, {"input": tree["input"]}, strict=True).input,
        tensor=parse_spec(tree["tensor"]),
        input_name=tree["input_name"],
        labels=tuple(tree["labels"]),
        values=tree["values"],
        skip_unreadable=tree["skip_unreadable"],
    )
    return taken, Path(tree["path"])


@dataclass(frozen=True, slots=True)
class _Input:
    input: InputSpec
