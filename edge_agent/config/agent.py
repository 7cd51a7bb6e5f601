"""The device's configuration: `agent.toml` as values that are right, or a list of what is wrong in it.

`systemd/agent.toml` shows every key with its unit and default. Paths are relative to the file they stand in.
Whether a path exists is asked by whoever opens it: a folder may be mounted later than the agent starts.
"""

import difflib
import platform
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from edge_agent import schema
from edge_agent.config.checks import check_broker_url, check_identifier, check_share
from edge_agent.config.pipeline import ONLY_STAGE, PipelineConfig, StageConfig
from edge_agent.config.together import problems_together
from edge_agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    id: str = ""  # empty: made of the host name
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_identifier("id", self.id or default_device_id())


@dataclass(frozen=True, slots=True)
class MqttConfig:
    url: str  # mqtt://HOST[:1883] or mqtts://HOST[:8883]
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None  # None: the system's certificate authorities
    cert_file: Path | None = None  # client certificate, with key_file
    key_file: Path | None = None
    prefix: str = "edge/v1"
    keepalive_s: int = 30
    fetch_window: int = 8  # chunks on their way at a time

    def __post_init__(self) -> None:
        check_broker_url(self.url)
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs a username")
        if not 1 <= self.fetch_window <= 64:
            raise ValueError("fetch_window must be 1 to 64 chunks")
        if self.keepalive_s < 5:
            raise ValueError("keepalive_s must be at least 5")
        if not re.fullmatch(r"[a-z0-9_-]+(/[a-z0-9_-]+){0,2}", self.prefix):
            raise ValueError(f"prefix {self.prefix!r} must be one to three levels of a-z, 0-9, _ and -")


@dataclass(frozen=True, slots=True)
class TrustConfig:
    root: Path  # the root.json that 'edgectl keys init' made


@dataclass(frozen=True, slots=True)
class StorageConfig:
    state_dir: Path | None = None  # None: $STATE_DIRECTORY, else /var/lib/edge-agent


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    interval_s: float = 30.0
    outbox_records: int = 20_000  # kept while offline; the oldest go first

    def __post_init__(self) -> None:
        if self.interval_s <= 0:
            raise ValueError("interval_s must be more than 0")
        if self.outbox_records < 1:
            raise ValueError("outbox_records must be at least 1")


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """How candidates are tried on this device."""

    shadow_share: float = 0.0  # of the frames, on which a candidate runs beside the current release; 0: on none
    shadow_frames: int = 100
    shadow_longest_s: float = 600.0

    def __post_init__(self) -> None:
        check_share(shadow_share=self.shadow_share)
        if self.shadow_frames < 1:
            raise ValueError("shadow_frames must be at least 1")
        if self.shadow_longest_s <= 0:
            raise ValueError("shadow_longest_s must be more than 0")


@dataclass(frozen=True, slots=True)
class Config:
    """All of `agent.toml`."""

    pipeline: Mapping[str, PipelineConfig] = field(default_factory=dict)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    mqtt: MqttConfig | None = None
    trust: TrustConfig | None = None
    storage: StorageConfig = field(default_factory=StorageConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)

    def __post_init__(self) -> None:
        if not self.pipeline:
            raise ValueError("there is no [pipeline.NAME] table, so there is nothing to run")
        for name in self.pipeline:
            check_identifier("pipeline", name)
        problems = list(problems_together(self.pipeline, has_mqtt=self.mqtt is not None))
        if self.mqtt is not None and self.trust is None:
            problems.append("[mqtt] needs [trust] root = ...: releases are only taken from those whose keys it names")
        if problems:
            raise schema.SchemaError(problems)

    @property
    def device_id(self) -> str:
        return self.device.id or default_device_id()


def read_config(path: Path) -> Config:
    """Read and check a configuration file; its paths become absolute.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "pass the file with -c, see systemd/agent.toml"
        if isinstance(error, PermissionError):
            hint = "run this with sudo: the configuration may hold secrets, so only root and the agent may read it"
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}", hint=hint) from error
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    config = parse_config(tree, name=str(path))
    try:
        anchored: Config = _anchor(config, path.absolute().parent)
    except schema.SchemaError as error:  # "birds.jsonl" and "/etc/edge-agent/birds.jsonl" are one file only now
        raise _config_error(str(path), error.problems) from error
    return anchored


def parse_config(tree: Mapping[str, Any], *, name: str = "config") -> Config:
    """A checked configuration from a plain tree; the short form becomes a pipeline of one stage."""
    pipelines = tree.get("pipeline")
    if isinstance(pipelines, dict):
        tree = {**tree, "pipeline": {key: _long_form(value) for key, value in pipelines.items()}}
    try:
        return schema.parse(Config, tree, strict=True)
    except schema.SchemaError as error:
        raise _config_error(name, error.problems) from error


def default_device_id() -> str:
    """The host name as an identifier."""
    return re.sub(r"[^a-z0-9_-]+", "-", platform.node().lower()).strip("-")[:64] or "device"


def _config_error(name: str, problems: list[str]) -> ConfigError:
    lines = [problem.replace(f".stage.{ONLY_STAGE}.", ".") for problem in problems]
    return ConfigError(
        f"{name}: " + "\n  ".join([f"{len(lines)} problem{'s' * (len(lines) > 1)}:", *lines]),
        hint="every key with its default is in systemd/agent.toml; 'edge-agent check-config' checks a file",
    )


def _long_form(table: object) -> object:
    """`model = ...` directly in a pipeline is a pipeline with one stage."""
    if not isinstance(table, dict) or "stage" in table:
        return table
    of_stage = [item.name for item in fields(StageConfig)]
    known = [*of_stage, *(item.name for item in fields(PipelineConfig))]
    near = {key: difflib.get_close_matches(key, known, n=1, cutoff=0.5) for key in table}
    stage = {key: value for key, value in table.items() if near[key] and near[key][0] in of_stage}
    rest = {key: value for key, value in table.items() if key not in stage}
    return {**rest, "stage": {ONLY_STAGE: stage} if stage else {}}


def _anchor(value: Any, base: Path) -> Any:
    """The same value with every relative Path made absolute under `base` ("-" stays: it is stdout)."""
    if isinstance(value, Path):
        return value if str(value) == "-" else base / value.expanduser()
    if isinstance(value, Mapping):
        return {key: _anchor(item, base) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_anchor(item, base) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _anchor(getattr(value, item.name), base) for item in fields(value)})
    return value
