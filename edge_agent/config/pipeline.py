"""One pipeline of the configuration: a source, the models that see it, and where the results go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge_agent.config.checks import check_identifier, check_not_negative, check_share
from edge_agent.config.sinks import PreviewSink, SinkConfig, Trigger
from edge_agent.config.sources import SourceConfig, given_by

ONLY_STAGE = "main"  # the stage of the short form, `[pipeline.NAME]` with `model =` directly
Threads = int | Literal["auto"]
_MOST_THREADS = 64


@dataclass(frozen=True, slots=True)
class Delegate:
    """A library that runs (parts of) the model on other hardware, as TensorFlow Lite's external delegates do."""

    library: str  # "libedgetpu.so.1", or a path
    options: Mapping[str, str] = field(default_factory=dict)
    fallback: bool = False  # run on the CPU where it fails, and say so; else the model is not run


@dataclass(frozen=True, slots=True)
class Crops:
    """Which of another stage's detections a stage sees, and how much around them."""

    labels: tuple[str, ...] = ()  # empty: all
    min_score: float = 0.0
    margin: float = 0.0  # share of the box's size added on each side
    square: bool = False  # widened to a square first
    at_most: int = 5  # a picture, the best first

    def __post_init__(self) -> None:
        check_share(min_score=self.min_score)
        check_not_negative(margin=self.margin)
        if self.at_most < 1:
            raise ValueError("at_most must be at least 1")


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One model of a pipeline and the channel it follows."""

    model: str
    channel: str = "stable"
    initial: Path | None = None  # an .edge file that runs until the broker has something
    crops_of: str | None = None  # the stage whose detections this one sees; None: the frame itself
    crops: Crops = field(default_factory=Crops)
    delegate: Delegate | None = None

    def __post_init__(self) -> None:
        check_identifier("model", self.model)
        check_identifier("channel", self.channel)
        if self.crops_of is None and self.crops != Crops():
            raise ValueError("crops has no use without crops_of: name the stage whose objects are cut out")
        if self.initial is not None and self.initial.suffix != ".edge":
            raise ValueError(f"initial {str(self.initial)!r} must be an .edge file: make one with `edgectl convert`")


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """One source and the models that see it."""

    source: SourceConfig
    stage: Mapping[str, StageConfig]
    sinks: tuple[SinkConfig, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    threads: Threads = 1  # of each interpreter; auto: measured when a release is loaded

    def __post_init__(self) -> None:
        if not self.stage:
            raise ValueError("has no model: give it `model = ...` or a [pipeline.NAME.stage.STAGE] table")
        check_threads(self.threads)
        for name, stage in self.stage.items():
            check_identifier("stage", name)
            if stage.crops_of is not None and (stage.crops_of not in self.stage or stage.crops_of == name):
                raise ValueError(f"stage {name}: crops_of names {stage.crops_of!r}, which is no other stage here")
        self._check_order()
        pictures = given_by(self.source) == "pictures"
        if not pictures and any(stage.crops_of for stage in self.stage.values()):
            raise ValueError(f"crops_of needs pictures; source {self.source.kind!r} gives none")
        shows = [sink for sink in self.sinks if isinstance(sink, PreviewSink)]
        if (shows or any(trigger.snapshot for trigger in self.triggers)) and not pictures:
            raise ValueError(f"previews and snapshots need pictures; source {self.source.kind!r} gives none")
        if len(shows) > 1:
            raise ValueError("one preview is enough")
        self._check_triggers()

    @property
    def order(self) -> tuple[str, ...]:
        """The stages, each behind the one whose crops it sees, else as they are written."""
        found: list[str] = []
        left = list(self.stage)
        while left:
            ready = [name for name in left if self.stage[name].crops_of in (None, *found)]
            if not ready:
                break
            found.append(ready[0])
            left.remove(ready[0])
        return tuple(found)

    def _check_order(self) -> None:
        circle = [name for name in self.stage if name not in self.order]
        if circle:
            raise ValueError(f"stages {', '.join(circle)} see each other's crops in a circle")

    def _check_triggers(self) -> None:
        names = [trigger.name for trigger in self.triggers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"there are several triggers called {', '.join(twice)}")
        for trigger in self.triggers:
            if trigger.when.stage is not None and trigger.when.stage not in self.stage:
                raise ValueError(f"trigger {trigger.name}: when.stage names {trigger.when.stage!r}, no stage here")


def check_threads(threads: Threads) -> None:
    if threads != "auto" and not 1 <= threads <= _MOST_THREADS:
        raise ValueError(f"threads must be 1 to {_MOST_THREADS}, or 'auto'")
