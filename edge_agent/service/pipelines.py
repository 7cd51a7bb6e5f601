"""What the workers say, sorted: results to the sinks, figures to telemetry, trouble to `reported`.

Belongs to the main loop. Which release a worker serves is left to `update`; what is sent when, to `agent`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from edge_agent.clock import Clock
from edge_agent.config.pipeline import PipelineConfig
from edge_agent.config.sinks import JsonlSink as JsonlConfig
from edge_agent.config.sinks import MqttSink as MqttConfig
from edge_agent.errors import Reason
from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import (
    Figures,
    FrameFailed,
    LoadFailed,
    Result,
    Serving,
    SourceEnded,
    SourceTrouble,
    Word,
)
from edge_agent.inference.sinks import JsonlSink, MqttSink, Sink
from edge_agent.inference.stage_server import WorkerExited
from edge_agent.telemetry.report import PipelineReport, Sum
from edge_agent.update.status import Problem

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """A worker has said something, or has ended."""

    pipeline: str
    word: Word | WorkerExited


@dataclass(slots=True)
class _Pipeline:
    figures: dict[str, Sum]  # by stage
    sinks: list[Sink]
    totals: Histogram = field(default_factory=Histogram)  # a frame's whole way, since the last telemetry
    p95_ms: float | None = None
    trouble: Problem | None = None
    ended: bool = False
    told: set[tuple[str, str]] = field(default_factory=set)  # what goes on and on, and has been told


class Pipelines:
    """All pipelines as the main loop sees them."""

    def __init__(
        self,
        configs: Mapping[str, PipelineConfig],
        clock: Clock,
        *,
        publish: Callable[[str, bytes], bool],
        version_of: Callable[[str], str | None],
    ) -> None:
        self._clock = clock
        self.library: str | None = None  # the interpreter in use, once a worker has said it
        self._all = {
            name: _Pipeline(
                {stage: Sum(clock.monotonic_s()) for stage in config.order},
                _open_sinks(name, config, clock, publish, version_of),
            )
            for name, config in configs.items()
        }

    @property
    def all_ended(self) -> bool:
        """Every source was to be played once, and all of it has been worked off."""
        return all(pipeline.ended for pipeline in self._all.values())

    def trouble(self, pipeline: str) -> Problem | None:
        return self._all[pipeline].trouble

    def p95_ms(self, pipeline: str) -> float | None:
        return self._all[pipeline].p95_ms

    def hear(self, heard: Heard) -> Mapping[str, object] | None:
        """Take in one word; gives the event to tell of it, if there is one."""
        pipeline = self._all[heard.pipeline]
        match heard.word:
            case Result() as result:
                steps_ms = (sum(answer.latency_ms.values()) for answer in result.answers.values())
                pipeline.totals.add(result.capture_ms + sum(steps_ms))
                for sink in pipeline.sinks:
                    sink.take(result)
            case Figures() as figures:
                pipeline.figures[figures.stage].add(figures)
                if figures.frames_out and pipeline.trouble is not None:
                    pipeline.trouble = None
                    pipeline.told.clear()
            case Serving(library=library):
                self.library = library or self.library
                pipeline.ended = False
                pipeline.told.clear()
            case SourceTrouble(detail, hint):
                pipeline.trouble = Problem(Reason.SOURCE, detail, hint)
            case WorkerExited() as exited:
                pipeline.trouble = Problem(Reason.CRASH_LOOP, exited.detail, "it is started again by itself")
            case SourceEnded():
                pipeline.ended = True
                for sink in pipeline.sinks:
                    if isinstance(sink, MqttSink):
                        sink.flush()
        return None if _is_told(pipeline, heard.word) else _event_of(heard)

    def take_figures(self, pss_bytes: Mapping[str, int | None]) -> dict[str, PipelineReport]:
        """What has happened since the last time, for telemetry; the p95 of that time is kept for `reported`."""
        now_s = self._clock.monotonic_s()
        for name, pipeline in self._all.items():
            total = pipeline.totals.quantile_ms(0.95)
            pipeline.p95_ms = round(total, 2) if total is not None else pipeline.p95_ms
            pipeline.totals = Histogram()
            for sink in pipeline.sinks:
                if sink.problem:
                    _LOG.warning("%s: %d results lost so far: %s", name, sink.dropped, sink.problem)
        return {
            name: PipelineReport(
                {stage: figures.take(now_s) for stage, figures in pipeline.figures.items()}, pss_bytes.get(name)
            )
            for name, pipeline in self._all.items()
        }

    def close(self) -> None:
        for pipeline in self._all.values():
            for sink in pipeline.sinks:
                sink.close()


def _is_told(pipeline: _Pipeline, word: Word | WorkerExited) -> bool:
    """Whether it is nothing new: a folder of bad pictures is one event, until the source or the model is another."""
    match word:
        case SourceTrouble():
            key: tuple[str, str] = (word.kind, word.detail)
        case FrameFailed():
            key = ("model" if word.of_model else "frame", word.digest)
        case _:
            return False
    told = key in pipeline.told
    pipeline.told.add(key)
    return told


def _event_of(heard: Heard) -> Mapping[str, object] | None:
    pipeline, word = heard.pipeline, heard.word
    match word:
        case SourceTrouble():
            return {"kind": "source_trouble", "pipeline": pipeline, "detail": word.detail, "hint": word.hint}
        case SourceEnded():
            return {"kind": "source_ended", "pipeline": pipeline, "detail": f"{word.frames} frames"}
        case FrameFailed():
            return {"kind": "frame_failed", "pipeline": pipeline, "digest": word.digest, "detail": word.detail}
        case LoadFailed():
            return {"kind": "load_failed", "pipeline": pipeline, "digest": word.digest, "detail": word.detail}
        case WorkerExited():
            return {"kind": "worker_exit", "pipeline": pipeline, "detail": word.detail}
    return None


def _open_sinks(
    name: str,
    config: PipelineConfig,
    clock: Clock,
    publish: Callable[[str, bytes], bool],
    version_of: Callable[[str], str | None],
) -> list[Sink]:
    sinks: list[Sink] = []
    for sink in config.sinks:
        match sink:
            case JsonlConfig(path=path):
                sinks.append(JsonlSink(name, path, version_of))
            case MqttConfig(when=when, min_interval_s=interval_s):
                send = partial(publish, name)
                sinks.append(
                    MqttSink(name, send, when=when, min_interval_s=interval_s, clock=clock, version_of=version_of)
                )
    return sinks
