"""Opening any model a person names: a `.tflite` of anyone's, guessed at, or an artifact, by its manifest.

What the person says beside it lies above both. Running it is left to `oneshot`.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edge_agent.config.pipeline import Delegate, Threads
from edge_agent.errors import EdgeError, InputError, counted
from edge_agent.inference.engine import Engine
from edge_agent.inference.guess import Guess, guess
from edge_agent.inference.model import Model, assemble, release_labels
from edge_agent.inference.model_file import inspect_model
from edge_agent.inference.said import Features, InputKind, Said
from edge_agent.inference.tflite import open_engine
from edge_agent.release.archive import read_artifact
from edge_agent.release.inputs import Fit, InputSpec, Resample, TensorInput
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Manifest
from edge_agent.release.outputs import DetectionDecoder, PoseDecoder, TaskName
from edge_agent.tasks.detection import DetectionDecoder as Detector
from edge_agent.tasks.labels import parse_labels

# Option → where it stands in the manifest.
_INPUT_KEYS = {
    "color": "color", "fit": "fit", "resample": "resample", "decode": "decode", "mean": "mean", "std": "std",
    "window": "window", "stride": "stride", "sample_rate": "sample_rate_hz", "features": "features",
}  # fmt: skip
_OUTPUT_KEYS = {
    "top_k": "top_k", "threshold": "score_threshold", "iou": "iou_threshold", "decoder": "decoder",
    "activation": "activation", "background_class": "background_class",
}  # fmt: skip
# How a note about a guess begins → the option that makes it needless.
_ANSWERED = {
    "normalization guessed": "mean", "the input's scale": "mean", "softmax guessed": "activation",
    "objects below": "threshold", "fit guessed": "fit", "color guessed": "color",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the person at the command line says better than manifest or guess. None: nothing said."""

    labels: Path | None = None
    task: TaskName | None = None
    input_kind: InputKind | None = None  # of a bare model
    signature: str | None = None
    # input
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: Literal["rgb", "bgr", "gray"] | None = None
    fit: Fit | None = None
    resample: Resample | None = None
    decode: Literal["full", "reduced"] | None = None
    window: int | None = None
    stride: int | None = None
    sample_rate: int | None = None  # Hz
    features: Features | None = None
    # output
    decoder: DetectionDecoder | PoseDecoder | None = None
    activation: Literal["none", "softmax", "sigmoid"] | None = None
    background_class: int | None = None
    top_k: int | None = None
    threshold: float | None = None
    iou: float | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """What the model is run by."""

    threads: Threads = 1
    delegate: Delegate | None = None


_NOTHING = Options()
_ONE_THREAD = Running()


def open_any(path: Path, options: Options = _NOTHING, running: Running = _ONE_THREAD) -> tuple[Model, list[str]]:
    """A `.tflite` or `.edge`, and what has been guessed of it.

    Raises:
        ArtifactError, ModelError: it cannot be used.
        InputError: an option does not fit, or the label file cannot be read.
    """
    labels = _read_labels(options.labels) if options.labels else None
    opened = _open_artifact if _is_artifact(path) else _open_model
    engine, found = opened(path, options, running)
    try:
        manifest = _with_options(found.manifest, options)
        model = assemble(manifest, labels if labels is not None else found.labels, engine)
    except EdgeError:
        engine.close()
        raise
    notes = [note for note in found.notes if not _is_answered(note, options)]
    notes += _label_notes(model)
    if running.threads == "auto":
        notes.append(engine.report.threads_chosen)
    if engine.report.fell_back:
        notes.append(f"runs on the CPU: {engine.report.fell_back}")
    return model, notes


def _is_artifact(path: Path) -> bool:
    """By its first member: an artifact that was renamed is one still."""
    if path.suffix == ".edge":
        return True
    try:
        with path.open("rb") as file:
            return file.read(30 + len(MANIFEST_FILE))[30:] == MANIFEST_FILE.encode()  # a zip's first name is at 30
    except OSError:
        return False


def _open_artifact(path: Path, options: Options, running: Running) -> tuple[Engine, Guess]:
    if options.input_kind is not None:
        raise InputError("--input-kind is for a bare .tflite; an artifact's manifest says what it takes")
    artifact = read_artifact(path)
    labels = release_labels(artifact.members.get(LABELS_FILE))
    signature = options.signature or artifact.manifest.signature
    # The engine maps the file, which outlives its name.
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        model = Path(directory) / MODEL_FILE
        model.write_bytes(artifact.members[MODEL_FILE])
        return _engine(model, signature, running), Guess(artifact.manifest, labels, ())


def _open_model(path: Path, options: Options, running: Running) -> tuple[Engine, Guess]:
    described = inspect_model(path)
    engine = _engine(path, options.signature, running)
    said = Said(
        task=options.task,
        kind=options.input_kind,
        window=options.window,
        features=options.features,
        sample_rate_hz=options.sample_rate,
        decoder=options.decoder,
        signature=options.signature,
    )
    try:
        return engine, guess(described, engine, said)
    except EdgeError:
        engine.close()
        raise


def _engine(path: Path, signature: str | None, running: Running) -> Engine:
    return open_engine(path, running.threads, delegate=running.delegate, signature=signature)


def _with_options(manifest: Manifest, options: Options) -> Manifest:
    given = {name: value for name in _INPUT_KEYS if (value := getattr(options, name)) is not None}
    wrong = [name for name in given if not hasattr(manifest.input, _INPUT_KEYS[name])]
    if wrong:
        raise InputError(
            f"{', '.join('--' + name.replace('_', '-') for name in wrong)} does not fit input kind "
            f"{manifest.input.kind!r}",
            hint="leave it out, or choose another --task or --input-kind",
        )
    outputs = {key: value for name, key in _OUTPUT_KEYS.items() if (value := getattr(options, name)) is not None}
    try:
        return replace(
            manifest,
            task=options.task or manifest.task,
            signature=options.signature or manifest.signature,
            input=_changed(manifest.input, {_INPUT_KEYS[name]: value for name, value in given.items()}),
            output=replace(manifest.output, **outputs),
        )
    except ValueError as error:
        raise InputError(str(error), hint="check the options; --mean and --std go together") from error


def _changed(spec: InputSpec, given: Mapping[str, Any]) -> InputSpec:
    return spec if isinstance(spec, TensorInput) else replace(spec, **given)


def _label_notes(model: Model) -> list[str]:
    """Of a detector whose labels are fewer than its classes: of other tasks that is an error."""
    decoder = model.decoder
    if not isinstance(decoder, Detector) or not model.labels:
        return []
    classes = decoder.head.classes or model.engine.report.detection_classes or 0
    if len(model.labels) >= classes - (decoder.head.background >= 0):
        return []
    return [f"{counted(len(model.labels), 'label')} for {classes} classes: objects of the others are told by number"]


def _is_answered(note: str, options: Options) -> bool:
    if options.labels is not None and note.endswith(
        ("label from the model's metadata", "labels from the model's metadata")
    ):
        return True
    return any(note.startswith(start) and getattr(options, name) is not None for start, name in _ANSWERED.items())


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
