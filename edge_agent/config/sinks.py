"""Where results go, and what they set off: `sinks = [{ kind = ... }]` and `[[pipeline.NAME.triggers]]`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from edge_agent.config.checks import check_identifier, check_not_negative, check_positive, check_share


@dataclass(frozen=True, slots=True)
class MqttSink:
    """Results to the device's `result/<pipeline>` topic."""

    kind: Literal["mqtt"]
    when: Literal["changed", "always"] = "changed"  # changed: the best label; of a detection, the set of labels
    min_interval_s: float = 1.0  # at most one message in this time

    def __post_init__(self) -> None:
        check_not_negative(min_interval_s=self.min_interval_s)


@dataclass(frozen=True, slots=True)
class JsonlSink:
    """One JSON object a line."""

    kind: Literal["jsonl"]
    path: Path  # "-" is stdout
    max_bytes: int = 10_000_000  # a file that would grow beyond this is put aside as PATH.1, PATH.2, ...
    keep: int = 3  # of those put aside

    def __post_init__(self) -> None:
        check_positive(max_bytes=self.max_bytes)
        check_not_negative(keep=self.keep)


@dataclass(frozen=True, slots=True)
class WebhookSink:
    """Results as JSON by HTTP POST; what cannot be delivered is tried again, the oldest going first."""

    kind: Literal["webhook"]
    url: str
    when: Literal["changed", "always"] = "changed"
    min_interval_s: float = 1.0
    header_file: Path | None = None  # lines `Name: value` for each request, an Authorization for example
    timeout_s: float = 10.0
    waiting: int = 1000  # results kept while it cannot be reached
    retry_s: float = 300.0  # a result older than this is given up

    def __post_init__(self) -> None:
        check_positive(timeout_s=self.timeout_s, waiting=self.waiting, retry_s=self.retry_s)
        check_not_negative(min_interval_s=self.min_interval_s)
        _check_url(self.url)


@dataclass(frozen=True, slots=True)
class SqliteSink:
    """Every result as a row of an SQLite database, the oldest going first."""

    kind: Literal["sqlite"]
    path: Path
    max_rows: int = 100_000

    def __post_init__(self) -> None:
        check_positive(max_rows=self.max_rows)


@dataclass(frozen=True, slots=True)
class PreviewSink:
    """The picture with what was found drawn in, on http://127.0.0.1:PORT/ (a JPEG, and MJPEG for a browser)."""

    kind: Literal["preview"]
    port: int
    max_fps: float = 5.0
    width_px: int = 640  # of the picture that is sent, at most
    quality: int = 75  # of the JPEG

    def __post_init__(self) -> None:
        check_positive(max_fps=self.max_fps, width_px=self.width_px)
        if not 1 <= self.port <= 65_535:
            raise ValueError("port must be 1 to 65535")
        if not 1 <= self.quality <= 95:
            raise ValueError("quality must be 1 to 95")


@dataclass(frozen=True, slots=True)
class PluginSink:
    """A sink of your own: an entry point of the group edge_deploy.sinks (`docs/plugins.md`)."""

    kind: Literal["plugin"]
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)  # handed to it


def _check_url(url: str) -> None:
    """What can be asked for as it stands. What it is, no message tells: a webhook's path is a secret often."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("url must begin with http:// or https://")
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ValueError("url must be printable ASCII: write everything else as %XX")
    try:
        parts = urlsplit(url)
        known = bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError("url must name a host, and if a port then one of 1 to 65535")
    if "@" in parts.netloc:
        raise ValueError("url must not hold a user and password: put an Authorization line into the header_file")


SinkConfig = MqttSink | JsonlSink | WebhookSink | SqliteSink | PreviewSink | PluginSink


@dataclass(frozen=True, slots=True)
class When:
    """What has to be so, in one result after the other, before a trigger fires. All that is given must hold."""

    label: str | tuple[str, ...] | None = None  # one of these; None: any
    min_score: float | None = None
    above: float | None = None  # of the value of a regression or an anomaly's score
    below: float | None = None
    stage: str | None = None  # where a pipeline has several
    roi: tuple[float, float, float, float] | None = None  # px of the picture: left, top, right, bottom of a zone
    at_least: int = 1  # so many objects at a time
    for_s: float = 0.0  # it has been so for this long
    gap_s: float = 1.0  # and not interrupted for longer than this
    absent: bool = False  # the other way round: nothing of the kind is seen

    def __post_init__(self) -> None:
        check_share(min_score=self.min_score)
        check_not_negative(for_s=self.for_s, gap_s=self.gap_s)
        if self.at_least < 1:
            raise ValueError("at_least must be at least 1")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError("above must be less than below: no value is both")
        if self.roi is not None and (self.roi[0] >= self.roi[2] or self.roi[1] >= self.roi[3]):
            raise ValueError("roi must be left, top, right, bottom with left < right and top < bottom")

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else self.label or ()


@dataclass(frozen=True, slots=True)
class Gpio:
    """A line of a GPIO chip that is switched on (extra `gpio`)."""

    line: int
    chip: str = "/dev/gpiochip0"
    on_s: float = 1.0  # then it is switched off again
    active_low: bool = False

    def __post_init__(self) -> None:
        check_not_negative(line=self.line)
        check_positive(on_s=self.on_s)


@dataclass(frozen=True, slots=True)
class Trigger:
    """Something that is done when results are so and so. At least one of topic, gpio, command and snapshot."""

    name: str
    when: When
    cool_down_s: float = 10.0  # after it has fired
    topic: str | None = None  # MQTT: the message is what fired it, as JSON; below the prefix and the device's topic
    gpio: Gpio | None = None
    command: tuple[str, ...] = ()  # program and arguments; what fired it is JSON on its standard input
    command_timeout_s: float = 30.0
    snapshot: Path | None = None  # a folder: the picture with what was found drawn in, as JPEG
    snapshot_keep: int = 100  # pictures in it; the oldest go first

    def __post_init__(self) -> None:
        check_identifier("name", self.name)
        check_not_negative(cool_down_s=self.cool_down_s)
        check_positive(command_timeout_s=self.command_timeout_s, snapshot_keep=self.snapshot_keep)
        if self.topic is not None:
            check_identifier("topic", self.topic)
        if self.topic is None and self.gpio is None and not self.command and self.snapshot is None:
            raise ValueError(f"trigger {self.name} does nothing: give it topic, gpio, command or snapshot")
