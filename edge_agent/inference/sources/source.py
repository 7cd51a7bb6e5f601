"""The port behind which pictures and sensor rows come in, and what opens the one that is configured."""

from types import TracebackType
from typing import Protocol, Self

from edge_agent.clock import Clock
from edge_agent.config import FolderSource, SourceConfig, VideoSource
from edge_agent.inference.frame import Frame, Sample, Unusable


class Source(Protocol):
    """Opened by entering it. One thread uses it."""

    def take(self, channels: tuple[str, ...]) -> Frame | Sample | Unusable | None:
        """The next picture or row; None when the source is played once and has given all it had.

        `channels` are the columns the model wants, for a source that has columns; they may change between two calls.

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
    from edge_agent.inference.sources.csv_rows import CsvRows

    return CsvRows(config, clock)


def rate_hz(config: SourceConfig) -> float | None:
    """How often a source is to give something; None: as fast as it is worked off."""
    return config.max_fps if isinstance(config, FolderSource | VideoSource) else config.rate_hz
