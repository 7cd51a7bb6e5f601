"""A CSV file of sensor rows as a source. Reading its text is left to `transform.rows`, missing values and gaps to
`row_options`, pacing to `capture`.
"""

from collections.abc import Iterator
from itertools import chain
from types import TracebackType
from typing import IO, Self

from edge_agent.clock import Clock
from edge_agent.config.row_sources import CsvSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Sample, Unusable, Wanted
from edge_agent.inference.sources.row_options import RawRow, RowReader
from edge_agent.transform.rows import Cells, parse_cells, parse_time_s


class CsvRows:
    """Row by row, the columns that the configuration names, else those the model does, else all.

    A file that is repeated is one stream, whose windows reach across its end; with a time column, which then goes back,
    a new one begins.
    """

    def __init__(self, config: CsvSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._file: IO[str] | None = None
        self._lines: Iterator[str] = iter(())
        self._rows: Iterator[Cells] = iter(())
        self._reader = RowReader(config, ordered=True)
        self._channels: tuple[str, ...] | None = None
        self._header: str | None = None  # the first line that is no comment
        self._header_line = 0
        self._headless = False  # that line is a row already
        self._read_lines = 0
        self._line_offset = 0
        self._usable = 0  # rows of this pass

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def take(self, wanted: Wanted) -> Sample | Unusable | None:
        channels = wanted.channels
        if channels != self._channels:
            self._select(channels)
        row = self._next()
        if row is None:
            if not self._config.repeat:
                return None
            if not self._usable:
                raise SourceError(
                    f"{self._config.path}: none of its rows can be used", hint="rows of numbers are expected"
                )
            self._close()
            self._open()
            return self.take(wanted)
        name = f"{self._config.path.name}:{row.line + self._line_offset}"
        if row.cells is None:
            return Unusable(name, f"{name}: {row.problem}")
        time_s = parse_time_s(row.time) if self._config.time_column is not None else None
        if time_s is None and self._config.time_column is not None:
            expected = "expected seconds or a date and time (ISO 8601)"
            return Unusable(name, f"{name}: {expected} as {self._config.time_column}, found {row.time[:40]!r}")
        item = self._reader.read(RawRow(name, self._clock.now_s(), row.cells, time_s), wanted)
        self._usable += isinstance(item, Sample)
        return item

    def _next(self) -> Cells | None:
        try:
            row = next(self._rows, None)
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{self._config.path}: {error}", hint="a text file in UTF-8 is expected") from error
        if row is not None and row.line + self._line_offset == self._header_line:
            self._headless = True
        return row

    def _select(self, channels: tuple[str, ...]) -> None:
        """Read the columns of `channels` from here on: the header again, then the lines that are left."""
        again = [self._header] if self._header is not None and not self._headless else []
        self._line_offset = self._read_lines - len(again)
        self._channels = channels
        self._rows = parse_cells(
            chain(again, self._lines),
            self._config.columns or channels,
            time_column=self._config.time_column,
            name=str(self._config.path),
        )

    def _open(self) -> None:
        try:
            self._file = self._config.path.open(encoding="utf-8-sig", newline=None)
        except OSError as error:
            raise SourceError(
                f"{self._config.path}: {error.strerror or error}",
                hint="check `path`; the service sees nothing below /home",
            ) from error
        self._lines = self._counted(self._file)
        self._channels = self._header = None
        self._headless = False
        self._read_lines = self._header_line = self._usable = 0

    def _counted(self, file: IO[str]) -> Iterator[str]:
        for line in file:
            self._read_lines += 1
            text = line.strip()
            if self._header is None and text and not text.startswith("#"):
                self._header, self._header_line = line, self._read_lines
            yield line

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
