"""What a report is made of: each part is filled by whoever measured it, and left out where nobody did.

Drawing is left to the other modules of this package.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LayerError:
    """One operator of the converted model, beside the float one, on the representative data."""

    name: str  # of its first output tensor in the float model
    operator: str  # CONV_2D
    precision: str  # int8, int16x8, float32 …
    snr_db: float | None = None  # of its output; None: equal
    macs: int | None = None
    size_bytes: int | None = None  # of its weights


@dataclass(frozen=True, slots=True)
class TensorRange:
    """Values of one activation over the calibration data."""

    name: str
    smallest: float
    largest: float
    counts: tuple[int, ...]  # of values in equal steps from smallest to largest


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way of quantizing that was tried."""

    label: str  # int8, 6 operators in float32
    size_bytes: int
    fidelity: float  # the figure the choice was made by, larger is better
    fidelity_name: str  # accuracy, top-1 agreement, SNR in dB
    latency_ms: float | None
    where: str = "here"  # the device it was run on
    pareto: bool = False  # no other one is better in all
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class CompressionStep:
    """One training step before quantization."""

    name: str  # prune, cluster, finetune …
    settings: Mapping[str, Any]
    metric_name: str
    metric_before: float
    metric_after: float
    size_bytes: int  # of the float model, compressed by zlib
    seconds: float


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A sample whose answer is another after the conversion."""

    sample: str
    before: str
    after: str
    picture_png: bytes | None = None  # a thumbnail


@dataclass(frozen=True, slots=True)
class Sections:
    """All that a report may hold beside the fidelity table."""

    layers: tuple[LayerError, ...] = ()
    ranges: tuple[TensorRange, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    compression: tuple[CompressionStep, ...] = ()
    changed: tuple[ChangedAnswer, ...] = ()
    # metrics of `edgectl evaluate`, by "float" and "converted", each a plain tree as `metrics` gives it
    evaluation: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
