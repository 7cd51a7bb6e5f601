"""The manifest: what an artifact says of its model that the model cannot say itself.

Tensor dtypes, shapes and quantization are read from the model and never repeated here. Parsing is tolerant
(a newer converter may say more than this agent knows); `agent` in `Runtime` tells when it must not be.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_agent import schema
from edge_agent.errors import ArtifactError, Reason

SCHEMA = 1
IDENTIFIER = re.compile(r"[a-z0-9_-]{1,64}")  # dots and spaces break NATS and RabbitMQ topics
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"
MANIFEST_FILE = "manifest.json"

TaskName = Literal["classification", "detection", "signal_classification", "raw"]


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a picture becomes the input tensor. Its size is the model's."""

    kind: Literal["image"] = "image"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    fit: Literal["stretch", "letterbox", "crop"] = "stretch"
    # Pillow's filters, antialiased when shrinking (except nearest)
    resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    # reduced: JPEG may be decoded at 1/2, 1/4 or 1/8 as long as it stays larger than the input
    decode: Literal["full", "reduced"] = "reduced"
    # real value = (pixel 0..255 - mean) / std, one each or one per channel; None: quantized inputs take the
    # pixel's byte (int8: byte - 128), float inputs 0..255 as it is
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together")
        if self.std is not None and any(value == 0 for value in self.std):
            raise ValueError("std must not be 0")
        if not all(map(math.isfinite, (*(self.mean or ()), *(self.std or ())))):  # JSON written by Python may hold NaN
            raise ValueError("mean and std must be finite")


@dataclass(frozen=True, slots=True)
class SignalInput:
    """How rows of a sensor become the input tensor: windows of `window` rows, `stride` rows apart."""

    kind: Literal["signal"] = "signal"
    channels: tuple[str, ...] = ()  # column names in order; empty: all columns in the order they come
    window: int = 1
    stride: int = 1
    sample_rate_hz: float | None = None
    mean: tuple[float, ...] | None = None  # real value = (sample - mean) / std, one each or one per channel
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.window < 1 or self.stride < 1:
            raise ValueError("window and stride must be at least 1 row")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together")
        if self.std is not None and any(value == 0 for value in self.std):
            raise ValueError("std must not be 0")
        if not all(map(math.isfinite, (*(self.mean or ()), *(self.std or ())))):  # JSON written by Python may hold NaN
            raise ValueError("mean and std must be finite")


@dataclass(frozen=True, slots=True)
class TensorInput:
    """Values that go into the tensor as they are (quantized where the tensor is)."""

    kind: Literal["tensor"] = "tensor"


InputSpec = ImageInput | SignalInput | TensorInput


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What the task decoder needs beside the tensors."""

    top_k: int | None = None  # at most so many predictions; None: 5 classes, every object
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    score_threshold: float = 0.0
    decoder: Literal["ssd_postprocess"] | None = None  # detection only
    # positions of boxes, classes, scores and count among the outputs; None: told apart by shape
    output_order: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError("top_k must be at least 1")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One member of the artifact."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not DIGEST.fullmatch(self.sha256):
            raise ValueError(f"sha256 {self.sha256!r} is not 64 lower-case hexadecimal digits")
        if self.size_bytes < 0:
            raise ValueError("size_bytes is negative")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the device must have."""

    agent: str = "0.1.0"  # the oldest agent that understands this artifact
    delegate: str | None = None  # for example "edgetpu"
    machine: str | None = None  # platform.machine() it is bound to, for example "aarch64"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the probe and the trial hold the release to, on the device itself. None: not judged."""

    golden_tolerance: float = 0.05  # largest `tasks.agreement.disagreement` from the golden outputs
    p95_ms: float | None = None  # invoke latency
    memory_bytes: int | None = None  # peak of the probe process
    error_share: float = 0.1  # of the frames of the trial
    trial_frames: int = 30  # frames the trial must see
    trial_s: float = 5.0  # and the time it lasts at the least


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of `manifest.json`."""

    name: str
    version: str
    task: TaskName
    input: InputSpec
    files: Mapping[str, FileEntry]
    created: str  # RFC 3339, UTC
    output: OutputSpec = field(default_factory=OutputSpec)
    runtime: Runtime = field(default_factory=Runtime)
    limits: Limits = field(default_factory=Limits)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if not IDENTIFIER.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} must be 1 to 64 of a-z, 0-9, _ and -")
        if not VERSION.fullmatch(self.version):
            raise ValueError(f"version {self.version!r} must be 1 to 64 of 0-9, A-Z, a-z, . _ + and -")
        if MODEL_FILE not in self.files:
            raise ValueError(f"files lists no {MODEL_FILE}")
        unknown = set(self.files) - {MODEL_FILE, LABELS_FILE, GOLDEN_FILE, REPORT_FILE}
        if unknown:
            raise ValueError(f"files lists {', '.join(sorted(unknown))}, which an artifact does not hold")


def parse_manifest(content: bytes) -> Manifest:
    """Read `manifest.json`.

    Raises:
        ArtifactError: with every problem found.
    """
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"manifest.json is not JSON: {error}", reason=Reason.BAD_MANIFEST) from error
    if isinstance(tree, dict) and isinstance(tree.get("schema"), int) and tree["schema"] > SCHEMA:
        raise ArtifactError(
            f"manifest.json has schema {tree['schema']}; this agent reads up to {SCHEMA}",
            reason=Reason.INCOMPATIBLE,
            hint="update edge-deploy on the device",
        )
    try:
        return schema.parse(Manifest, tree, strict=False)
    except schema.SchemaError as error:
        problems = "; ".join(error.problems)
        raise ArtifactError(f"manifest.json: {problems}", reason=Reason.BAD_MANIFEST) from error


def format_manifest(manifest: Manifest) -> bytes:
    """The one way a manifest is written: same manifest, same bytes."""
    return json.dumps(schema.dump(manifest), indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
