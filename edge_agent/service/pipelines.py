"""What the workers say, sorted: results to the sinks, figures to telemetry, trouble to `reported`.

Belongs to the main loop. Which release a worker serves is left to `update`; what is sent when, to `agent`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_agent.clock import Clock
from edge_agent.config.pipeline import PipelineConfig
from edge_agent.errors import Reason, counted
from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import (
    Figures,
    FrameFailed,
    LoadFailed,
    Notice,
    Result,
    SamplesLost,
    Serving,
    SnapshotWritten,
    SourceEnded,
    SourceTrouble,
    Word,
)
from edge_agent.inference.sinks.opening import open_sinks
from edge_agent.inference.sinks.samples import SamplesSink
from edge_agent.inference.sinks.sink import Sink
from edge_agent.inference.sinks.trouble import SinkTrouble
from edge_agent.inference.stage_server import WorkerExited
from edge_agent.inference.triggers.triggers import Ports, Triggers
from edge_agent.service.boxless import BoxlessCrops
from edge_agent.telemetry.report import PipelineReport, Sum
from edge_agent.update.status import Problem

Event = Mapping[str, object]
_LOG = logging.getLogger(__name__)
_TELL_AGAIN_S = 600.0  # of frames that go on failing


@dataclass(frozen=True, slots=True)
class Heard:
    """A worker has said something, or has ended."""

    pipeline: str
    word: Word | WorkerExited


@dataclass(slots=True)
class _Pipeline:
    figures: dict[str, Sum]  # by stage
    sinks: list[Sink]
    sink_troubles: list[SinkTrouble]
    triggers: Triggers
    boxless: BoxlessCrops
    totals: Histogram = field(default_factory=Histogram)  # a frame's whole way, since the last telemetry
    p95_ms: float | None = None
    trouble: Problem | None = None
    comes_in: bool = False  # something, since the trouble
    roots: frozenset[str] = frozenset()  # the stages that see whole frames
    ended: bool = False
    told: set[str] = field(default_factory=set)  # troubles of the source that go on and on, and have been told
    failed: dict[tuple[bool, str], "_Failed"] = field(default_factory=dict)  # by: of the model or not, and its digest


@dataclass(slots=True)
class _Failed:
    """Frames that fail alike: a folder of bad pictures is one event, and one more each while."""

    told_s: float
    more: int = 0  # since then


class Pipelines:
    """All pipelines as the main loop sees them."""

    def __init__(
        self,
        configs: Mapping[str, PipelineConfig],
        clock: Clock,
        *,
        publish: Callable[[str, bytes], bool],
        version_of: Callable[[str], str | None],
        ports: Callable[[str], Ports],
    ) -> None:
        self._clock = clock
        self.library: str | None = None  # the interpreter in use, once a worker has said it
        self._all = {}
        for name, config in configs.items():
            sinks = open_sinks(name, config, clock, publish=publish, version_of=version_of)
            self._all[name] = _Pipeline(
                {stage: Sum(clock.monotonic_s()) for stage in config.order},
                sinks,
                [SinkTrouble(sink, clock) for sink in sinks],
                Triggers(name, config, ports(name), clock),
                BoxlessCrops(config.stage, version_of),
                roots=frozenset(stage for stage, each in config.stage.items() if each.crops_of is None),
            )

    @property
    def all_ended(self) -> bool:
        """Every source was to be played once, and all of it has been worked off."""
        return all(pipeline.ended for pipeline in self._all.values())

    def trouble(self, pipeline: str, stage: str) -> Problem | None:
        """Why a stage is given nothing, or why nothing is given to any."""
        found = self._all[pipeline]
        return found.trouble or found.boxless.problems.get(stage)

    def troubles(self, pipeline: str) -> tuple[object, ...]:
        """Another value whenever `trouble` has changed for a stage."""
        found = self._all[pipeline]
        return found.trouble, found.boxless.problems

    def p95_ms(self, pipeline: str) -> float | None:
        return self._all[pipeline].p95_ms

    def hear(self, heard: Heard) -> list[Event]:
        """Take in one word; gives the events to tell of."""
        pipeline = self._all[heard.pipeline]
        for sink in pipeline.sinks:
            _hear(sink, heard.word)
        match heard.word:
            case Result() as result:
                steps_ms = (sum(answer.latency_ms.values()) for answer in result.answers.values())
                pipeline.totals.add(result.capture_ms + sum(steps_ms))
                pipeline.triggers.take(result)
            case Figures() as figures:
                pipeline.figures[figures.stage].add(figures)
                pipeline.comes_in |= figures.frames_in > 0 and figures.stage in pipeline.roots
                if figures.frames_out and pipeline.comes_in and pipeline.trouble is not None:
                    pipeline.trouble = None
                    pipeline.told.clear()
            case Serving(library=library):
                self.library = library or self.library
                pipeline.ended = False
                pipeline.told.clear()
                pipeline.failed.clear()
            case SourceTrouble(detail, hint):
                pipeline.trouble = Problem(Reason.SOURCE, detail, hint)
                pipeline.comes_in = False
                pipeline.triggers.interrupted()
            case WorkerExited() as exited:
                pipeline.trouble = Problem(Reason.CRASH_LOOP, exited.detail, "it is started again by itself")
                pipeline.triggers.interrupted()
            case SnapshotWritten() as written:
                pipeline.triggers.written(written)
            case SourceEnded():
                pipeline.ended = True
        waiting = pipeline.boxless.hear(heard.word)
        event = self._event(pipeline, heard)
        return [
            *pipeline.triggers.events(),
            *([event] if event is not None else []),
            *(_problem_event(heard.pipeline, stage, problem) for stage, problem in waiting.items()),
        ]

    def _event(self, pipeline: _Pipeline, heard: Heard) -> Event | None:
        """What to tell of it, where it is anything new."""
        match heard.word:
            case SourceTrouble() as trouble if trouble.detail in pipeline.told:
                return None
            case SourceTrouble() as trouble:
                pipeline.told.add(trouble.detail)
            case FrameFailed() as failure:
                return self._failure(pipeline, heard, failure)
            case _:
                pass
        return _event_of(heard)

    def _failure(self, pipeline: _Pipeline, heard: Heard, failure: FrameFailed) -> Event | None:
        now_s, key = self._clock.monotonic_s(), (failure.of_model, failure.digest)
        failed = pipeline.failed.get(key)
        if failed is not None and now_s - failed.told_s < _TELL_AGAIN_S:
            failed.more += 1
            return None
        pipeline.failed[key] = _Failed(now_s)
        event = _event_of(heard)
        if failed is None or failed.more == 0 or event is None:
            return event
        return {**event, "detail": f"{failure.detail} (and {failed.more} more since the last one told)"}

    def take_events(self) -> list[Event]:
        """What triggers and sinks have to tell by themselves: a command that failed, a file that cannot be written."""
        events = [event for pipeline in self._all.values() for event in pipeline.triggers.events()]
        for name, pipeline in self._all.items():
            for trouble in pipeline.sink_troubles:
                detail = trouble.news()
                if detail is not None:
                    events.append({"kind": "sink_failed", "pipeline": name, "detail": detail})
        return events

    def take_figures(self, pss_bytes: Mapping[str, int | None]) -> dict[str, PipelineReport]:
        """What has happened since the last time, for telemetry; the p95 of that time is kept for `reported`."""
        now_s = self._clock.monotonic_s()
        for name, pipeline in self._all.items():
            total = pipeline.totals.quantile_ms(0.95)
            pipeline.p95_ms = round(total, 2) if total is not None else pipeline.p95_ms
            pipeline.totals = Histogram()
            for trouble in pipeline.sink_troubles:
                if detail := trouble.now():
                    _LOG.warning("%s: %s", name, detail)
        return {
            name: PipelineReport(
                {stage: figures.take(now_s) for stage, figures in pipeline.figures.items()}, pss_bytes.get(name)
            )
            for name, pipeline in self._all.items()
        }

    def close(self) -> None:
        for name, pipeline in self._all.items():
            pipeline.triggers.close()
            for sink in pipeline.sinks:
                sink.close()
            for trouble in pipeline.sink_troubles:
                if detail := trouble.news():  # of the last results; those of a short run are all of them
                    _LOG.warning("%s: %s", name, detail)


def _hear(sink: Sink, word: Word | WorkerExited) -> None:
    match word:
        case Result():
            sink.take(word)
        case SamplesLost() if isinstance(sink, SamplesSink):
            sink.heard(word)
        case SourceEnded():
            sink.flush()


def _event_of(heard: Heard) -> Event | None:
    word = heard.word
    more: dict[str, object]
    match word:
        case SourceTrouble():
            more = {"kind": "source_trouble", "detail": word.detail, "hint": word.hint}
        case SourceEnded():
            more = {"kind": "source_ended", "detail": counted(word.frames, "frame")}
        case FrameFailed():
            more = {"kind": "frame_failed", "stage": word.stage or None, "digest": word.digest, "detail": word.detail}
        case LoadFailed():
            more = {"kind": "load_failed", "stage": word.stage, "digest": word.digest, "detail": word.detail}
        case Notice():
            more = {"kind": "notice", "stage": word.stage, "detail": word.detail, "hint": word.hint}
        case WorkerExited():
            more = {"kind": "worker_exit", "detail": word.detail}
        case _:
            return None
    return {"pipeline": heard.pipeline, **{key: value for key, value in more.items() if value is not None}}


def _problem_event(pipeline: str, stage: str, problem: Problem) -> Event:
    told = {"reason": problem.reason.value, "detail": problem.detail, "hint": problem.hint}
    return {"pipeline": pipeline, "stage": stage, "kind": "problem", **told}
