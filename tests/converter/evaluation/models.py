"""Models without an interpreter, and what they are judged with."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from converter.data.examples import Pixels, Truth, prepare
from converter.evaluation.scorer import Scorer, judging, new_scorer
from edge_agent.inference.engine import Engine
from edge_agent.inference.model import Model, assemble
from edge_agent.release.inputs import ImageInput, InputSpec
from edge_agent.release.manifest import FileEntry, Manifest
from edge_agent.release.outputs import OutputSpec, TaskName
from edge_agent.transform.tensor import Array, TensorSpec
from tests.sim.engine import FakeEngine

PICTURE = TensorSpec("image", (1, 8, 8, 3), np.dtype(np.uint8))


def manifest(task: TaskName, output: OutputSpec, spec: InputSpec) -> Manifest:
    files = {"model.tflite": FileEntry("0" * 64, 1)}
    return Manifest(
        name="model", version="1", task=task, input=spec, output=output, files=files, created="1980-01-01T00:00:00Z"
    )


def model(
    task: TaskName,
    outputs: Sequence[tuple[int, ...]],
    *,
    labels: Sequence[str] = (),
    output: OutputSpec | None = None,
    spec: InputSpec | None = None,
    answers: Callable[[Sequence[Array]], Sequence[Array] | None] | None = None,
) -> Model:
    tensors = [TensorSpec(f"out:{place}", shape, np.dtype(np.float32)) for place, shape in enumerate(outputs)]
    engine = FakeEngine([PICTURE], tensors, answers or (lambda _: None))
    described = judging(manifest(task, output or OutputSpec(), spec or ImageInput()))
    return assemble(described, tuple(labels), cast("Engine", engine))


def judged(made: Model, answers: Sequence[tuple[Sequence[Any], Truth]], *, threshold: float = 0.5) -> Scorer:
    """A scorer that was given these outputs, each to a picture of 80 x 40 px."""
    scorer = new_scorer(made, threshold)
    prepared = prepare(made, Pixels(np.zeros((40, 80, 3), np.uint8)))
    assert scorer.unknown([truth for _, truth in answers]) == []
    for outputs, truth in answers:
        scorer.add([np.asarray(each, np.float32) for each in outputs], prepared, truth)
    return scorer
