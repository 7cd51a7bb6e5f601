"""The child process of a shadow: `python -m edge_agent.inference.shadow_child DIRECTORY`.

Runs a release on what another one has been given, and says whether both say the same. Its parent (`shadow`) sends
pickles down its standard input: `Before`, then a `Frame` for each comparison; nothing is unpickled that the model may
have written. Answers are JSON lines. It takes only the time that nobody else wants.
"""

import json
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import FrameError, ModelError
from edge_agent.inference.limits import be_idle, limit_process
from edge_agent.inference.model import Model, open_release
from edge_agent.release.manifest import Manifest
from edge_agent.transform.tensor import Array, TensorSpec, dequantize

_CPU_S = 3600.0


@dataclass(frozen=True, slots=True)
class Before:
    """The release that serves."""

    manifest: Manifest
    labels: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, model: Model) -> "Before":
        return cls(model.manifest, model.labels, model.inputs, model.outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What that one was given and answered, as it stores them."""

    inputs: Sequence[Array]
    outputs: Sequence[Array]


def main(arguments: Sequence[str]) -> int:
    directory = Path(arguments[0])
    be_idle()
    limit_process(directory, threads=1, cpu_s=_CPU_S)
    said = pickle.load(sys.stdin.buffer)  # noqa: S301 - our parent's
    with open_release(directory, 1) as model:
        misfit = find_misfit(said, model)
        if misfit is not None:
            _say({"misfit": misfit})
            return 0
        _say({"ready": True})
        while True:
            try:
                frame = pickle.load(sys.stdin.buffer)  # noqa: S301 - our parent's
            except EOFError:
                return 0
            _say({"agrees": agrees(said, model, frame)})


def find_misfit(before: Before, model: Model) -> str | None:
    """Why the two cannot be compared; None when they can."""
    new = model.manifest
    if before.manifest.state or new.state:
        return "a model that remembers answers by all frames, and a shadow sees a few"
    if (before.manifest.task, before.labels) != (new.task, model.labels):
        return "its task or its labels are others"
    if before.manifest.input != new.input or _shapes(before.inputs) != _shapes(model.inputs):
        return "its input is another"
    if _shapes(before.outputs) != _shapes(model.outputs):
        return "its outputs have other shapes"
    return None


def agrees(before: Before, model: Model, frame: Frame) -> bool:
    """Whether both give the same first answer, see `tasks.agreement.top1_agrees`; a failure is none."""
    inputs = [dequantize(stored, tensor) for stored, tensor in zip(frame.inputs, before.inputs, strict=True)]
    expected = [dequantize(stored, tensor) for stored, tensor in zip(frame.outputs, before.outputs, strict=True)]
    try:
        found = model.real_outputs(model.invoke(model.prepare_tensors(inputs)))
        return model.top1_agrees(expected, found)
    except (ModelError, FrameError):
        return False


def _shapes(tensors: Sequence[TensorSpec]) -> list[tuple[int, ...]]:
    return [tensor.shape for tensor in tensors]


def _say(tree: dict[str, Any]) -> None:
    print(json.dumps(tree), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
