"""What supervisor and worker say to each other: JSON lines over a socket pair, one value a line.

Only small values cross; pictures never do. No numpy here. Each message is a dataclass with its own `kind`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_agent import schema
from edge_agent.config import SourceConfig
from edge_agent.errors import Reason

STAGES = ("capture", "preprocess", "invoke", "postprocess")  # the latency stages of one frame, in order


# --- supervisor → worker ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """The first line: what the worker is. It may be told to load a release later."""

    pipeline: str
    source: SourceConfig
    threads: int
    path: str | None = None  # directory of the release to serve; None: wait for Load, frames are not taken
    digest: str | None = None
    kind: Literal["start"] = "start"


@dataclass(frozen=True, slots=True)
class Load:
    """Load this release beside the running one and switch between two frames."""

    path: str
    digest: str
    kind: Literal["load"] = "load"


@dataclass(frozen=True, slots=True)
class Unload:
    """Serve nothing: the only release there was has been rolled back."""

    kind: Literal["unload"] = "unload"


@dataclass(frozen=True, slots=True)
class Stop:
    kind: Literal["stop"] = "stop"


Order = Start | Load | Unload | Stop

# --- worker → supervisor ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Serving:
    """The release that answers frames from now on (after Start or Load); None after Unload."""

    digest: str | None = None
    library: str | None = None
    delegated: bool = False
    kind: Literal["serving"] = "serving"


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A release that cannot be loaded; what served before still does."""

    digest: str
    reason: Reason
    detail: str
    hint: str | None = None
    kind: Literal["load_failed"] = "load_failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What the model said of one frame. `results` are `tasks.Prediction.to_json()`."""

    digest: str
    seq: int  # frames of this worker, from 1
    captured_s: float  # wall time the frame was captured
    input: str  # file name, or the number of the frame or window in its source
    task: str
    results: tuple[Mapping[str, object], ...]
    latency_ms: Mapping[str, float]  # by stage
    kind: Literal["result"] = "result"


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """One frame could not be used. `of_model`: the model's fault (it counts against a trial), else the frame's."""

    digest: str
    input: str
    of_model: bool
    detail: str
    kind: Literal["frame_failed"] = "frame_failed"


@dataclass(frozen=True, slots=True)
class Figures:
    """Once a second: what has happened since the last Figures."""

    frames_in: int
    frames_out: int
    dropped: int
    failed: int
    latency: Mapping[str, Mapping[str, int]]  # stage → histogram bucket → count (see edge_agent.histogram)
    latency_max_ms: Mapping[str, float]
    digest: str | None = None
    kind: Literal["figures"] = "figures"


@dataclass(frozen=True, slots=True)
class SourceTrouble:
    """The source gives nothing now; the worker keeps trying."""

    detail: str
    hint: str | None = None
    kind: Literal["source_trouble"] = "source_trouble"


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """A source that is played once has given all it had, and all of it has been worked off."""

    frames: int
    kind: Literal["source_ended"] = "source_ended"


Word = Serving | LoadFailed | Result | FrameFailed | Figures | SourceTrouble | SourceEnded


def format_line(message: Order | Word) -> bytes:
    return json.dumps(schema.dump(message), separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class _OrderLine:
    order: Order


@dataclass(frozen=True, slots=True)
class _WordLine:
    word: Word


def parse_order(line: bytes) -> Order:
    return schema.parse(_OrderLine, {"order": json.loads(line)}, strict=False).order


def parse_word(line: bytes) -> Word:
    return schema.parse(_WordLine, {"word": json.loads(line)}, strict=False).word
