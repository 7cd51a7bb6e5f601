"""What devices say of themselves, as values: `reported`, `telemetry`, `event`, `availability` (docs/mqtt-interface.md).

Device and laptop share it. Formatting is exact; reading is tolerant, because device and laptop are seldom of the same
version: unknown fields are ignored, and words from closed lists (phases, reasons) are read as plain strings.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edge_agent import schema
from edge_agent.errors import EdgeError
from edge_agent.release.manifest import DIGEST

SCHEMA = 1
ONLINE, OFFLINE = b"online", b"offline"
MAX_PAYLOAD_BYTES = 60_000  # every hosted broker takes it
MAX_PACKET_BYTES = 65_536  # such a payload, or a chunk that does not compress, with its topic
MAX_NEED = 50  # digests in one `need`
_PLAIN_BYTES = 1_000  # above this, zlib pays
_MAX_INFLATED_BYTES = 2_000_000
T = TypeVar("T")


class MessageError(EdgeError):
    """A payload that is not the message its topic promises, or one too large to send."""


@dataclass(frozen=True, slots=True)
class AgentReport:
    version: str
    python: str
    library: str | None = None  # the interpreter in use, for example "ai-edge-litert 2.3.0"


@dataclass(frozen=True, slots=True)
class HardwareReport:
    model: str | None = None  # "Raspberry Pi 4 Model B Rev 1.4", where the board says so
    machine: str | None = None  # platform.machine()
    os: str | None = None
    cpus: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """A release a stage has or is getting."""

    digest: str
    version: str | None = None  # None: known by digest only


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """How the last update ended."""

    digest: str
    result: str  # committed, rejected, rolled_back, withdrawn
    version: str | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class RejectionReport:
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProblemReport:
    """What keeps a stage from going on now, and what a person may do about it."""

    reason: str
    detail: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class HeldReport:
    """A release that the channel gives and this stage does not take."""

    digest: str
    version: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage of a pipeline: what it follows, what it runs, how its last update ended."""

    model: str
    channel: str
    phase: str  # idle, fetching, staged, trial
    attempt: int | None = None  # while fetching
    starts: int | None = None  # while on trial
    current: ReleaseReport | None = None
    previous: ReleaseReport | None = None
    candidate: ReleaseReport | None = None
    last: OutcomeReport | None = None
    rejected: tuple[RejectionReport, ...] = ()
    lifted: int | None = None  # number of this channel's last order to lift rejections that was carried out
    held: HeldReport | None = None
    problem: ProblemReport | None = None
    p95_ms: float | None = None  # of a frame's whole way, lately; telemetry tells it in full


@dataclass(frozen=True, slots=True)
class Reported:
    """Retained: all that a device is, after each change."""

    agent: AgentReport
    hardware: HardwareReport = field(default_factory=HardwareReport)
    labels: tuple[str, ...] = ()
    pipelines: Mapping[str, Mapping[str, StageReport]] = field(default_factory=dict)  # pipeline → stage
    at_s: float | None = None  # device's wall time
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class StageTelemetry:
    """What one stage did since the last telemetry. Of a stage that sees crops, frames are crops."""

    digest: str | None = None
    frames: Mapping[str, int] = field(default_factory=dict)  # in, out, dropped, failed
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # step → count, p50, p95, p99, max
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class PipelineTelemetry:
    """What one pipeline did since the last telemetry: its first stage, and all of them where there are several."""

    digest: str | None = None
    frames: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pss_bytes: int | None = None
    fps: float | None = None
    stages: Mapping[str, StageTelemetry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Figures of one interval. `stream` and `seq` number them without a gap, so that a collector can tell a loss."""

    stream: str
    seq: int
    at_s: float  # wall time of the device
    uptime_s: float
    historical: bool = False  # sent later than it was measured
    pipelines: Mapping[str, PipelineTelemetry] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class EventReport:
    """Something that happened, once. `stream` and `seq` number them as they do telemetry."""

    stream: str
    seq: int
    at_s: float
    kind: str  # for example "committed", "rejected", "rolled_back", "problem", "worker_exit"
    pipeline: str | None = None
    stage: str | None = None
    digest: str | None = None
    version: str | None = None
    reason: str | None = None
    detail: str | None = None
    hint: str | None = None
    historical: bool = False  # sent later than it happened
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class BenchFigures:
    """What a release has shown on a device, without ever serving there."""

    library: str
    delegated: bool
    load_ms: float
    p50_ms: float  # of invoke
    p95_ms: float
    memory_bytes: int  # peak resident set, interpreter and all
    golden_vectors: int
    disagreement: float | None = None  # the worst of them


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The answer to a release on a bench channel."""

    digest: str
    model: str
    version: str
    outcome: str  # measured, refused (it would never serve there), failed (not now)
    measured: BenchFigures | None = None
    reason: str | None = None
    detail: str | None = None
    hint: str | None = None
    hardware: HardwareReport = field(default_factory=HardwareReport)
    at_s: float | None = None
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class _Need:
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Acknowledgement:
    streams: Mapping[str, int]


def format_reported(reported: Reported) -> bytes:
    """Plain JSON as long as it fits: people and other programs read this one."""
    return encode(schema.dump(reported), plain_bytes=MAX_PAYLOAD_BYTES)


def parse_reported(payload: bytes) -> Reported:
    return parse(Reported, payload)


def format_telemetry(telemetry: Telemetry) -> bytes:
    return encode(schema.dump(telemetry))


def parse_telemetry(payload: bytes) -> Telemetry:
    return parse(Telemetry, payload)


def format_event(event: EventReport) -> bytes:
    return encode(schema.dump(event))


def parse_event(payload: bytes) -> EventReport:
    return parse(EventReport, payload)


def format_bench(report: BenchReport) -> bytes:
    return encode(schema.dump(report))


def parse_bench(payload: bytes) -> BenchReport:
    return parse(BenchReport, payload)


def parse_availability(payload: bytes) -> bool:
    """Whether the device is online.

    Raises:
        MessageError: neither word.
    """
    if payload not in (ONLINE, OFFLINE):
        raise MessageError(f"availability is {payload[:20]!r}, expected 'online' or 'offline'")
    return payload == ONLINE


def format_ack(marks: Mapping[str, int]) -> bytes:
    """Of a collector: up to which number, without a gap, it has each stream of a device."""
    return encode({"schema": SCHEMA, "streams": dict(marks)}, plain_bytes=MAX_PAYLOAD_BYTES)


def parse_ack(payload: bytes) -> Mapping[str, int]:
    """Stream to its contiguous high-water mark.

    Raises:
        MessageError: not an ack.
    """
    return parse(_Acknowledgement, payload).streams


def format_need(digests: tuple[str, ...]) -> bytes:
    return encode({"schema": SCHEMA, "digests": list(digests[:MAX_NEED])}, plain_bytes=MAX_PAYLOAD_BYTES)


def parse_need(payload: bytes) -> tuple[str, ...]:
    """The digests that a device misses.

    Raises:
        MessageError: not a `need`, or more digests than one may hold.
    """
    need = parse(_Need, payload)
    if len(need.digests) > MAX_NEED or not all(DIGEST.fullmatch(digest) for digest in need.digests):
        raise MessageError(f"a need of {len(need.digests)} digests; at most {MAX_NEED} sha-256 digests are read")
    return need.digests


def encode(tree: object, *, plain_bytes: int = _PLAIN_BYTES) -> bytes:
    """JSON, or above `plain_bytes` zlib of it; the first byte tells which (0x7B or 0x78).

    Raises:
        MessageError: larger than `MAX_PAYLOAD_BYTES` even so.
    """
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
    payload = text if len(text) <= plain_bytes else zlib.compress(text)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MessageError(f"a message of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} can be sent")
    return payload


def decode(payload: bytes) -> dict[str, Any]:
    """The JSON object in a payload, inflated with a hard bound.

    Raises:
        MessageError: it is none.
    """
    try:
        if payload[:1] == b"\x78":
            inflater = zlib.decompressobj()
            payload = inflater.decompress(payload, _MAX_INFLATED_BYTES)
            if not inflater.eof:
                raise MessageError(f"a payload that is cut off, or inflates to more than {_MAX_INFLATED_BYTES} bytes")
        tree = json.loads(payload)
    except (ValueError, zlib.error, RecursionError) as error:
        raise MessageError(f"a payload that is neither JSON nor zlib of it: {error}") from error
    if not isinstance(tree, dict):
        raise MessageError(f"a payload that is a JSON {type(tree).__name__}, expected an object")
    return tree


def parse(kind: type[T], payload: bytes) -> T:
    """The value that a payload holds; fields that nobody knows are passed over.

    Raises:
        MessageError: it holds none.
    """
    try:
        return schema.parse(kind, decode(payload), strict=False)
    except schema.SchemaError as error:
        raise MessageError(f"{kind.__name__.strip('_').lower()}: {'; '.join(error.problems)}") from error
