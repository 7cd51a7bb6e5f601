"""Rows of numbers in CSV text: the one reader for sources, calibration data and `infer`.

Lines that begin with # are comments. The first other line is the header, unless it is all numbers. A column may
carry its unit in brackets: `acc_x` is found as `acc_x[mg]`. No numpy here. Windows are left to `signal`; what becomes
of missing values and gaps in a source, to `inference.sources.row_options`.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from edge_agent.errors import SourceError, counted


@dataclass(frozen=True, slots=True)
class Row:
    """The wanted columns of one line; `values` is None where the line is not such a row, and `problem` says why."""

    line: int  # from 1
    values: tuple[float, ...] | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Cells:
    """The text of the wanted columns of one line; `cells` is None where the line is not such a row, see `problem`."""

    line: int  # from 1
    cells: tuple[str, ...] | None
    time: str = ""  # the cell of the time column, where there is one
    problem: str = ""


def parse_rows(
    lines: Iterable[str], columns: Sequence[str] = (), *, time_column: str | None = None, name: str = "the CSV"
) -> Iterator[Row]:
    """Each row of the wanted `columns` in their order (none wanted: all but the time column).

    Raises:
        SourceError: a wanted column is missing, or there is no row at all.
    """
    return map(_row, parse_cells(lines, columns, time_column=time_column, name=name))


def parse_cells(
    lines: Iterable[str], columns: Sequence[str] = (), *, time_column: str | None = None, name: str = "the CSV"
) -> Iterator[Cells]:
    """As `parse_rows`, for whoever knows what to do about a cell that holds no number."""
    numbered = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    content = ((number, line) for number, line in numbered if line and not line.startswith("#"))
    first = next(content, None)
    if first is None:
        raise SourceError(f"{name} holds no rows", hint="it needs a header line and rows of numbers")
    header = _split(first[1])
    width = len(header)
    if all(parse_number(cell) is not None for cell in header):
        picked, time = _headless(header, columns, time_column, name), None
        yield _cells(first[0], header, picked, time, width)
    else:
        picked, time = _picked(header, columns, time_column, name)
    for number, line in content:
        yield _cells(number, _split(line), picked, time, width)


def parse_number(value: object) -> float | None:
    """A finite number, or a text that is one; true and false are 1 and 0. None: it is no such thing."""
    if not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parse_time_s(text: str) -> float | None:
    """Seconds, as they are or of a date and time (ISO 8601; without a zone, UTC); None: it is neither."""
    seconds = parse_number(text)
    if seconds is not None:
        return seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def nearest(column: str, known: Iterable[str]) -> str:
    """The column, and which of those there are it may mean."""
    match = difflib.get_close_matches(column, list(known), n=1, cutoff=0.5)
    return f"{column} (did you mean {match[0]}?)" if match else column


def bare_name(column: str) -> str:
    """A column without its unit."""
    return column.partition("[")[0].strip()


def _row(found: Cells) -> Row:
    if found.cells is None:
        return Row(found.line, None, found.problem)
    values = tuple(number for cell in found.cells if (number := parse_number(cell)) is not None)
    if len(values) < len(found.cells):
        wrong = next(cell for cell in found.cells if parse_number(cell) is None)
        return Row(found.line, None, f"expected a number, found {wrong[:40]!r}")
    return Row(found.line, values)


def _cells(line: int, cells: list[str], picked: list[int], time: int | None, width: int) -> Cells:
    if len(cells) != width:
        return Cells(line, None, problem=f"expected {counted(width, 'column')}, found {len(cells)}")
    return Cells(line, tuple(cells[position] for position in picked), cells[time] if time is not None else "")


def _picked(
    header: list[str], columns: Sequence[str], time_column: str | None, name: str
) -> tuple[list[int], int | None]:
    bare = [bare_name(cell) for cell in header]
    asked = (*columns, *([time_column] if time_column is not None else []))
    found = {column: _position(header, bare, column) for column in asked}
    missing = [column for column, position in found.items() if position is None]
    if missing:
        guesses = ", ".join(nearest(column, bare) for column in missing)
        raise SourceError(
            f"{name} has no column {guesses}; it has {', '.join(header)}", hint="name the columns as the file does"
        )
    time = found[time_column] if time_column is not None else None
    picked = [position for column in columns if (position := found[column]) is not None]
    return picked or [position for position in range(len(header)) if position != time], time


def _position(header: list[str], bare: list[str], column: str) -> int | None:
    if column in header:
        return header.index(column)
    plain = bare_name(column)
    return bare.index(plain) if plain in bare else None


def _headless(first: list[str], columns: Sequence[str], time_column: str | None, name: str) -> list[int]:
    if time_column is not None:
        raise SourceError(
            f"{name} has no header, so no column {time_column}", hint="begin it with a line that names the columns"
        )
    if columns and len(columns) != len(first):
        raise SourceError(
            f"{name} has no header and {counted(len(first), 'column')}; wanted: {', '.join(columns)}",
            hint="begin it with a line that names the columns",
        )
    return list(range(len(first)))


def _split(line: str) -> list[str]:
    separator = ";" if ";" in line else "," if "," in line else "\t" if "\t" in line else ","
    return [cell.strip().strip('"') for cell in line.split(separator)]
