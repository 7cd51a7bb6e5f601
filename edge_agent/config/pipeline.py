"""One pipeline of the configuration: a source, the models that see it, and where the results go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from edge_agent import schema
from edge_agent.config.checks import Count, Identifier, Share, Table, from_to
from edge_agent.config.sinks import MqttSink, PreviewSink, SamplesSink, SinkConfig, Trigger, WebhookSink, When
from edge_agent.config.sources import SourceConfig, given_by
from edge_agent.config.update import BENCH_CHANNEL

ONLY_STAGE = "main"  # the stage of the short form, `[pipeline.NAME]` with `model =` directly
_MOST_THREADS = 64


def check_threads(threads: int | str) -> None:
    if isinstance(threads, int) and not 1 <= threads <= _MOST_THREADS:
        raise ValueError(f"must be 1 to {_MOST_THREADS}, or 'auto', found {schema.found(threads)}")


def _check_artifact(path: Path) -> None:
    if path.suffix != ".edge":
        raise ValueError(f"must be an .edge file, found {str(path)!r}: make one with `edgectl convert`")


def _check_some(stages: Mapping[str, object]) -> None:
    if not stages:
        raise ValueError("the pipeline has no model: give it `model = ...` or a [pipeline.NAME.stage.STAGE] table")


Threads = Annotated[int | Literal["auto"], check_threads]


@dataclass(frozen=True, slots=True)
class Delegate:
    """A library that runs (parts of) the model on other hardware, as TensorFlow Lite's external delegates do."""

    library: str  # "libedgetpu.so.1", or a path
    options: Mapping[str, str] = field(default_factory=dict)
    fallback: bool = False  # run on the CPU where it fails, and say so; else the model is not run


@dataclass(frozen=True, slots=True)
class Crops(Table):
    """Which of another stage's detections a stage sees, and how much around them."""

    labels: tuple[str, ...] = ()  # empty: all
    min_score: Share = 0.0
    margin: Annotated[float, from_to(0, 100)] = 0.0  # share of the box's size added on each side
    square: bool = False  # widened to a square first
    at_most: Count = 5  # a picture, the best first


@dataclass(frozen=True, slots=True)
class StageConfig(Table):
    """One model of a pipeline and the channel it follows."""

    model: Identifier
    channel: Identifier = "stable"
    initial: Annotated[Path, _check_artifact] | None = None  # an .edge file that runs until the broker has something
    crops_of: str | None = None  # the stage whose detections this one sees; None: the frame itself
    crops: Crops = field(default_factory=Crops)
    delegate: Delegate | None = None

    def problems(self) -> Iterator[str]:
        if self.channel == BENCH_CHANNEL:
            yield f"channel {BENCH_CHANNEL!r} is for releases that are only measured: follow another one"
        if self.crops_of is None and self.crops != Crops():
            yield "crops has no use without crops_of: name the stage whose objects are cut out"


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """What is right by itself in a pipeline, be the rest wrong: enough to tell what of it does not go together."""

    source: SourceConfig | None
    stage: Mapping[str, StageConfig | None]
    sinks: tuple[SinkConfig, ...] = ()
    triggers: tuple[Trigger, ...] = ()

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "PipelineParts":
        """From a plain tree. What is wrong in it is left out; of a stage its name is kept."""
        stages = table.get("stage")
        return cls(
            schema.read_sound(SourceConfig, table.get("source")),
            {
                str(name): schema.read_sound(StageConfig, stage)
                for name, stage in (stages.items() if isinstance(stages, Mapping) else ())
            },
            _sound_of(SinkConfig, table.get("sinks")),
            _sound_of(Trigger, table.get("triggers")),
        )

    def problems(self) -> Iterator[str]:
        yield from self._of_stages()
        yield from self._of_pictures()
        yield from self._of_sinks()
        yield from self._of_triggers()

    def _of_stages(self) -> Iterator[str]:
        known = {name: stage for name, stage in self.stage.items() if stage is not None}
        astray = [name for name, stage in known.items() if stage.crops_of not in (None, *({*self.stage} - {name}))]
        for name in astray:
            yield f"stage {name}: crops_of names {known[name].crops_of!r}, which is no other stage here"
        circle = [name for name in known if name not in in_order(known)]
        if circle and not astray and len(known) == len(self.stage):
            yield f"stages {', '.join(circle)} see each other's crops in a circle"

    def _of_pictures(self) -> Iterator[str]:
        if self.source is None or given_by(self.source) == "pictures":
            return
        if any(stage.crops_of for stage in self.stage.values() if stage is not None):
            yield f"crops_of needs pictures; source {self.source.kind!r} gives none"
        shown = any(isinstance(sink, PreviewSink) for sink in self.sinks)
        if shown or any(trigger.snapshot for trigger in self.triggers):
            yield f"previews and snapshots need pictures; source {self.source.kind!r} gives none"

    def _of_sinks(self) -> Iterator[str]:
        for kind, what in ((PreviewSink, "preview"), (MqttSink, "mqtt sink"), (SamplesSink, "samples sink")):
            count = sum(isinstance(sink, kind) for sink in self.sinks)
            if count > 1:
                yield f"one {what} is enough, found {count}"
        urls = [sink.url for sink in self.sinks if isinstance(sink, WebhookSink)]
        if len(set(urls)) < len(urls):
            yield "several webhooks have one url, so each result would arrive twice: leave all but one out"
        for sink in self.sinks:
            if isinstance(sink, SamplesSink):
                yield from self._of_samples(sink)

    def _of_samples(self, sink: SamplesSink) -> Iterator[str]:
        if self.stage and sink.stage is not None and sink.stage not in self.stage:
            yield f"samples: stage names {sink.stage!r}, no stage here; there is {', '.join(self.stage)}"
        kept = self.stage.get(sink.stage) if sink.stage is not None else None
        if kept is not None and kept.crops_of is not None:
            yield f"samples: stage {sink.stage!r} sees crops; samples are of stages that see whole frames"
        if sink.when is not None:
            yield from self._of_when("samples", sink.when)

    def _of_triggers(self) -> Iterator[str]:
        names = [trigger.name for trigger in self.triggers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            yield f"there are several triggers called {', '.join(twice)}: give each a name of its own"
        for trigger in self.triggers:
            yield from self._of_when(f"trigger {trigger.name}", trigger.when)

    def _of_when(self, whose: str, when: When) -> Iterator[str]:
        if self.stage and when.stage is not None and when.stage not in self.stage:
            yield f"{whose}: when.stage names {when.stage!r}, no stage here; there is {', '.join(self.stage)}"


@dataclass(frozen=True, slots=True)
class PipelineConfig(Table):
    """One source and the models that see it."""

    source: SourceConfig
    stage: Annotated[Mapping[Identifier, StageConfig], _check_some]
    sinks: tuple[SinkConfig, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    threads: Threads = 1  # of each interpreter; auto: measured when a release is loaded

    def problems(self) -> Iterator[str]:
        return PipelineParts(self.source, self.stage, self.sinks, self.triggers).problems()

    @property
    def samples(self) -> SamplesSink | None:
        """Where what the model is given is kept, if it is."""
        return next((sink for sink in self.sinks if isinstance(sink, SamplesSink)), None)

    @property
    def order(self) -> tuple[str, ...]:
        """The stages, each behind the one whose crops it sees, else as they are written."""
        return in_order(self.stage)


def in_order(stages: Mapping[str, StageConfig]) -> tuple[str, ...]:
    """The stages, each behind the one whose crops it sees; those that see each other's in a circle are left out."""
    found: list[str] = []
    left = list(stages)
    while left:
        ready = [name for name in left if stages[name].crops_of in (None, *found)]
        if not ready:
            break
        found.append(ready[0])
        left.remove(ready[0])
    return tuple(found)


def _sound_of(kind: Any, items: object) -> tuple[Any, ...]:
    read = (schema.read_sound(kind, item) for item in (items if isinstance(items, list) else ()))
    return tuple(item for item in read if item is not None)
