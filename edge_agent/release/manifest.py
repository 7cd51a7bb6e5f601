"""The manifest: what an artifact says of its model that the model cannot say itself.

Tensor dtypes, shapes and quantization are read from the model and never repeated here. Parsing is tolerant
(a newer converter may say more than this agent knows); `agent` in `Runtime` tells when it must not be.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent import schema
from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.inputs import InputSpec
from edge_agent.release.outputs import OutputSpec, TaskName

SCHEMA = 1
IDENTIFIER = re.compile(r"[a-z0-9_-]{1,64}")  # dots and spaces break NATS and RabbitMQ topics
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"
MANIFEST_FILE = "manifest.json"


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
    trial_longest_s: float = 3600.0  # after this an unclear trial is judged by what was seen, once it has its frames
    slower_than_current: float = 2.0  # so many times the p95 of invoke of the release it is to replace
    empty_share: float | None = None  # of the trial's answers, those in which nothing is found
    empty_rise: float = 0.5  # by so much the share of empty answers may be above the current release's
    score_drift: float | None = None  # largest distance, 0..1, between the best scores and the current release's
    agreement: float = 0.5  # least share of frames answered as the current release does; where the device compares them


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
    # of a model with several: which one is run; None: the only one, or the model's main graph
    signature: str | None = None
    # of a model that remembers: output → the input it is fed back to with the next frame; both by name, zero at first
    state: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, tuple[float, ...] | float] = field(default_factory=dict)  # input → what it always gets
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
    return json.dumps(schema.dump(manifest), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
