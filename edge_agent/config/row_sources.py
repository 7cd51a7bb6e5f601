"""What a pipeline reads rows of numbers from. Sources of pictures and sound are `sources`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge_agent.config.checks import check_broker_url, check_password, check_positive, check_topic_filter


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """What every source of rows can be told."""

    columns: tuple[str, ...] = ()  # empty: the model's channels, or all
    # What becomes of a missing value (empty, NaN): the row is left out, or the value before is kept, or zero is taken
    missing: Literal["skip", "hold", "zero"] = "skip"
    # Seconds without a row after which a window is begun anew: it would else join what does not belong together
    max_gap_s: float | None = None

    def __post_init__(self) -> None:
        check_positive(max_gap_s=self.max_gap_s)


@dataclass(frozen=True, slots=True)
class CsvSource(RowOptions):
    """Rows of a sensor, replayed. Lines that begin with # are comments; the first other line is the header."""

    kind: Literal["csv"]
    path: Path
    repeat: bool = False
    rate_hz: float | None = None  # None: as fast as they are worked off
    time_column: str | None = None  # seconds, or date and time (ISO 8601): a gap in it counts for max_gap_s

    def __post_init__(self) -> None:
        RowOptions.__post_init__(self)
        check_positive(rate_hz=self.rate_hz)


@dataclass(frozen=True, slots=True)
class StdinSource(RowOptions):
    """One JSON object or list a line, from standard input or a named pipe."""

    kind: Literal["stdin"]
    path: Path = Path("-")  # "-" is standard input, which only `edge-agent infer` has; else a FIFO or a file


@dataclass(frozen=True, slots=True)
class SerialSource(RowOptions):
    """Lines of a serial port: numbers with commas or blanks between, or JSON (extra `serial`)."""

    kind: Literal["serial"]
    device: str  # "/dev/ttyUSB0"
    baud: int = 115_200
    names: tuple[str, ...] = ()  # what the numbers of a line are called; JSON names them itself
    timeout_s: float = 10.0  # without a line before the port is opened anew

    def __post_init__(self) -> None:
        RowOptions.__post_init__(self)
        check_positive(baud=self.baud, timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True)
class IioSource(RowOptions):
    """A sensor that Linux drives itself, read from sysfs: (raw + offset) x scale."""

    kind: Literal["iio"]
    device: str  # its name ("bme280", "lsm6dsl_accel") or "iio:device0"
    rate_hz: float = 10.0
    root: Path = Path("/sys/bus/iio/devices")

    def __post_init__(self) -> None:
        RowOptions.__post_init__(self)
        check_positive(rate_hz=self.rate_hz)


@dataclass(frozen=True, slots=True)
class I2cSource(RowOptions):
    """A sensor on the I2C bus, read by a small driver of yours (`docs/sources.md`; extra `i2c`)."""

    kind: Literal["i2c"]
    driver: str  # "package.module:function", or a name of the entry point group edge_deploy.i2c
    bus: int = 1
    address: int = 0x68
    rate_hz: float = 50.0
    options: Mapping[str, Any] = field(default_factory=dict)  # handed to the driver

    def __post_init__(self) -> None:
        RowOptions.__post_init__(self)
        check_positive(rate_hz=self.rate_hz)
        if not 0x03 <= self.address <= 0x77:
            raise ValueError("address must be 0x03 to 0x77 (7 bits)")


@dataclass(frozen=True, slots=True)
class TopicSource(RowOptions):
    """JSON messages of an MQTT topic, as Zigbee2MQTT sends them."""

    kind: Literal["topic"]
    topic: str  # "zigbee2mqtt/office"; + and # as in MQTT
    # column = path into the JSON: {"temperature" = "climate.temp"}; empty: the model's channels by their own names
    fields: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None  # None: the broker of [mqtt]
    username: str | None = None
    password_file: Path | None = None
    timeout_s: float | None = None  # without a message before that is told as trouble; None: never

    def __post_init__(self) -> None:
        RowOptions.__post_init__(self)
        check_positive(timeout_s=self.timeout_s)
        check_topic_filter(self.topic)
        if self.url is not None:
            check_broker_url(self.url)
        elif self.username is not None:
            raise ValueError("username is for a broker of its own: give its url")
        check_password(self.username, self.password_file)


RowSource = CsvSource | StdinSource | SerialSource | IioSource | I2cSource | TopicSource
