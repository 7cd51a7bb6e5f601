"""The port behind which pictures and sensor rows come in, and what opens the one that is configured."""

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from edge_agent.clock import Clock
from edge_agent.config.row_sources import (
    CsvSource,
    I2cSource,
    IioSource,
    RowSource,
    SerialSource,
    StdinSource,
    TopicSource,
)
from edge_agent.config.sources import (
    CameraSource,
    FolderSource,
    MicrophoneSource,
    PictureOptions,
    PictureSource,
    PluginSource,
    SourceConfig,
    StillSource,
    StreamSource,
    SyntheticSource,
    VideoSource,
    WavSource,
)
from edge_agent.errors import PluginError, SourceError
from edge_agent.inference.frame import Nothing, Taken, Unusable, Wanted
from edge_agent.inference.sources.mailbox import Mailbox

if TYPE_CHECKING:
    from edge_agent.inference.sources.thinning import Thinning


class Source(Protocol):
    """Opened by entering it. One thread uses it."""

    def take(self, wanted: Wanted) -> Taken | Unusable | Nothing | None:
        """The next picture, row or stretch of sound; None when the source is played once and has given all it had.

        What is `wanted` may change between two calls. A source that can tells that there is Nothing now rather than
        wait for more than about a second: the worker could not end meanwhile.

        Raises:
            SourceError: there is nothing to be had now; open it again later.
        """
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def new_source(config: SourceConfig, clock: Clock, mailbox: Mailbox | None = None) -> Source:
    """The source of `config`, not opened yet. It may be entered again after it was left, and then goes on.

    Messages of a topic come in by way of the `mailbox`.

    Raises:
        SourceError: a plugin is not installed.
    """
    if isinstance(config, RowSource):
        return _new_row_source(config, clock, mailbox)
    if isinstance(config, WavSource):
        from edge_agent.inference.sources.wav import WavFiles

        return WavFiles(config, clock)
    if isinstance(config, MicrophoneSource):
        from edge_agent.inference.sources.microphone import Microphone

        return Microphone(config, clock)
    if isinstance(config, SyntheticSource):
        from edge_agent.inference.sources.synthetic import Synthetic

        return _picked(Synthetic(config, clock), config, clock)
    if isinstance(config, PluginSource):
        return _plugin(config, clock)
    if isinstance(config, PictureOptions):
        return _picked(_new_picture_source(config, clock), config, clock)
    raise SourceError(f"this agent has no source of kind {config.kind}", hint="update edge-deploy")


def _new_row_source(config: RowSource, clock: Clock, mailbox: Mailbox | None) -> Source:
    match config:
        case CsvSource():
            from edge_agent.inference.sources.csv_rows import CsvRows

            return CsvRows(config, clock)
        case StdinSource():
            from edge_agent.inference.sources.stdin_json import JsonLines

            return JsonLines(config, clock)
        case SerialSource():
            from edge_agent.inference.sources.serial_lines import SerialLines

            return SerialLines(config, clock)
        case IioSource():
            from edge_agent.inference.sources.iio import IioDevice

            return IioDevice(config, clock)
        case I2cSource():
            from edge_agent.inference.sources.i2c import I2cRows

            return I2cRows(config, clock)
        case TopicSource():
            from edge_agent.inference.sources.topic import TopicRows

            if mailbox is None:
                raise SourceError("a topic is heard by `edge-agent run`, not here", hint='use kind = "stdin" to try')
            return TopicRows(config, clock, mailbox)


def _new_picture_source(config: PictureSource, clock: Clock) -> Source:
    match config:
        case FolderSource():
            from edge_agent.inference.sources.folder import Folder

            return Folder(config, clock)
        case VideoSource():
            from edge_agent.inference.sources.video import Video

            return Video(config, clock)
        case CameraSource() if config.device.partition(":")[0] == "csi":
            from edge_agent.inference.sources.csi import PiCamera

            return PiCamera(config, clock)
        case CameraSource():
            from edge_agent.inference.sources.camera import Camera

            return Camera(config, clock)
        case StreamSource():
            from edge_agent.inference.sources.stream import Stream

            return Stream(config, clock)
        case StillSource():
            from edge_agent.inference.sources.still import Still

            return Still(config, clock)


def _plugin(config: PluginSource, clock: Clock) -> Source:
    """What the entry point gives for this configuration; of pictures, with their options applied."""
    from edge_agent import plugins
    from edge_agent.inference.sources.thinning import Thinning

    try:
        source: Source = plugins.load("edge_deploy.sources", config.name)(config, clock)
    except PluginError as error:
        raise SourceError(str(error), hint=error.hint) from error
    if config.gives != "pictures":
        return source
    thinning = Thinning(clock, every_n=config.every_n, max_fps=config.max_fps)
    return _picked(source, config, clock, thinning)


def _picked(source: Source, config: PictureOptions, clock: Clock, thinning: "Thinning | None" = None) -> Source:
    if thinning is None and not config.rotate_deg and config.roi is None and config.motion is None:
        return source  # each of its pictures as it is
    from edge_agent.inference.sources.picking import Picked

    return Picked(source, config, clock, thinning)
