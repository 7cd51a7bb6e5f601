"""Where a pipeline's pictures, rows or sound come from: `source = { kind = ..., ... }`.

What each kind needs of the machine is told by whoever opens it (`inference.sources`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from edge_agent import schema
from edge_agent.config.checks import (
    Count,
    CountOr0,
    Pixels,
    Rate,
    SampleRate,
    Seconds,
    Share,
    Table,
    from_to,
    password_alone,
    without_use,
)
from edge_agent.config.row_sources import (
    CsvSource,
    I2cSource,
    IioSource,
    RowOptions,
    RowSource,
    SerialSource,
    StdinSource,
)


def _check_url(*schemes: str) -> Callable[[str], None]:
    expected = f"must begin with {', '.join(f'{name}://' for name in schemes)}"

    def check(url: str) -> None:
        scheme, separator, rest = url.partition("://")
        if scheme not in schemes or not separator or not rest:
            shown = "a URL with a user in it" if "@" in url else schema.found(url)  # the password goes into no log
            raise ValueError(f"{expected}, found {shown}")
        if "@" in rest.partition("/")[0]:
            raise ValueError("must hold no user or password: give username and password_file")
        try:
            parts = urlsplit(url)
            known = parts.port != 0 and (bool(parts.hostname) or scheme in ("tcp", "udp"))  # these may listen
        except ValueError:
            known = False
        if not known or re.search(r"\s", url):  # the rest is not told: a path may be a secret
            raise ValueError("must name a host, if a port then one of 1 to 65535, and hold no blank: write %20")

    return check


def _check_camera(device: str) -> None:
    if "\0" in device or not re.fullmatch(r"/.+|csi(:\d)?", device):
        raise ValueError(
            f"must be the path of a video device like '/dev/video0', 'csi' or 'csi:1', found {schema.found(device)}"
        )


def _check_roi(roi: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = roi
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            "must be [left, top, right, bottom], shares of the picture with 0 <= left < right <= 1, likewise top, "
            f"found {[*roi]}"
        )


@dataclass(frozen=True, slots=True)
class MotionGate(Table):
    """Lets a picture through only when something has moved since the last one that was let through."""

    threshold: Share = 0.02  # share of the picture that must have changed, 0 to 1
    difference: Annotated[int, from_to(1, 255, "gray levels")] = 25  # by which a pixel counts as changed
    max_still_s: Seconds | None = None  # let one through after this time even so; None: never


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions(Table):
    """What every source of pictures can be told."""

    every_n: Count = 1  # use every n-th picture
    max_fps: Rate | None = None  # at most so many a second; then the oldest waiting one is dropped
    motion: MotionGate | None = None
    rotate_deg: Literal[0, 90, 180, 270] = 0  # clockwise, of a camera that hangs askew; before roi
    # Left, top, right, bottom as shares 0 to 1 of the picture
    roi: Annotated[tuple[float, float, float, float], _check_roi] | None = None


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

    def problems(self) -> Iterator[str]:
        if self.watch and self.repeat:
            yield "watch and repeat exclude each other"


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
    device: Annotated[str, _check_camera] = "/dev/video0"  # "csi", "csi:1": the Pi's camera connector, by picamera2
    width_px: Pixels = 1280
    height_px: Pixels = 720
    camera_fps: Rate | None = None  # asked of the camera; None: its own
    format: Literal["auto", "mjpeg", "yuyv", "h264"] = "auto"  # of V4L2; auto: mjpeg where there is one

    def problems(self) -> Iterator[str]:
        if not self.device.startswith("/"):
            yield from without_use(self, f"device {self.device}", "format")


@dataclass(frozen=True, slots=True)
class StreamSource(PictureOptions):
    """A network camera: http(s):// with MJPEG; rtsp(s)://, or MPEG-TS by http(s)://, tcp://, udp:// (extra `video`)."""

    kind: Literal["stream"]
    # Without a password in it: see password_file
    url: Annotated[str, _check_url("rtsp", "rtsps", "http", "https", "tcp", "udp")]
    username: str | None = None
    password_file: Path | None = None
    transport: Literal["tcp", "udp"] = "tcp"  # of RTSP
    timeout_s: Seconds = 10.0  # without a picture before the stream is opened anew

    def problems(self) -> Iterator[str]:
        if not self.url.startswith("rtsp"):
            yield from without_use(self, "a stream that is not RTSP", "transport")
        yield from password_alone(self.username, self.password_file)


@dataclass(frozen=True, slots=True)
class StillSource(PictureOptions):
    """A picture fetched from a URL again and again, as many cameras and printers offer one."""

    kind: Literal["still"]
    url: Annotated[str, _check_url("http", "https")]
    interval_s: Seconds = 1.0
    username: str | None = None
    password_file: Path | None = None
    timeout_s: Seconds = 10.0

    def problems(self) -> Iterator[str]:
        yield from password_alone(self.username, self.password_file)


@dataclass(frozen=True, slots=True)
class MicrophoneSource(Table):
    """A microphone of this machine, by ALSA's `arecord`."""

    kind: Literal["microphone"]
    device: str = "default"  # as `arecord -L` lists them
    sample_rate_hz: SampleRate | None = None  # None: the model's
    channels: Annotated[int, from_to(1, 64)] = 1  # more are averaged to one


@dataclass(frozen=True, slots=True)
class WavSource(Table):
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
    count: Count | None = None  # None: without end
    width_px: Pixels = 640
    height_px: Pixels = 480
    picture: Literal["rgb", "yuv", "jpeg"] = "rgb"
    columns: tuple[str, ...] = ()
    rate_hz: Rate | None = None  # of rows
    sample_rate_hz: SampleRate = 16_000
    fail_after: CountOr0 | None = None  # a source error after so many, each time it is opened

    def problems(self) -> Iterator[str]:
        yield from without_use(self, f"content {self.content}", *_NO_USE[self.content])
        for content, names in _SYNTHETIC.items():
            if content != self.content:
                yield from without_use(self, f"content {self.content}", *names)


@dataclass(frozen=True, slots=True)
class PluginSource(PictureOptions):
    """A source of your own: an entry point of the group edge_deploy.sources (`docs/plugins.md`)."""

    kind: Literal["plugin"]
    name: str
    gives: Literal["pictures", "rows", "audio"]
    live: bool = True  # the oldest is dropped instead of falling behind; else it is made to wait
    options: Mapping[str, Any] = field(default_factory=dict)  # handed to it
    columns: tuple[str, ...] = ()

    def problems(self) -> Iterator[str]:
        yield from without_use(self, f"a plugin that gives {self.gives}", *_NO_USE[self.gives])


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
