"""The port behind which pictures and sensor rows come in, and what opens the one that is configured."""

from types import TracebackType
from typing import Protocol, Self

from edge_agent.clock import Clock
from edge_agent.config.sources import (
    CsvSource,
    FolderSource,
    MicrophoneSource,
    SourceConfig,
    VideoSource,
    WavSource,
)
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Taken, Unusable, Wanted


class Source(Protocol):
    """Opened by entering it. One thread uses it."""

    def take(self, wanted: Wanted) -> Taken | Unusable | None:
        """The next picture, row or stretch of sound; None when the source is played once and has given all it had.

        What is `wanted` may change between two calls.

        Raises:
            SourceError: there is nothing to be had now; open it again later.
        """
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def new_source(config: SourceConfig, clock: Clock) -> Source:
    """The source of `config`, not opened yet."""
    if isinstance(config, FolderSource):
        from edge_agent.inference.sources.folder import Folder

        return Folder(config, clock)
    if isinstance(config, VideoSource):
        from edge_agent.inference.sources.video import Video

        return Video(config, clock)
    if isinstance(config, CsvSource):
        from edge_agent.inference.sources.csv_rows import CsvRows

        return CsvRows(config, clock)
    if isinstance(config, WavSource):
        from edge_agent.inference.sources.wav import WavFiles

        return WavFiles(config, clock)
    if isinstance(config, MicrophoneSource):
        from edge_agent.inference.sources.microphone import Microphone

        return Microphone(config, clock)
    raise SourceError(f"this agent has no source of kind {config.kind}", hint="update edge-deploy")
