"""Where a pipeline's pictures, rows or sound come from: `source = { kind = ..., ... }`.

What each kind needs of the machine is told by whoever opens it (`inference.sources`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from edge_agent.config.checks import check_has_use, check_not_negative, check_password, check_positive, check_share
from edge_agent.config.row_sources import (
    CsvSource,
    I2cSource,
    IioSource,
    RowOptions,
    RowSource,
    SerialSource,
    StdinSource,
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


_PICTURES = tuple(each.name for each in fields(PictureOptions))
_NO_USE = {"pictures": ("columns",), "rows": _PICTURES, "audio": (*_PICTURES, "columns")}
_SYNTHETIC = {"pictures": ("width_px", "height_px", "picture"), "rows": ("rate_hz",), "audio": ("sample_rate_hz",)}


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
        if not self.device.startswith("/"):
            check_has_use(self, f"device {self.device}", "format")


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
        if not self.url.startswith("rtsp"):
            check_has_use(self, "a stream that is not RTSP", "transport")
        check_password(self.username, self.password_file)


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
        check_password(self.username, self.password_file)


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
        check_has_use(self, f"content {self.content}", *_NO_USE[self.content])
        for content, names in _SYNTHETIC.items():
            if content != self.content:
                check_has_use(self, f"content {self.content}", *names)


@dataclass(frozen=True, slots=True)
class PluginSource(PictureOptions):
    """A source of your own: an entry point of the group edge_deploy.sources (`docs/plugins.md`)."""

    kind: Literal["plugin"]
    name: str
    gives: Literal["pictures", "rows", "audio"]
    live: bool = True  # the oldest is dropped instead of falling behind; else it is made to wait
    options: Mapping[str, Any] = field(default_factory=dict)  # handed to it
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        PictureOptions.__post_init__(self)
        check_has_use(self, f"a plugin that gives {self.gives}", *_NO_USE[self.gives])


PictureSource = FolderSource | VideoSource | CameraSource | StreamSource | StillSource
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
