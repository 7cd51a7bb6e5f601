"""The port behind which pictures and sensor rows come in, and what opens the one that is configured."""

from types import TracebackType
from typing import Protocol, Self

from edge_agent.clock import Clock
from edge_agent.config.sources import (
    CsvSource,
    FolderSource,
    I2cSource,
    IioSource,
    MicrophoneSource,
    RowSource,
    SerialSource,
    SourceConfig,
    StdinSource,
    TopicSource,
    VideoSource,
    WavSource,
)
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Nothing, Taken, Unusable, Wanted
from edge_agent.inference.sources.mailbox import Mailbox


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
    """The source of `config`, not opened yet. Messages of a topic come in by way of the `mailbox`."""
    if isinstance(config, FolderSource):
        from edge_agent.inference.sources.folder import Folder

        return Folder(config, clock)
    if isinstance(config, VideoSource):
        from edge_agent.inference.sources.video import Video

        return Video(config, clock)
    if isinstance(config, RowSource):
        return _new_row_source(config, clock, mailbox)
    if isinstance(config, WavSource):
        from edge_agent.inference.sources.wav import WavFiles

        return WavFiles(config, clock)
    if isinstance(config, MicrophoneSource):
        from edge_agent.inference.sources.microphone import Microphone

        return Microphone(config, clock)
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
