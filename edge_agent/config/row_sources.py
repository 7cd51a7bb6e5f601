"""What a pipeline reads rows of numbers from. Sources of pictures and sound are `sources`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from edge_agent import schema
from edge_agent.config.checks import BrokerUrl, Count, Rate, Seconds, Table, from_to, password_alone


def _check_topic_filter(text: str) -> None:
    """Raise ValueError unless it is a topic, or a filter for several (MQTT 5 §4.7)."""
    levels = text.split("/")
    if not text or "\0" in text or len(text.encode()) > 65_535:
        raise ValueError(f"must be a topic of 1 to 65,535 bytes without a NUL, found {schema.found(text)}")
    if any("#" in level and level != "#" for level in levels) or "#" in levels[:-1]:
        raise ValueError(f"# stands for all levels below, and must be the whole last level, found {text!r}")
    if any("+" in level and level != "+" for level in levels):
        raise ValueError(f"+ stands for one level, and must be the whole of it, found {text!r}")


def _check_port(device: str) -> None:
    if "\0" in device or not device.startswith("/"):
        raise ValueError(f"must be the path of a port like '/dev/ttyUSB0', found {schema.found(device)}")


def _check_address(value: int) -> None:
    if not 0x03 <= value <= 0x77:
        raise ValueError(f"must be 0x03 to 0x77 (7 bits), found {schema.found(value)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions(Table):
    """What every source of rows can be told."""

    columns: tuple[str, ...] = ()  # empty: the model's channels, or all
    # What becomes of a missing value (empty, NaN): the row is left out, or the value before is kept, or zero is taken
    missing: Literal["skip", "hold", "zero"] = "skip"
    # Seconds without a row after which a window is begun anew: it would else join what does not belong together
    max_gap_s: Seconds | None = None


@dataclass(frozen=True, slots=True)
class CsvSource(RowOptions):
    """Rows of a sensor, replayed. Lines that begin with # are comments; the first other line is the header."""

    kind: Literal["csv"]
    path: Path
    repeat: bool = False
    rate_hz: Rate | None = None  # None: as fast as they are worked off
    time_column: str | None = None  # seconds, or date and time (ISO 8601): a gap in it counts for max_gap_s


@dataclass(frozen=True, slots=True)
class StdinSource(RowOptions):
    """One JSON object or list a line, from standard input or a named pipe."""

    kind: Literal["stdin"]
    path: Path = Path("-")  # "-" is standard input, which only `edge-agent infer` has; else a FIFO or a file


@dataclass(frozen=True, slots=True)
class SerialSource(RowOptions):
    """Lines of a serial port: numbers with commas or blanks between, or JSON (extra `serial`)."""

    kind: Literal["serial"]
    device: Annotated[str, _check_port]  # "/dev/ttyUSB0"
    baud: Count = 115_200
    names: tuple[str, ...] = ()  # what the numbers of a line are called; JSON names them itself
    timeout_s: Seconds = 10.0  # without a line before the port is opened anew


@dataclass(frozen=True, slots=True)
class IioSource(RowOptions):
    """A sensor that Linux drives itself, read from sysfs: (raw + offset) x scale."""

    kind: Literal["iio"]
    device: str  # its name ("bme280", "lsm6dsl_accel") or "iio:device0"
    rate_hz: Rate = 10.0
    root: Path = Path("/sys/bus/iio/devices")


@dataclass(frozen=True, slots=True)
class I2cSource(RowOptions):
    """A sensor on the I2C bus, read by a small driver of yours (`docs/sources.md`; extra `i2c`)."""

    kind: Literal["i2c"]
    driver: str  # "package.module:function", or a name of the entry point group edge_deploy.i2c
    bus: Annotated[int, from_to(0, 65_535)] = 1
    address: Annotated[int, _check_address] = 0x68
    rate_hz: Rate = 50.0
    options: Mapping[str, Any] = field(default_factory=dict)  # handed to the driver


@dataclass(frozen=True, slots=True)
class TopicSource(RowOptions):
    """JSON messages of an MQTT topic, as Zigbee2MQTT sends them."""

    kind: Literal["topic"]
    topic: Annotated[str, _check_topic_filter]  # "zigbee2mqtt/office"; + and # as in MQTT
    # column = path into the JSON: {"temperature" = "climate.temp"}; empty: the model's channels by their own names
    fields: Mapping[str, str] = field(default_factory=dict)
    url: BrokerUrl | None = None  # None: the broker of [mqtt]
    username: str | None = None
    password_file: Path | None = None
    timeout_s: Seconds | None = None  # without a message before that is told as trouble; None: never

    def problems(self) -> Iterator[str]:
        if self.url is None and self.username is not None:
            yield "username is for a broker of its own: give its url"
        yield from password_alone(self.username, self.password_file)


RowSource = CsvSource | StdinSource | SerialSource | IioSource | I2cSource | TopicSource
