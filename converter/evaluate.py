"""What models do when they are run: the values, and the calls that run them in a child process.

A bad model takes the interpreter down with it, so nothing is loaded here; `evaluate_child` does the work. What the
figures mean, and whether they are good enough, is left to `fidelity`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converter.child import run_child
from converter.errors import ConversionError
from edge_agent import schema
from edge_agent.inference.said import Said
from edge_agent.release.manifest import Manifest, format_manifest
from edge_agent.transform.tensor import Quantization, TensorSpec

CHILD = "converter.evaluate_child"
GOLDEN_NAME = "golden.npz"
_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Described:
    """A model that was loaded, and what it most likely takes and gives (`inference.guess`)."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    guessed: Mapping[str, Any]  # task, input, output, state and constants, as plain trees
    labels: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OutputError:
    """How far one output of the converted model is from the float model's, over all samples."""

    name: str
    max_abs: float
    snr_db: float | None = None  # None: equal, or not a signal (the lists of a detector)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model, run on this machine."""

    size_bytes: int
    partitions: int  # parts of the graph XNNPACK took
    latency_ms: float  # median


@dataclass(frozen=True, slots=True)
class Comparison:
    """The converted model, beside the float one where there is one."""

    samples: int
    representative: bool  # else made-up inputs
    converted: Measured
    float_model: Measured | None = None
    top1_agreement: float | None = None
    max_disagreement: float | None = None
    mean_disagreement: float | None = None
    outputs: tuple[OutputError, ...] = ()
    golden_vectors: int = 0
    golden_tolerance: float | None = None  # twice what noise of one pixel step does, within bounds
    anomaly_threshold: float | None = None  # made from the data, where the manifest has none


@dataclass(frozen=True, slots=True)
class Data:
    """Where the representative data is."""

    path: str
    limit: int
    input_names: tuple[str, ...]
    skip_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """What `compare` is asked to do."""

    converted: str
    float_model: str | None
    labels: tuple[str, ...]
    output_names: tuple[str, ...]
    data: Data | None
    golden_vectors: int
    tolerance_floor: float
    false_alarm_share: float = 0.005  # of normal samples; what an anomaly's threshold is made for


def describe(
    path: Path,
    folder: Path,
    *,
    reference: Path | None,
    output_names: Sequence[str],
    name: str,
    said: Said,
) -> Described:
    """Load a model in a child process; `said` is what is known of it already.

    `reference` holds inputs with its framework's outputs (see `frontends.keras`), which it must give too;
    `output_names` are its outputs' names in there, in the engine's order. `name` is for messages.

    Raises:
        ConversionError: it does not load, crashes, or answers other than its framework.
    """
    request = {
        "describe": str(path),
        "reference": str(reference) if reference else None,
        "output_names": list(output_names),
        "said": schema.dump(said),
    }
    try:
        answer = run_child(CHILD, request, folder, what=f"loading {name}", timeout_s=_TIMEOUT_S)
    except ConversionError as error:  # the person knows the file under the name it was given by
        raise ConversionError(str(error).replace(str(path), name), hint=error.hint) from error
    inputs, outputs = (tuple(map(parse_spec, answer[end])) for end in ("inputs", "outputs"))
    return Described(inputs, outputs, answer["guessed"], tuple(answer["labels"]), tuple(answer["notes"]))


def compare(task: Task, manifest: Manifest, folder: Path) -> Comparison:
    """Run both models in a child process; golden vectors are left in `folder`.

    Raises:
        ConversionError: one does not load, crashes, answers NaN, or does not fit the manifest.
        CalibrationError: the data cannot be read.
    """
    request = {"task": asdict(task), "manifest": format_manifest(manifest).decode()}
    answer = run_child(CHILD, request, folder, what="comparing the models", timeout_s=_TIMEOUT_S)
    return schema.parse(Comparison, answer, strict=True)


def format_spec(tensor: TensorSpec) -> dict[str, object]:
    """How a tensor crosses between the processes."""
    quantization = tensor.quantization
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.name,
        "quantization": [quantization.scale, quantization.zero_point] if quantization else None,
    }


def parse_spec(tree: Mapping[str, Any]) -> TensorSpec:
    pair = tree["quantization"]
    quantization = Quantization(float(pair[0]), int(pair[1])) if pair else None
    return TensorSpec(str(tree["name"]), tuple(tree["shape"]), np.dtype(tree["dtype"]), quantization)
