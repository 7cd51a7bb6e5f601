"""Rows of numbers in CSV text: the one reader for sources, calibration data and `infer`.

Lines that begin with # are comments. The first other line is the header, unless it is all numbers. A column may
carry its unit in brackets: `acc_x` is found as `acc_x[mg]`. No numpy here. Windows are left to `signal`.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edge_agent.errors import SourceError


@dataclass(frozen=True, slots=True)
class Row:
    """The wanted columns of one line; `values` is None where the line is not such a row, and `problem` says why."""

    line: int  # from 1
    values: tuple[float, ...] | None
    problem: str = ""


def parse_rows(lines: Iterable[str], columns: Sequence[str] = (), *, name: str = "the CSV") -> Iterator[Row]:
    """Each row of the wanted `columns` in their order (none wanted: all).

    Raises:
        SourceError: a wanted column is missing, or there is no row at all.
    """
    numbered = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    content = ((number, line) for number, line in numbered if line and not line.startswith("#"))
    first = next(content, None)
    if first is None:
        raise SourceError(f"{name} holds no rows", hint="it needs a header line and rows of numbers")
    cells = _cells(first[1])
    headless = all(_number(cell) is not None for cell in cells)
    picked = _headless(cells, columns, name) if headless else _picked(cells, columns, name)
    if headless:
        yield _row(first[0], cells, picked, len(cells))
    for number, line in content:
        yield _row(number, _cells(line), picked, len(cells))


def _row(line: int, cells: list[str], picked: list[int], width: int) -> Row:
    if len(cells) != width:
        return Row(line, None, f"expected {width} columns, found {len(cells)}")
    values = [_number(cells[position]) for position in picked]
    if any(value is None for value in values):
        wrong = next(cells[position] for position, value in zip(picked, values, strict=True) if value is None)
        return Row(line, None, f"expected a number, found {wrong[:40]!r}")
    return Row(line, tuple(value for value in values if value is not None))


def _picked(header: list[str], columns: Sequence[str], name: str) -> list[int]:
    bare = [cell.partition("[")[0].strip() for cell in header]
    found = {column: _position(header, bare, column) for column in columns}
    missing = [column for column, position in found.items() if position is None]
    if missing:
        near = {column: difflib.get_close_matches(column, bare, n=1, cutoff=0.5) for column in missing}
        guesses = [f"{column} (did you mean {match[0]}?)" if match else column for column, match in near.items()]
        raise SourceError(
            f"{name} has no column {', '.join(guesses)}; it has {', '.join(header)}",
            hint="name the columns as the file does",
        )
    return [position for position in found.values() if position is not None] or list(range(len(header)))


def _position(header: list[str], bare: list[str], column: str) -> int | None:
    if column in header:
        return header.index(column)
    plain = column.partition("[")[0].strip()
    return bare.index(plain) if plain in bare else None


def _headless(first: list[str], columns: Sequence[str], name: str) -> list[int]:
    if columns and len(columns) != len(first):
        raise SourceError(
            f"{name} has no header and {len(first)} columns; {len(columns)} are wanted ({', '.join(columns)})",
            hint="begin it with a line that names the columns",
        )
    return list(range(len(first)))


def _cells(line: str) -> list[str]:
    separator = ";" if ";" in line else "," if "," in line else "\t" if "\t" in line else ","
    return [cell.strip().strip('"') for cell in line.split(separator)]


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
