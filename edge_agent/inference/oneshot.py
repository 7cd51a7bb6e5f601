"""`edge-agent infer`: one model, a few inputs, one result each. No pipeline, no threads, nothing kept.

Printing is left to the command line. What a bare `.tflite` takes is guessed in `guess`.
"""

import itertools
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from edge_agent.errors import EdgeError, FrameError, InputError, SourceError
from edge_agent.inference.engine import Engine
from edge_agent.inference.guess import Guess, guess
from edge_agent.inference.model import Model, assemble, release_labels
from edge_agent.inference.model_file import inspect_model
from edge_agent.inference.tflite import open_engine
from edge_agent.release.archive import read_artifact
from edge_agent.release.inputs import ImageInput, SignalInput, TensorInput
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Manifest
from edge_agent.release.outputs import TaskName
from edge_agent.tasks.labels import parse_labels
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.image import read_image
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.rows import parse_rows
from edge_agent.transform.tensor import Array


@dataclass(frozen=True, slots=True)
class Options:
    """What the person at the command line says better than manifest or guess. None: nothing said."""

    labels: Path | None = None
    task: TaskName | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: Literal["rgb", "bgr", "gray"] | None = None
    fit: Literal["stretch", "letterbox", "crop"] | None = None
    resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] | None = None
    window: int | None = None
    stride: int | None = None
    top_k: int | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class OneShot:
    """The result of one picture, window or vector."""

    input: str
    task: TaskName
    results: tuple[Prediction, ...]
    latency_ms: dict[str, float]  # by stage

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
            corners = prediction.to_json().get("box")
            label = prediction.label or f"#{prediction.index}"
            lines.append(f"  {prediction.score:.4f}  {label}{f'  {corners}' if corners else ''}")
        return "\n".join(lines if self.results else [*lines, "  nothing"])


def open_any(path: Path, options: Options | None = None, *, threads: int = 1) -> tuple[Model, list[str]]:
    """A `.tflite` or `.edge`, and what has been guessed of it.

    Raises:
        ArtifactError, ModelError: it cannot be used.
        InputError: an option does not fit, or the label file cannot be read.
    """
    options = options or Options()
    labels = _read_labels(options.labels) if options.labels else None
    engine, found = _open_artifact(path, threads) if _is_artifact(path) else _open_model(path, options, threads)
    try:
        manifest = _with_options(found.manifest, options)
        return assemble(manifest, labels if labels is not None else found.labels, engine), list(found.notes)
    except EdgeError:
        engine.close()
        raise


def infer_all(model: Model, inputs: Iterable[Path]) -> Iterator[OneShot]:
    """`infer` of each input; those that cannot be used are told together at the end.

    Raises:
        InputError: after all the others, with every input that could not be used.
        ModelError: the model failed.
    """
    problems: list[EdgeError] = []
    for path in inputs:
        try:
            yield from infer(model, path)
        except (InputError, FrameError, SourceError) as error:
            problems.append(error)
    if problems:
        raise InputError("\n".join(map(str, problems)), hint=problems[0].hint)


def infer(model: Model, path: Path) -> Iterator[OneShot]:
    """The results of one file: one of a picture, one for each window or vector of a CSV or .npy file.

    Raises:
        InputError, FrameError, SourceError: the file is not what the model takes.
        ModelError: the model failed.
    """
    shots = _shots(model, path)
    while True:
        started = time.perf_counter()
        shot = next(shots, None)
        if shot is None:
            return
        name, prepared, captured = shot
        ready = time.perf_counter()
        outputs = model.invoke(prepared)
        answered = time.perf_counter()
        results = model.decode(outputs, prepared)
        marks = (started, captured, ready, answered, time.perf_counter())
        spans = [1000 * (end - start) for start, end in itertools.pairwise(marks)]
        stages = ("capture", "preprocess", "invoke", "postprocess")
        yield OneShot(name, model.manifest.task, tuple(results), dict(zip(stages, spans, strict=True)))


def _shots(model: Model, path: Path) -> Iterator[tuple[str, Prepared, float]]:
    """Name, prepared input, and when it was captured."""
    if isinstance(model.manifest.input, ImageInput):
        image = read_image(path)
        captured = time.perf_counter()
        try:
            prepared = model.prepare_image(image)
        except FrameError as error:  # of several, which
            raise FrameError(f"{path}: {error}", hint=error.hint) from error
        yield str(path), prepared, captured
    elif isinstance(model.manifest.input, SignalInput):
        number = 0
        windower = model.windower()
        for row in _rows(path, model.manifest.input.channels):
            window = windower.push(row)
            if window is not None:
                captured = time.perf_counter()
                yield f"{path}#{number}", model.prepare_rows(window), captured
                number += 1
        if number == 0:
            raise InputError(
                f"{path} holds fewer rows than the {model.manifest.input.window} of one window",
                hint="give a longer recording",
            )
    else:
        vectors = _vectors(model, path)
        captured = time.perf_counter()
        for number, vector in enumerate(vectors):
            name = str(path) if len(vectors) == 1 else f"{path}#{number}"
            yield name, model.prepare_tensors([vector]), captured
            captured = time.perf_counter()


def _vectors(model: Model, path: Path) -> list[Array]:
    """Values for the model's one input: a file of exactly one vector, or of one a row."""
    if len(model.engine.inputs) != 1:
        raise InputError(f"this model takes {len(model.engine.inputs)} inputs; 'infer' can fill only one")
    tensor = model.engine.inputs[0]
    needed = math.prod(tensor.shape)
    values = _read_npy(path) if path.suffix == ".npy" else np.array(list(_rows(path, ())), np.float64)
    if values.size == needed:
        return [values]
    if values.ndim and len(values) and np.size(values[0]) == needed:
        return list(values)
    shape = "x".join(map(str, values.shape))
    raise InputError(
        f"{path} holds {values.size} values ({shape}); the model takes {needed} ({tensor.label})",
        hint="one vector a file, or one a row",
    )


def _read_npy(path: Path) -> Array:
    try:
        values: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(f"{path} is not a .npy array: {error}", hint="save it with numpy.save") from error
    return values


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[float, ...]]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for row in parse_rows(lines, columns, name=str(path)):
                if row.values is None:
                    raise InputError(f"{path} line {row.line}: {row.problem}", hint="mend or remove the line")
                yield row.values
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text", hint="this model takes CSV files of numbers") from error


def _is_artifact(path: Path) -> bool:
    """By its first member: an artifact that was renamed is one still."""
    if path.suffix == ".edge":
        return True
    try:
        with path.open("rb") as file:
            return file.read(30 + len(MANIFEST_FILE))[30:] == MANIFEST_FILE.encode()  # a zip's first name is at 30
    except OSError:
        return False


def _open_artifact(path: Path, threads: int) -> tuple[Engine, Guess]:
    artifact = read_artifact(path)
    labels = release_labels(artifact.members.get(LABELS_FILE))
    # The engine maps the file, which outlives its name.
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        model = Path(directory) / MODEL_FILE
        model.write_bytes(artifact.members[MODEL_FILE])
        return open_engine(model, threads), Guess(artifact.manifest, labels, ())


def _open_model(path: Path, options: Options, threads: int) -> tuple[Engine, Guess]:
    described = inspect_model(path)
    engine = open_engine(path, threads)
    try:
        return engine, guess(described, engine, options.task, options.window)
    except EdgeError:
        engine.close()
        raise


def _with_options(manifest: Manifest, options: Options) -> Manifest:
    output = replace(
        manifest.output,
        top_k=options.top_k if options.top_k is not None else manifest.output.top_k,
        score_threshold=options.threshold if options.threshold is not None else manifest.output.score_threshold,
    )
    source = manifest.input
    wanted = {name: getattr(options, name) for name in ("color", "fit", "resample", "mean", "std", "window", "stride")}
    changes = {name: value for name, value in wanted.items() if value is not None}
    wrong = [name for name in changes if not hasattr(source, name)]
    if wrong:
        raise InputError(
            f"{', '.join('--' + name for name in wrong)} does not fit input kind {source.kind!r}",
            hint="leave it out, or choose another --task",
        )
    try:
        changed = source if isinstance(source, TensorInput) else replace(source, **changes)
    except ValueError as error:
        raise InputError(str(error), hint="give --mean and --std together") from error
    return replace(manifest, task=options.task or manifest.task, input=changed, output=output)


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        labels = parse_labels(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint="check the path") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}", hint="one label a line, UTF-8") from error
    if not labels:
        raise InputError(f"{path} holds no labels", hint="one label a line, UTF-8")
    return labels
