"""Where a pipeline's pictures, rows or sound come from: `source = { kind = ..., ... }`.

What each kind needs of the machine is told by whoever opens it (`inference.sources`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge_agent.config.checks import (
    check_broker_url,
    check_not_negative,
    check_positive,
    check_share,
    check_topic_filter,
)


@dataclass(frozen=True, slots=True)
class MotionGate:
    """Lets a picture through only when something has moved since the last one that was let through."""

    threshold: float = 0.02  # share of the picture that must have changed, 0 to 1
    difference: int = 25  # gray levels of 255 by which a pixel counts as changed
    max_still_s: float | None = None  # let one through after this time even so; None: never

    def __post_init__(self) -> None:
        check_share(threshold=self.threshold)
        check_positive(max_still_s=self.max_still_s)
        if not 1 <= self.difference <= 255:
            raise ValueError("difference must be 1 to 255 gray levels")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions:
    """What every source of pictures can be told."""

    every_n: int = 1  # use every n-th picture
    max_fps: float | None = None  # at most so many a second; then the oldest waiting one is dropped
    motion: MotionGate | None = None
    rotate_deg: Literal[0, 90, 180, 270] = 0  # clockwise, of a camera that hangs askew; before roi
    roi: tuple[float, float, float, float] | None = None  # left, top, right, bottom as shares 0 to 1 of the picture

    def __post_init__(self) -> None:
        check_positive(max_fps=self.max_fps)
        if self.every_n < 1:
            raise ValueError("every_n must be at least 1")
        if self.roi is not None:
            left, top, right, bottom = self.roi
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError("roi must be [left, top, right, bottom] with 0 <= left < right <= 1, likewise top")


@dataclass(frozen=True, slots=True)
class FolderSource(PictureOptions):
    """Every picture of a folder, in the order of their names."""

    kind: Literal["folder"]
    path: Path
    repeat: bool = False  # start again after the last one
    watch: bool = False  # after the last one, wait for new files; each is given once it is whole

    def __post_init__(self) -> None:
        PictureOptions.__post_init__(self)
        if self.watch and self.repeat:
            raise ValueError("watch and repeat exclude each other")


@dataclass(frozen=True, slots=True)
class VideoSource(PictureOptions):
    """A video file (extra `video`)."""

    kind: Literal["video"]
    path: Path
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class CameraSource(PictureOptions):
    """A camera of this machine: V4L2 (H.264: extra `video`), or the Pi's own by picamera2."""

    kind: Literal["camera"]
    device: str = "/dev/video0"  # "csi", "csi:1": the Pi's camera connector, by picamera2
    width_px: int = 1280
    height_px: int = 720
    camera_fps: float | None = None  # asked of the camera; None: its own
    format: Literal["auto", "mjpeg", "yuyv", "h264"] = "auto"  # of V4L2; auto: mjpeg where there is one

    def __post_init__(self) -> None:
        PictureOptions.__post_init__(self)
        check_positive(width_px=self.width_px, height_px=self.height_px, camera_fps=self.camera_fps)


@dataclass(frozen=True, slots=True)
class StreamSource(PictureOptions):
    """A network camera: http(s):// with MJPEG; rtsp(s)://, or MPEG-TS by http(s)://, tcp://, udp:// (extra `video`)."""

    kind: Literal["stream"]
    url: str  # without a password in it: see password_file
    username: str | None = None
    password_file: Path | None = None
    transport: Literal["tcp", "udp"] = "tcp"  # of RTSP
    timeout_s: float = 10.0  # without a picture before the stream is opened anew

    def __post_init__(self) -> None:
        PictureOptions.__post_init__(self)
        check_positive(timeout_s=self.timeout_s)
        _check_url(self.url, "rtsp", "rtsps", "http", "https", "tcp", "udp")
        _check_password(self.username, self.password_file)


@dataclass(frozen=True, slots=True)
class StillSource(PictureOptions):
    """A picture fetched from a URL again and again, as many cameras and printers offer one."""

    kind: Literal["still"]
    url: str
    interval_s: float = 1.0
    username: str | None = None
    password_file: Path | None = None
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        PictureOptions.__post_init__(self)
        check_positive(interval_s=self.interval_s, timeout_s=self.timeout_s)
        _check_url(self.url, "http", "https")
        _check_password(self.username, self.password_file)


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
        _check_password(self.username, self.password_file)


@dataclass(frozen=True, slots=True)
class MicrophoneSource:
    """A microphone of this machine, by ALSA's `arecord`."""

    kind: Literal["microphone"]
    device: str = "default"  # as `arecord -L` lists them
    sample_rate_hz: int | None = None  # None: the model's
    channels: int = 1  # more are averaged to one

    def __post_init__(self) -> None:
        check_positive(sample_rate_hz=self.sample_rate_hz, channels=self.channels)


@dataclass(frozen=True, slots=True)
class WavSource:
    """WAV files: one, or all of a folder in the order of their names."""

    kind: Literal["wav"]
    path: Path
    repeat: bool = False
    realtime: bool = False  # as fast as it was recorded; else as fast as it is worked off
    resample: bool = True  # a rate other than the model's: resampled, else refused


@dataclass(frozen=True, slots=True)
class SyntheticSource(PictureOptions):
    """Made-up pictures, rows or sound, the same every time: for tests and for trying things out."""

    kind: Literal["synthetic"]
    content: Literal["pictures", "rows", "audio"] = "pictures"
    count: int | None = None  # None: without end
    width_px: int = 640
    height_px: int = 480
    picture: Literal["rgb", "yuv", "jpeg"] = "rgb"
    columns: tuple[str, ...] = ()
    rate_hz: float | None = None  # of rows
    sample_rate_hz: int = 16_000
    fail_after: int | None = None  # a source error after so many, each time it is opened

    def __post_init__(self) -> None:
        PictureOptions.__post_init__(self)
        check_positive(
            count=self.count, width_px=self.width_px, height_px=self.height_px, rate_hz=self.rate_hz,
            sample_rate_hz=self.sample_rate_hz,
        )  # fmt: skip
        check_not_negative(fail_after=self.fail_after)


@dataclass(frozen=True, slots=True)
class PluginSource(PictureOptions):
    """A source of your own: an entry point of the group edge_deploy.sources (`docs/plugins.md`)."""

    kind: Literal["plugin"]
    name: str
    gives: Literal["pictures", "rows", "audio"]
    live: bool = True  # the oldest is dropped instead of falling behind; else it is made to wait
    options: Mapping[str, Any] = field(default_factory=dict)  # handed to it
    columns: tuple[str, ...] = ()


PictureSource = FolderSource | VideoSource | CameraSource | StreamSource | StillSource
RowSource = CsvSource | StdinSource | SerialSource | IioSource | I2cSource | TopicSource
AudioSource = MicrophoneSource | WavSource
SourceConfig = PictureSource | RowSource | AudioSource | SyntheticSource | PluginSource


def given_by(config: SourceConfig) -> Literal["pictures", "rows", "audio"]:
    """What a source gives."""
    if isinstance(config, SyntheticSource):
        return config.content
    if isinstance(config, PluginSource):
        return config.gives
    if isinstance(config, PictureOptions):
        return "pictures"
    return "rows" if isinstance(config, RowOptions) else "audio"


def is_live(config: SourceConfig) -> bool:
    """Whether it goes on at its own pace, so that what is not worked off in time is dropped, the oldest first."""
    match config:
        case FolderSource() | VideoSource() | SyntheticSource(content="pictures"):
            return config.max_fps is not None
        case CsvSource() | SyntheticSource(content="rows"):
            return config.rate_hz is not None
        case WavSource():
            return config.realtime
        case StdinSource() | SyntheticSource():
            return False
        case PluginSource():
            return config.live
    return True


def pace_hz(config: SourceConfig) -> float | None:
    """How often something is to be taken from it; None: as it comes, or as fast as it is worked off."""
    match config:
        case CsvSource() | IioSource() | I2cSource() | SyntheticSource(content="rows"):
            return config.rate_hz
        case StillSource():
            slowest = 1 / config.interval_s
            return min(slowest, config.max_fps) if config.max_fps else slowest
        case FolderSource() | VideoSource() | SyntheticSource(content="pictures"):
            return config.max_fps
    return None


def repeats(config: SourceConfig) -> bool:
    """Whether it has no end of its own: then a fault further on does not end it either."""
    match config:
        case FolderSource():
            return config.repeat or config.watch
        case VideoSource() | CsvSource() | WavSource():
            return config.repeat
        case StdinSource():
            return str(config.path) != "-"
        case SyntheticSource():
            return config.count is None
    return True


def columns_of(config: SourceConfig) -> tuple[str, ...]:
    """The columns somebody has chosen; () where nobody has."""
    return config.columns if isinstance(config, RowOptions | SyntheticSource | PluginSource) else ()


def paths_of(config: SourceConfig) -> tuple[Path, ...]:
    """Files and folders it reads, for whoever checks a configuration."""
    found = (getattr(config, name, None) for name in ("path", "password_file"))
    paths = [path for path in found if isinstance(path, Path) and str(path) != "-"]
    if isinstance(config, CameraSource | SerialSource) and config.device.startswith("/"):
        paths.append(Path(config.device))
    return tuple(paths)


def _check_url(url: str, *schemes: str) -> None:
    scheme, separator, rest = url.partition("://")
    if scheme not in schemes or not separator or not rest:
        raise ValueError(f"url {url!r} must begin with {', '.join(f'{name}://' for name in schemes)}")
    if "@" in rest.partition("/")[0]:
        raise ValueError("url must hold no user or password: give username and password_file")


def _check_password(username: str | None, password_file: Path | None) -> None:
    if password_file is not None and username is None:
        raise ValueError("password_file needs a username")
