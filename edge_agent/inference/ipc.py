"""What supervisor and worker say to each other: JSON lines over a socket pair, one value a line.

Only small values cross; pictures never do. No numpy here. Each message is a dataclass with its own `kind`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_agent import schema
from edge_agent.config.pipeline import Crops, Delegate, Threads
from edge_agent.config.sinks import PreviewSink, SamplesSink
from edge_agent.config.sources import SourceConfig
from edge_agent.errors import Reason

SCORE_BINS = 20  # of a frame's best score, 0 to 1
STEPS = ("capture", "preprocess", "invoke", "postprocess")  # what a frame's latency is made of, in order


# --- supervisor → worker ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageStart:
    """One stage of the pipeline. Without a release it waits for Load."""

    path: str | None = None  # directory of the release to serve
    digest: str | None = None
    threads: Threads = 1
    cores: int | None = None  # at most so many threads, where they are measured; None: all of the machine's
    delegate: Delegate | None = None
    crops_of: str | None = None  # the stage whose detections it sees
    crops: Crops = field(default_factory=Crops)


@dataclass(frozen=True, slots=True)
class Start:
    """The first line: what the worker is. It may be told to load releases later; frames are taken once there is one."""

    pipeline: str
    source: SourceConfig
    stages: Mapping[str, StageStart]  # in the order they see a frame
    preview: PreviewSink | None = None
    keeps_pictures: bool = False  # the last ones, for Snapshot
    samples: SamplesSink | None = None
    kind: Literal["start"] = "start"


@dataclass(frozen=True, slots=True)
class Load:
    """Load this release beside the running one and switch between two frames."""

    stage: str
    path: str
    digest: str
    kind: Literal["load"] = "load"


@dataclass(frozen=True, slots=True)
class Unload:
    """Serve nothing: the only release there was has been rolled back."""

    stage: str
    kind: Literal["unload"] = "unload"


@dataclass(frozen=True, slots=True)
class Shadow:
    """Run this release beside the one that answers a stage, and compare what both say of a share of the frames."""

    stage: str
    path: str
    digest: str
    share: float  # of the frames, at most: one is left out while the one before is still compared
    frames: int  # to compare
    kind: Literal["shadow"] = "shadow"


@dataclass(frozen=True, slots=True)
class EndShadow:
    """It need not be compared any more."""

    stage: str
    kind: Literal["end_shadow"] = "end_shadow"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Write the picture of this result, with what was found drawn in, as a JPEG file."""

    seq: int
    path: str
    kind: Literal["snapshot"] = "snapshot"


@dataclass(frozen=True, slots=True)
class Feed:
    """A message of the topic that is the pipeline's source. The supervisor hears it: a worker has no connection."""

    topic: str
    payload: str  # what is no UTF-8 has U+FFFD in it, and will be no JSON
    retained: bool = False  # the broker has kept it, nobody knows how long
    lost: int = 0  # messages before it that could not be handed over: the worker did not keep up
    kind: Literal["feed"] = "feed"


@dataclass(frozen=True, slots=True)
class FeedTrouble:
    """The topic cannot be heard now; the supervisor keeps trying."""

    detail: str
    hint: str | None = None
    kind: Literal["feed_trouble"] = "feed_trouble"


@dataclass(frozen=True, slots=True)
class Stop:
    kind: Literal["stop"] = "stop"


Order = Start | Load | Unload | Shadow | EndShadow | Snapshot | Feed | FeedTrouble | Stop

# --- worker → supervisor ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Serving:
    """The release that answers a stage's frames from now on (after Start or Load); None after Unload."""

    stage: str
    digest: str | None = None
    library: str | None = None
    delegated: bool = False  # XNNPACK or another delegate took nodes
    threads: int = 1
    delegate: str | None = None  # the external one in use
    fell_back: str | None = None  # why the delegate that was asked for is not in use
    kind: Literal["serving"] = "serving"


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A release that cannot be loaded; what served before still does."""

    stage: str
    digest: str
    reason: Reason
    detail: str
    hint: str | None = None
    kind: Literal["load_failed"] = "load_failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one stage said of one frame. `results` are `tasks.Prediction.to_json()`.

    Those of a stage whose detections another one has seen carry that one's answers to each:
    `{"label": "bird", ..., "stages": {"name": [{"label": "chickadee", ...}]}}`; that one's own answer holds them all.
    """

    digest: str
    task: str
    results: tuple[Mapping[str, object], ...]
    latency_ms: Mapping[str, float]  # by step, without capture; of a stage that sees crops, of all of them


@dataclass(frozen=True, slots=True)
class Result:
    """What the models said of one frame. A stage without a release, or which failed, has no answer."""

    seq: int  # frames of this worker, from 1
    captured_s: float  # wall time the frame was captured
    input: str  # file name, or the number of the frame or window in its source
    answers: Mapping[str, Answer]  # by stage, in their order
    capture_ms: float
    kind: Literal["result"] = "result"


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """One frame could not be used. `of_model`: the model's fault (it counts against a trial), else the frame's."""

    stage: str  # "" where no stage has seen it
    digest: str
    input: str
    of_model: bool
    detail: str
    kind: Literal["frame_failed"] = "frame_failed"


@dataclass(frozen=True, slots=True)
class Figures:
    """Once a second, of each stage: what has happened since the last Figures.

    Of a stage that sees crops, frames are crops, but for `answered`. What was dropped or could not be used counts for
    each stage that would have seen it.
    """

    stage: str
    frames_in: int
    frames_out: int
    answered: int  # whole frames: as many crops as one has are answered together, or fail together as one FrameFailed
    dropped: int
    failed: int
    latency: Mapping[str, Mapping[str, int]]  # step → histogram bucket → count (see edge_agent.histogram)
    latency_max_ms: Mapping[str, float]
    digest: str | None = None
    empty: int = 0  # of frames_out, those in which nothing was found
    scores: Mapping[str, int] = field(default_factory=dict)  # bin of the best score (of SCORE_BINS) → frames
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


@dataclass(frozen=True, slots=True)
class Shadowed:
    """How a Shadow stands: after each frame that has been compared, and when it is over."""

    stage: str
    digest: str
    compared: int
    agreed: int  # of these, both gave the same first answer
    over: bool = False
    reason: Reason | None = None  # why it will not do: it has crashed, say
    problem: str | None = None  # why it is over before its time; without a reason it is nobody's fault
    kind: Literal["shadowed"] = "shadowed"


@dataclass(frozen=True, slots=True)
class SnapshotWritten:
    """What came of a Snapshot; `problem` None: the file is there."""

    seq: int
    path: str
    problem: str | None = None
    kind: Literal["snapshot_written"] = "snapshot_written"


@dataclass(frozen=True, slots=True)
class SamplesLost:
    """How the keeping of samples stands, whenever that has changed."""

    lost: int  # since this was told last
    problem: str | None = None  # why the last one could not be kept; None: it could
    kind: Literal["samples_lost"] = "samples_lost"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the operator is to know and nobody need act on: a delegate that was fallen back from, say."""

    detail: str
    hint: str | None = None
    stage: str | None = None
    kind: Literal["notice"] = "notice"


Word = (
    Serving
    | LoadFailed
    | Result
    | FrameFailed
    | Figures
    | SourceTrouble
    | SourceEnded
    | Shadowed
    | SnapshotWritten
    | SamplesLost
    | Notice
)


def format_line(message: Order | Word) -> bytes:
    tree = _dump_result(message) if isinstance(message, Result) else schema.dump(message)
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"  # a file's name need not be UTF-8


@dataclass(frozen=True, slots=True)
class _OrderLine:
    order: Order


@dataclass(frozen=True, slots=True)
class _WordLine:
    word: Word


def parse_order(line: bytes) -> Order:
    return schema.parse(_OrderLine, {"order": json.loads(line)}, strict=False).order


def parse_word(line: bytes) -> Word:
    """What a worker has said.

    Raises:
        SchemaError, ValueError: it cannot be read.
    """
    tree = json.loads(line)
    if isinstance(tree, dict) and tree.get("kind") == "result":
        return _parse_result(tree)
    return schema.parse(_WordLine, {"word": tree}, strict=False).word


# There is one Result a frame and few of all other words: the general reader would be half of what they cost.


def _dump_result(result: Result) -> dict[str, object]:
    answers = {
        stage: {"digest": each.digest, "task": each.task, "results": each.results, "latency_ms": each.latency_ms}
        for stage, each in result.answers.items()
    }
    return {
        "kind": "result",
        "seq": result.seq,
        "captured_s": result.captured_s,
        "input": result.input,
        "answers": answers,
        "capture_ms": result.capture_ms,
    }


def _parse_result(tree: Mapping[str, Any]) -> Result:
    try:
        answers = {
            stage: Answer(str(each["digest"]), str(each["task"]), _trees(each["results"]), _numbers(each["latency_ms"]))
            for stage, each in tree["answers"].items()
        }
        captured_s, capture_ms = float(tree["captured_s"]), float(tree["capture_ms"])
        return Result(int(tree["seq"]), captured_s, str(tree["input"]), answers, capture_ms)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise schema.SchemaError([f"a result that cannot be read: {error!r}"]) from error


def _trees(values: object) -> tuple[Mapping[str, object], ...]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise TypeError("results are objects")
    return tuple(values)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {step: float(value) for step, value in values.items()}
