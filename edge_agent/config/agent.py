"""The device's configuration: `agent.toml` as values that are right, or a list of what is wrong in it.

`systemd/agent.toml` shows every key with its unit and default. Paths are relative to the file they stand in.
Whether a path exists is asked by whoever opens it: a folder may be mounted later than the agent starts.
"""

import platform
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from edge_agent import schema
from edge_agent.config.checks import BrokerUrl, Count, Identifier, Seconds, Table, from_to, password_alone
from edge_agent.config.pipeline import ONLY_STAGE, PipelineConfig, PipelineParts, StageConfig
from edge_agent.config.together import problems_together
from edge_agent.config.update import UpdateConfig
from edge_agent.errors import ConfigError


def _check_prefix(text: str) -> None:
    if not re.fullmatch(r"[a-z0-9_-]+(/[a-z0-9_-]+){0,2}", text):
        raise ValueError(f"must be one to three levels of a-z, 0-9, _ and -, found {schema.found(text)}")


def _check_some(pipelines: Mapping[str, object]) -> None:
    if not pipelines:
        raise ValueError("there is no [pipeline.NAME] table, so there is nothing to run")


@dataclass(frozen=True, slots=True)
class DeviceConfig(Table):
    id: Identifier | None = None  # None: made of the host name
    labels: tuple[str, ...] = ()
    class_: Identifier | None = None  # releases that are signed for another class are refused; None: takes any


@dataclass(frozen=True, slots=True)
class MqttConfig(Table):
    url: BrokerUrl  # mqtt://HOST[:1883] or mqtts://HOST[:8883]
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None  # None: the system's certificate authorities
    cert_file: Path | None = None  # client certificate, with key_file
    key_file: Path | None = None
    prefix: Annotated[str, _check_prefix] = "edge/v1"
    keepalive_s: Annotated[int, from_to(5, 65_535, "seconds")] = 30  # MQTT 5 §3.1.2.10: two bytes
    fetch_window: Annotated[int, from_to(1, 64, "chunks")] = 8  # on their way at a time

    def problems(self) -> Iterator[str]:
        if (self.cert_file is None) != (self.key_file is None):
            yield "cert_file and key_file go together"
        yield from password_alone(self.username, self.password_file)


@dataclass(frozen=True, slots=True)
class TrustConfig:
    root: Path  # the root.json that 'edgectl keys init' made
    key_file: Path | None = None  # for encrypted releases; None: systemd's credential, else in the state directory


@dataclass(frozen=True, slots=True)
class StorageConfig:
    state_dir: Path | None = None  # None: $STATE_DIRECTORY, else /var/lib/edge-agent


@dataclass(frozen=True, slots=True)
class TelemetryConfig(Table):
    interval_s: Seconds = 30.0
    outbox_records: Count = 20_000  # kept while offline; the oldest go first


@dataclass(frozen=True, slots=True)
class Config(Table):
    """All of `agent.toml`."""

    pipeline: Annotated[Mapping[Identifier, PipelineConfig], _check_some]
    device: DeviceConfig = field(default_factory=DeviceConfig)
    mqtt: MqttConfig | None = None
    trust: TrustConfig | None = None
    storage: StorageConfig = field(default_factory=StorageConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)

    def problems(self) -> Iterator[str]:
        return problems_together(self.pipeline, has_mqtt=self.mqtt is not None, has_trust=self.trust is not None)

    @property
    def device_id(self) -> str:
        return self.device.id or default_device_id()


def read_config(path: Path) -> Config:
    """Read and check a configuration file; its paths become absolute.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        hint = "pass the file with -c, see systemd/agent.toml"
        if isinstance(error, PermissionError):
            hint = "run this with sudo: the configuration may hold secrets, so only root and the agent may read it"
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}", hint=hint) from error
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of thousands of digits, or that many brackets
        hint = "text stands in quotes, and each table and key once; systemd/agent.toml is an example"
        raise ConfigError(f"{path} is not TOML: {error}", hint=hint) from error
    config = parse_config(tree, name=str(path))
    try:
        anchored: Config = _anchor(config, path.absolute().parent)
    except schema.SchemaError as error:  # "birds.jsonl" and "/etc/edge-agent/birds.jsonl" are one file only now
        raise _config_error(str(path), error.problems) from error
    return anchored


def parse_config(tree: Mapping[str, Any], *, name: str = "config") -> Config:
    """A checked configuration from a plain tree; the short form becomes a pipeline of one stage."""
    pipelines = tree.get("pipeline", {})
    if isinstance(pipelines, dict):
        pipelines = {key: _long_form(value) for key, value in pipelines.items()}
    tree = {**tree, "pipeline": pipelines}
    try:
        return schema.parse(Config, tree, strict=True)
    except schema.SchemaError as error:
        problems = dict.fromkeys([*error.problems, *_problems_of_sound_parts(tree)])
        raise _config_error(name, list(problems)) from error


def _problems_of_sound_parts(tree: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together in a configuration that is not right as a whole, so it is told with all the rest."""
    tables = tree["pipeline"].items() if isinstance(tree["pipeline"], dict) else ()
    pipelines = {name: PipelineParts.read(table) for name, table in tables if isinstance(table, dict)}
    for name, parts in pipelines.items():
        yield from (f"{schema.below('pipeline', name)}: {problem}" for problem in parts.problems())
    yield from problems_together(pipelines, has_mqtt="mqtt" in tree, has_trust="trust" in tree)


def default_device_id() -> str:
    """The host name as an identifier."""
    return re.sub(r"[^a-z0-9_-]+", "-", platform.node().lower()).strip("-")[:64] or "device"


def _config_error(name: str, problems: list[str]) -> ConfigError:
    lines = [_in_stages(problem.replace(f".stage.{ONLY_STAGE}.", ".")) for problem in problems]
    return ConfigError(
        f"{name}: " + "\n  ".join([f"{len(lines)} problem{'s' * (len(lines) > 1)}:", *lines]),
        hint="every key with its default is in systemd/agent.toml; 'edge-agent check-config' checks a file",
    )


def _in_stages(problem: str) -> str:
    """Told better: a key that is known of a stage is unknown only where the stages have tables of their own."""
    where, _, rest = problem.partition(": unknown key")
    pipeline, _, key = where.rpartition(".")
    if not rest and pipeline.startswith("pipeline.") and key in {item.name for item in fields(StageConfig)}:
        return f"{where}: stands in each table [{pipeline}.stage.STAGE] where there are such tables, not beside them"
    return problem


def _long_form(table: object) -> object:
    """`model = ...` directly in a pipeline is a pipeline with one stage."""
    if not isinstance(table, dict) or "stage" in table:
        return table
    of_stage = [item.name for item in fields(StageConfig)]
    known = [*of_stage, *(item.name for item in fields(PipelineConfig))]
    stage = {key: value for key, value in table.items() if schema.nearest(str(key), known) in of_stage}
    rest = {key: value for key, value in table.items() if key not in stage}
    return {**rest, "stage": {ONLY_STAGE: stage} if stage else {}}


def _anchor(value: Any, base: Path) -> Any:
    """The same value with every relative Path made absolute under `base` ("-" stays: it is stdout)."""
    if isinstance(value, Path):
        return value if str(value) == "-" else base / _at_home(value)
    if isinstance(value, Mapping):
        return {key: _anchor(item, base) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_anchor(item, base) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _anchor(getattr(value, item.name), base) for item in fields(value)})
    return value


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise schema.SchemaError(
            [f"path {str(path)!r}: there is no such home directory: write the whole path"]
        ) from error
