"""Where results go, and what they set off: `sinks = [{ kind = ... }]` and `[[pipeline.NAME.triggers]]`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from edge_agent.config.checks import (
    Count,
    CountOr0,
    Identifier,
    Pixels,
    Rate,
    Seconds,
    SecondsOr0,
    Share,
    Table,
    from_to,
)


def _check_url(url: str) -> None:
    """What can be asked for as it stands. What it is, no message tells: a webhook's path is a secret often."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ValueError("must be printable ASCII: write everything else as %XX")
    try:
        parts = urlsplit(url)
        known = bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError("must name a host, and if a port then one of 1 to 65535")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user and password: put an Authorization line into the header_file")


def _check_command(command: tuple[str, ...]) -> None:
    if command and (not command[0] or any("\0" in word for word in command)):
        raise ValueError(f"must be a program and its arguments, found {[*command]}")


def _check_zone(roi: tuple[float, float, float, float]) -> None:
    if roi[0] >= roi[2] or roi[1] >= roi[3]:
        raise ValueError(f"must be left, top, right, bottom with left < right and top < bottom, found {[*roi]}")


@dataclass(frozen=True, slots=True)
class MqttSink(Table):
    """Results to the device's `result/<pipeline>` topic."""

    kind: Literal["mqtt"]
    when: Literal["changed", "always"] = "changed"  # changed: the best label; of a detection, the set of labels
    min_interval_s: SecondsOr0 = 1.0  # at most one message in this time


@dataclass(frozen=True, slots=True)
class JsonlSink(Table):
    """One JSON object a line."""

    kind: Literal["jsonl"]
    path: Path  # "-" is stdout
    max_bytes: Count = 10_000_000  # a file that would grow beyond this is put aside as PATH.1, PATH.2, ...
    keep: CountOr0 = 3  # of those put aside


@dataclass(frozen=True, slots=True)
class WebhookSink(Table):
    """Results as JSON by HTTP POST; what cannot be delivered is tried again, the oldest going first."""

    kind: Literal["webhook"]
    url: Annotated[str, _check_url]
    when: Literal["changed", "always"] = "changed"
    min_interval_s: SecondsOr0 = 1.0
    header_file: Path | None = None  # lines `Name: value` for each request, an Authorization for example
    timeout_s: Seconds = 10.0
    waiting: Count = 1000  # results kept while it cannot be reached
    retry_s: Seconds = 300.0  # a result older than this is given up


@dataclass(frozen=True, slots=True)
class SqliteSink(Table):
    """Every result as a row of an SQLite database, the oldest going first."""

    kind: Literal["sqlite"]
    path: Path
    max_rows: Count = 100_000


@dataclass(frozen=True, slots=True)
class PreviewSink(Table):
    """The picture with what was found drawn in, on http://127.0.0.1:PORT/ (a JPEG, and MJPEG for a browser)."""

    kind: Literal["preview"]
    port: Annotated[int, from_to(1, 65_535)]
    max_fps: Rate = 5.0
    width_px: Pixels = 640  # of the picture that is sent, at most
    quality: Annotated[int, from_to(1, 95)] = 75  # of the JPEG


@dataclass(frozen=True, slots=True)
class PluginSink(Table):
    """A sink of your own: an entry point of the group edge_deploy.sinks (`docs/plugins.md`)."""

    kind: Literal["plugin"]
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)  # handed to it


@dataclass(frozen=True, slots=True)
class When(Table):
    """What has to be so, in one result after the other, before a trigger fires. All that is given must hold."""

    label: str | tuple[str, ...] | None = None  # one of these; None: any
    min_score: Share | None = None
    above: float | None = None  # of the value of a regression or an anomaly's score
    below: float | None = None
    stage: str | None = None  # where a pipeline has several
    # Of a zone: left, top, right, bottom, px of the picture
    roi: Annotated[tuple[float, float, float, float], _check_zone] | None = None
    at_least: Count = 1  # so many objects at a time
    for_s: SecondsOr0 = 0.0  # it has been so for this long
    gap_s: SecondsOr0 = 1.0  # and not interrupted for longer than this
    absent: bool = False  # the other way round: nothing of the kind is seen

    def problems(self) -> Iterator[str]:
        if self.above is not None and self.below is not None and self.above >= self.below:
            yield f"above must be less than below, found {self.above:g} and {self.below:g}: no value is both"

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else self.label or ()


@dataclass(frozen=True, slots=True)
class SamplesSink(Table):
    """What the model was given, as files of a folder, with what it said beside them: for calibration and evaluation."""

    kind: Literal["samples"]
    folder: Path  # made if it is missing; one for each pipeline
    max_count: Annotated[int, from_to(1, 100_000)] = 1000  # samples in it; the oldest go first
    max_bytes: Count = 200_000_000  # of all of them
    min_interval_s: SecondsOr0 = 10.0  # at most one sample in this time
    when: When | None = None  # only of results of which this holds; None: of all
    share: Share | None = None  # of these, at random; None: all, or where score_below is given only those
    score_below: Share | None = None  # and all of which the best score is less than this
    stage: str | None = None  # whose input and answers are kept, where there are several; None: the first one
    publish: bool = False  # send them to whoever asks for them over the broker
    max_bytes_per_s: Annotated[int, from_to(6_000, 1_000_000_000, "bytes a second")] = 50_000  # sent at most

    def problems(self) -> Iterator[str]:
        if not self.share and self.score_below is None and self.share is not None:
            yield "share = 0 keeps nothing: leave it out, or give score_below"


SinkConfig = MqttSink | JsonlSink | WebhookSink | SqliteSink | PreviewSink | SamplesSink | PluginSink


@dataclass(frozen=True, slots=True)
class Gpio(Table):
    """A line of a GPIO chip that is switched on (extra `gpio`)."""

    line: Annotated[int, from_to(0, 65_535)]
    chip: str = "/dev/gpiochip0"
    on_s: Seconds = 1.0  # then it is switched off again
    active_low: bool = False


@dataclass(frozen=True, slots=True)
class Trigger(Table):
    """Something that is done when results are so and so. At least one of topic, gpio, command and snapshot."""

    name: Identifier
    when: When
    cool_down_s: SecondsOr0 = 10.0  # after it has fired
    topic: Identifier | None = None  # below the prefix and the device's topic; the message is what fired it, as JSON
    gpio: Gpio | None = None
    command: Annotated[
        tuple[str, ...], _check_command
    ] = ()  # program and arguments; what fired it is JSON on its standard input
    command_timeout_s: Seconds = 30.0
    snapshot: Path | None = None  # a folder: the picture with what was found drawn in, as JPEG
    snapshot_keep: Count = 100  # pictures in it; the oldest go first

    def problems(self) -> Iterator[str]:
        if self.topic is None and self.gpio is None and not self.command and self.snapshot is None:
            yield f"trigger {self.name} does nothing: give it topic, gpio, command or snapshot"
