"""`edge-agent infer`: one model, a few inputs, one result each. No pipeline, no threads, nothing kept.

Printing is left to the command line, opening the model to `opening`, reading the inputs to `inputs`.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import EdgeError, FrameError, InputError, SourceError
from edge_agent.inference.inputs import list_inputs, read_shots
from edge_agent.inference.model import Model
from edge_agent.inference.shots import Reading, Say, Shot
from edge_agent.release.outputs import TaskName
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.tensor import Array

_STAGES = ("capture", "preprocess", "invoke", "postprocess")
_AS_THEY_ARE = Reading()


@dataclass(frozen=True, slots=True, eq=False)
class OneShot:
    """The result of one picture, window or vector."""

    input: str
    task: TaskName
    results: tuple[Prediction, ...]
    latency_ms: dict[str, float]  # by stage
    shot: Shot  # what it is the result of
    outputs: Sequence[Array]  # what the model gave

    def to_json(self) -> dict[str, object]:
        """`{"input", "task", "results": [...], "latency_ms": {stage: ms}}`."""
        return {
            "input": self.input,
            "task": self.task,
            "results": [prediction.to_json() for prediction in self.results],
            "latency_ms": {stage: round(value, 3) for stage, value in self.latency_ms.items()},
        }

    def __str__(self) -> str:
        lines = [f"{self.input}  ({sum(self.latency_ms.values()):.1f} ms)"]
        for prediction in self.results:
            lines += _lines_of(prediction)
        return "\n".join(lines if self.results else [*lines, "  nothing"])


def infer_all(
    model: Model, inputs: Iterable[Path], reading: Reading = _AS_THEY_ARE, say: Say = lambda _: None
) -> Iterator[OneShot]:
    """`infer` of each input; those that cannot be used are told together at the end.

    Raises:
        InputError: after all the others, with every input that could not be used.
        ModelError: the model failed.
    """
    problems: list[EdgeError] = []
    say = _once(say)
    for path in list_inputs(inputs):
        try:
            if isinstance(path, InputError):
                raise path
            yield from infer(model, path, reading, say)
        except (InputError, FrameError, SourceError) as error:
            problems.append(error)
    if problems:
        raise InputError("\n".join(map(str, problems)), hint=problems[0].hint)


def _once(say: Say) -> Say:
    """What is true of many files is said of the first."""
    told: set[str] = set()

    def tell(note: str) -> None:
        if note not in told:
            told.add(note)
            say(note)

    return tell


def infer(model: Model, path: Path, reading: Reading = _AS_THEY_ARE, say: Say = lambda _: None) -> Iterator[OneShot]:
    """The results of one file: one of a picture, one for each frame, window or vector of other files.

    A model that remembers begins anew, also behind a gap.

    Raises:
        InputError, FrameError, SourceError: the file is not what the model takes.
        ModelError: the model failed.
    """
    model.reset_state()
    shots = read_shots(model, path, reading, say)
    while True:
        started = time.perf_counter()
        shot = next(shots, None)
        if shot is None:
            return
        if shot.began_anew:
            model.reset_state()
        ready = time.perf_counter()
        outputs = model.invoke(shot.prepared)
        answered = time.perf_counter()
        results = model.decode(outputs, shot.prepared)
        marks = (started, shot.captured, ready, answered, time.perf_counter())
        spans = [1000 * (end - start) for start, end in itertools.pairwise(marks)]
        latency_ms = dict(zip(_STAGES, spans, strict=True))
        yield OneShot(shot.name, model.manifest.task, tuple(results), latency_ms, shot, outputs)


def _lines_of(prediction: Prediction) -> list[str]:
    """For a person: what was measured where something was, else the score."""
    tree = prediction.to_json()
    name = prediction.label or f"#{prediction.index}"
    if prediction.value is not None:
        unit = f" {prediction.unit}" if prediction.unit else ""
        return [f"  {prediction.value:.6g}{unit}  {name}"]
    share = f"  {100 * prediction.share:.1f} % of the picture" if prediction.share is not None else ""
    box = f"  {tree['box']}" if prediction.box is not None else ""
    first = f"  {prediction.score:.4f}  {name}{share}{box}"
    points = [
        f"    {point.score:.4f}  {point.name or number}  ({point.x:.1f}, {point.y:.1f})"
        for number, point in enumerate(prediction.keypoints)
    ]
    return [first, *points]
