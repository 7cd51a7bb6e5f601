"""Standard input, a named pipe or a file of JSON lines as a source of rows: whatever can write, can feed a model.

Opening a pipe again whose writer has gone is left to `capture`; a row's columns, to `row_options`.
"""

import os
import stat
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.row_sources import StdinSource
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Nothing, Sample, Unusable, Wanted
from edge_agent.inference.sources.json_rows import parse_json_row
from edge_agent.inference.sources.lines import Lines
from edge_agent.inference.sources.row_options import RawRow, RowReader

_STDIN = 0
_LOOK_S = 0.5  # the longest wait for a line


class JsonLines:
    """One JSON object or list a line. The end of standard input or of a file is the end; of a named pipe, a pause."""

    def __init__(self, config: StdinSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._descriptor: int | None = None
        self._lines: Lines | None = None
        self._is_pipe = False
        self._begun = False
        self._number = 0
        self._reader = RowReader(config)

    def __enter__(self) -> Self:
        if str(self._config.path) == "-":
            descriptor = _STDIN
        else:
            self._descriptor = descriptor = self._open()
        self._lines = Lines(descriptor, self._clock)
        self._number, self._begun = 0, False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._lines = None

    def take(self, wanted: Wanted) -> Sample | Unusable | Nothing | None:
        assert self._lines is not None, "it is taken from while it is open"
        while True:
            try:
                line = self._lines.next(_LOOK_S)
            except TimeoutError:
                return Nothing()
            except OSError as error:
                raise SourceError(f"{self._title}: {error.strerror or error}") from error
            if line is None:
                if self._is_pipe:
                    raise SourceError(
                        f"{self._title}: whoever wrote into it has closed it",
                        hint="start it again",
                    )
                return None
            self._number += 1
            if line.strip():
                return self._read(line, wanted)

    def _read(self, line: bytes, wanted: Wanted) -> Sample | Unusable:
        name = f"{self._title}:{self._number}"
        try:
            cells = parse_json_row(line)
        except FrameError as error:
            return Unusable(name, f"{name}: {error}")
        # The first row of each opening does not follow on what came before.
        after_gap, self._begun = not self._begun, True
        return self._reader.read(RawRow(name, self._clock.now_s(), cells, self._clock.monotonic_s(), after_gap), wanted)

    @property
    def _title(self) -> str:
        return "stdin" if str(self._config.path) == "-" else self._config.path.name

    def _open(self) -> int:
        path = self._config.path
        try:
            # Without O_NONBLOCK opening a pipe waits for a writer, and nothing could end that wait.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(
                f"{path}: {error.strerror or error}",
                hint=f"make a named pipe of it (mkfifo {path}) that the agent may read; the service sees nothing below "
                "/home",
            ) from error
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            os.close(descriptor)
            raise SourceError(f"{path} is a folder", hint="a named pipe (mkfifo) or a file of JSON lines is expected")
        self._is_pipe = stat.S_ISFIFO(mode)
        return descriptor
