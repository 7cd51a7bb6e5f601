"""What a bare `.tflite` most likely takes and gives: its author's metadata where there is any, else its shapes.

Every guess is said, so that a wrong one is seen. Artifacts need none of this: their manifest says it all.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import InputError
from edge_agent.inference.engine import Engine
from edge_agent.inference.model_file import ModelFile
from edge_agent.release.inputs import ImageInput, InputSpec, SignalInput, TensorInput
from edge_agent.release.manifest import MODEL_FILE, FileEntry, Manifest
from edge_agent.release.outputs import OutputSpec, TaskName
from edge_agent.transform.tensor import TensorSpec

_DETECTION_OPERATOR = "TFLite_Detection_PostProcess"
_GIVING_SCORES = ("SOFTMAX", "LOGISTIC")
_DETECTION_THRESHOLD = 0.5
_SMALLEST_PICTURE_PX = 8
_LARGEST_ASPECT = 3.0  # of a gray picture; longer ones are windows: 49 x 10 audio features, 52 x 3 samples


@dataclass(frozen=True, slots=True)
class Guess:
    manifest: Manifest
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def guess(described: ModelFile, engine: Engine, task: TaskName | None = None, window: int | None = None) -> Guess:
    """A manifest for a model that has none. `task` and `window` are what somebody said of it.

    Raises:
        InputError: it cannot be read to the end.
    """
    notes: list[str] = []
    source = _input(described, engine.inputs, task, window, notes)
    chosen = task or _task(described, engine.outputs, source, notes)
    output = _output(described, engine.outputs, chosen, notes)
    labels = _labels(described, engine.outputs, chosen, notes)
    try:
        content = described.path.read_bytes()
    except OSError as error:
        raise InputError(f"{described.path}: {error.strerror or error}") from error
    manifest = Manifest(
        name=_identifier(described.path),
        version="0",
        task=chosen,
        input=source,
        output=output,
        files={MODEL_FILE: FileEntry(hashlib.sha256(content).hexdigest(), len(content))},
        created="1970-01-01T00:00:00Z",
    )
    return Guess(manifest, labels, tuple(notes))


def _input(
    described: ModelFile, inputs: tuple[TensorSpec, ...], task: TaskName | None, window: int | None, notes: list[str]
) -> InputSpec:
    shape = inputs[0].shape if len(inputs) == 1 else ()
    signal = task == "signal_classification" or window is not None
    if not signal and task != "raw" and _is_picture(shape):
        return _picture(described, inputs[0], notes)
    if shape and (signal or (task != "raw" and (len(shape) == 3 or (len(shape) == 4 and shape[-1] == 1)))):
        rows = window or shape[1 if len(shape) > 1 else 0]
        notes.append(f"input guessed from its shape: windows of {rows} rows ({inputs[0].label})")
        return SignalInput(window=rows, stride=rows)
    return TensorInput()


def _is_picture(shape: tuple[int, ...]) -> bool:
    if len(shape) != 4 or shape[3] not in (1, 3):
        return False
    low, high = sorted(shape[1:3])
    return low >= _SMALLEST_PICTURE_PX and (shape[3] == 3 or high <= low * _LARGEST_ASPECT)


def _picture(described: ModelFile, tensor: TensorSpec, notes: list[str]) -> ImageInput:
    said = described.metadata.inputs[0] if described.metadata and described.metadata.inputs else None
    color = "gray" if tensor.shape[3] == 1 else "rgb"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    if tensor.dtype.kind == "f":  # integer inputs take the pixels' bytes, whatever the metadata says of real values
        if said is not None and said.mean and said.std and 0.0 not in said.std:
            mean, std = said.mean, said.std
            notes.append(f"normalization from the model's metadata: mean {_row(mean)}, std {_row(std)}")
        else:
            mean = std = (127.5,)
            notes.append(
                "normalization guessed: mean 127.5, std 127.5 (pixels as -1..1); --mean 0 --std 255 gives 0..1"
            )
    # decode="full": a single picture is to be exact, not fast
    return ImageInput(color="gray" if color == "gray" else "rgb", decode="full", mean=mean, std=std)


def _task(described: ModelFile, outputs: tuple[TensorSpec, ...], source: InputSpec, notes: list[str]) -> TaskName:
    shape = outputs[0].shape if len(outputs) == 1 else ()
    row_of_scores = bool(shape) and shape[-1] > 1 and all(size == 1 for size in shape[:-1])
    gives_scores = described.output_operators[:1] != () and described.output_operators[0] in _GIVING_SCORES
    task: TaskName = "raw"
    if isinstance(source, ImageInput) and _DETECTION_OPERATOR in described.output_operators:
        task = "detection"
    elif row_of_scores and isinstance(source, SignalInput):
        task = "signal_classification"
    elif row_of_scores and (isinstance(source, ImageInput) or gives_scores):
        task = "classification"
    notes.append(f"task guessed from the outputs: {task} ({', '.join(tensor.label for tensor in outputs)})")
    return task


def _output(described: ModelFile, outputs: tuple[TensorSpec, ...], task: TaskName, notes: list[str]) -> OutputSpec:
    if task == "detection":
        notes.append(f"objects below a score of {_DETECTION_THRESHOLD} are left out; --threshold changes that")
        return OutputSpec(score_threshold=_DETECTION_THRESHOLD, decoder="ssd_postprocess")
    if task == "raw" or not outputs or not described.output_operators:
        return OutputSpec()
    last = described.output_operators[0]
    quantization = outputs[0].quantization
    in_0_to_1 = quantization is not None and quantization.scale * 256 <= 1.01
    if last in _GIVING_SCORES or in_0_to_1:
        return OutputSpec()
    notes.append(f"softmax guessed: the model ends in {last or 'no operator'}, which gives no scores in 0..1")
    return OutputSpec(activation="softmax")


def _labels(described: ModelFile, outputs: tuple[TensorSpec, ...], task: TaskName, notes: list[str]) -> tuple[str, ...]:
    labels = described.labels
    if not labels or task == "raw":
        return ()
    classes = outputs[0].shape[-1] if outputs and outputs[0].shape else 0
    if task != "detection" and len(labels) != classes:
        notes.append(f"the {len(labels)} labels in the model are not used: it has {classes} classes")
        return ()
    notes.append(f"{len(labels)} labels from the model's metadata")
    return labels


def _row(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _identifier(path: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower())[:64].strip("-") or "model"
