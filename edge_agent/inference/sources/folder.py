"""A folder of pictures as a source: every file in the order of the names, told by content, not by extension.

Which of a watched folder's files are whole is left to `watching`.
"""

import os
from collections import deque
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.sources import FolderSource
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.inference.sources.watching import Arrivals, File, files_of
from edge_agent.transform.picture import open_picture

_MAX_FILE_BYTES = 256_000_000  # anything larger is no picture, and would not fit into a small board's memory
_LOOK_EVERY_S = 0.5
_REST = 10  # times as long as a look has taken
_HINT = "check `path`; the service sees nothing below /home"


class Folder:
    """Looks into the folder anew for each pass, so pictures may come and go. Subfolders and dot files are left out.

    A watched one keeps in mind what it has given, also while it is closed: what failed and is opened again goes on.
    """

    def __init__(self, config: FolderSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._paths: deque[Path] = deque()
        self._arrivals = Arrivals()
        self._never = Event()
        self._thinning = Thinning(clock)
        self._listed = 0
        self._usable = 0  # pictures of this pass

    def __enter__(self) -> Self:
        self._thinning = Thinning(self._clock, every_n=self._config.every_n)
        if not self._config.watch:
            self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._config.watch:
            self._paths.clear()

    def take(self, wanted: Wanted) -> Frame | Unusable | Nothing | None:  # pictures have no columns
        path = self._next()
        if path is None and self._config.watch:
            return self._look()
        if path is None:
            if not self._config.repeat:
                return None
            if not self._usable:  # else a folder of text files would be read over and over without a pause
                raise SourceError(
                    f"{self._config.path}: none of its files ({self._listed}) is a picture",
                    hint="put JPEG, PNG, BMP, GIF or WebP files into it",
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

    def _next(self) -> Path | None:
        while self._paths:
            path = self._paths.popleft()
            if self._thinning.lets_through():
                return path
        return None

    def _look(self) -> Nothing:
        """At what has come; without anything new, after a while."""
        began_s = self._clock.monotonic_s()
        self._paths.extend(self._config.path / name for name in self._arrivals.look(self._list()))
        if not self._paths:
            took_s = self._clock.monotonic_s() - began_s  # of a large folder: long
            self._clock.wait(self._never, max(_LOOK_EVERY_S, _REST * took_s))
        return Nothing()

    def _begin(self) -> None:
        paths = [self._config.path / name for name, _, _ in self._list()]
        if not paths:
            raise SourceError(f"{self._config.path} is empty", hint="put pictures into it")
        self._paths = deque(paths)
        self._listed = len(paths)
        self._usable = 0

    def _list(self) -> list[File]:
        try:
            return files_of(self._config.path)
        except OSError as error:
            raise SourceError(f"{self._config.path}: {error.strerror or error}", hint=_HINT) from error


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > _MAX_FILE_BYTES:
                raise FrameError(f"{path.name} has {size_bytes} bytes; pictures of up to {_MAX_FILE_BYTES} are read")
            return file.read()
    except OSError as error:
        raise FrameError(f"{path.name}: {error.strerror or error}") from error
