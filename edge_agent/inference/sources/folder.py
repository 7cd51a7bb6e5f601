"""A folder of pictures as a source: every file in the order of the names, told by content, not by extension."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.sources import FolderSource
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Frame, Unusable, Wanted
from edge_agent.transform.picture import open_picture

_MAX_FILE_BYTES = 256_000_000  # anything larger is no picture, and would not fit into a small board's memory


class Folder:
    """Looks into the folder anew for each pass, so pictures may come and go. Subfolders and dot files are left out."""

    def __init__(self, config: FolderSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._paths: Iterator[Path] = iter(())
        self._listed = 0
        self._usable = 0  # pictures of this pass

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._paths = iter(())

    def take(self, wanted: Wanted) -> Frame | Unusable | None:  # pictures have no columns
        path = next(self._paths, None)
        if path is None:
            if not self._config.repeat:
                return None
            if not self._usable:  # else a folder of text files would be read over and over without a pause
                raise SourceError(
                    f"{self._config.path}: none of its {self._listed} files is a picture",
                    hint="put JPEG, PNG, BMP, GIF or WebP files into it; the agent looks again by itself",
                )
            self._begin()
            return self.take(wanted)
        captured_s = self._clock.now_s()
        try:
            picture = open_picture(_read(path), path.name)
        except FrameError as error:
            return Unusable(path.name, str(error))
        self._usable += 1
        return Frame(path.name, captured_s, picture)

    def _begin(self) -> None:
        folder = self._config.path
        try:
            paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
        except OSError as error:
            raise SourceError(
                f"{folder}: {error.strerror or error}",
                hint="check `path`; the service sees nothing below /home; the agent looks again by itself",
            ) from error
        if not paths:
            raise SourceError(f"{folder} is empty", hint="put pictures into it; the agent looks again by itself")
        self._paths = iter(paths)
        self._listed = len(paths)
        self._usable = 0


def _read(path: Path) -> bytes:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_FILE_BYTES:
            raise FrameError(f"{path.name} has {size_bytes} bytes; pictures of up to {_MAX_FILE_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise FrameError(f"{path.name}: {error.strerror or error}") from error
