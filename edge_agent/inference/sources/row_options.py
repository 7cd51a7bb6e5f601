"""What every source of rows does with a row: picks its columns, mends or refuses missing values, and sees gaps in time.

Pure: the same rows give the same samples. Where rows come from, and their time, is left to the sources; what becomes of
a window after a gap, to `job`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.config.row_sources import RowOptions
from edge_agent.errors import SourceError, counted
from edge_agent.inference.frame import Sample, Unusable, Wanted
from edge_agent.transform.rows import bare_name, nearest, parse_number, parse_time_s

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as a source got it: values by name (nested ones by their path, `climate.temp`), or in their order."""

    name: str
    captured_s: float  # wall time
    cells: Mapping[str, object] | Sequence[object]
    time_s: float | None = None  # on the clock by which gaps are seen; None: they are not
    after_gap: bool = False  # the source knows that something is missing before it


@dataclass(slots=True)
class RowReader:
    """Applies `RowOptions` to one stream of rows, in their order. One thread uses it."""

    options: RowOptions
    paths: Mapping[str, str] = field(default_factory=dict)  # where a column stands, if not under its own name
    ordered: bool = False  # a time that goes back is a gap too: of a recording, whose times are its own
    _layout: tuple[str, ...] = ()  # all columns there are, as the first row had them; where nobody chooses
    _held: dict[str, float] = field(default_factory=dict)
    _last_s: float | None = None
    _gap: bool = False

    def read(self, raw: RawRow, wanted: Wanted) -> Sample | Unusable:
        """The row as the model gets it. A gap before a row that cannot be used is told with the next one that can."""
        jumps = not self._gap and self._jumps(raw.time_s)
        if raw.after_gap or jumps:
            self._gap = True
            self._held.clear()  # what was measured before it is no stand-in for what is measured now
        values: list[float] = []
        problems: list[str] = []
        is_time = False
        columns = self.options.columns or wanted.channels
        if isinstance(raw.cells, Mapping):
            columns = columns or self._all(raw.cells)
            named = [(column, _look_up(raw.cells, self.paths.get(column, column))) for column in columns]
        else:
            if len(columns or raw.cells) != len(raw.cells):
                problems.append(
                    f"expected {counted(len(columns), 'value')} ({', '.join(columns)}), found {len(raw.cells)}"
                )
            names = columns or tuple(map(str, range(len(raw.cells))))
            named = [] if problems else list(zip(names, raw.cells, strict=True))
        for column, cell in named:
            value = self._value(column, cell)
            if value is None:
                is_time = is_time or (not problems and isinstance(cell, str) and parse_time_s(cell) is not None)
                problems.append(_missing(column, cell, raw.cells, held=self.options.missing == "hold"))
            else:
                values.append(value)
        if problems or not values:
            problem = problems[0] if problems else "expected numbers, found none"
            return Unusable(raw.name, f"{raw.name}: {problem}", is_time)
        after_gap, self._gap, self._last_s = self._gap, False, raw.time_s
        return Sample(raw.name, raw.captured_s, wanted.channels, tuple(values), after_gap)

    def _value(self, column: str, cell: object) -> float | None:
        value = parse_number(cell)
        if self.options.missing == "hold":
            if value is None:
                return self._held.get(column)
            self._held[column] = value
        elif value is None and self.options.missing == "zero":
            return 0.0
        return value

    def _jumps(self, time_s: float | None) -> bool:
        if time_s is None or self._last_s is None:
            return False
        passed_s = time_s - self._last_s
        longest_s = self.options.max_gap_s
        return (self.ordered and passed_s < 0) or (longest_s is not None and passed_s > longest_s)

    def _all(self, cells: Mapping[str, object]) -> tuple[str, ...]:
        """Every column that was a number in the first row that had any: later rows are to have as many values."""
        if not self._layout:
            self._layout = tuple(self.paths) or tuple(
                name for name, cell in cells.items() if parse_number(cell) is not None
            )
        return self._layout


def check_columns(columns: Sequence[str], there: Iterable[str], name: str) -> None:
    """For a source that has the same columns in every row.

    Raises:
        SourceError: it has not all of these.
    """
    known = [bare_name(column) for column in there]
    missing = [nearest(column, known) for column in columns if bare_name(column) not in known]
    if missing:
        raise SourceError(
            f"{name} has no {', '.join(missing)}; it has {', '.join(known)}", hint="name the columns as the source does"
        )


def _look_up(cells: object, path: str) -> object:
    """The value under this very name, with or without its unit, or at the end of this path."""
    if isinstance(cells, Mapping):
        if path in cells:
            return cells[path]
        plain = bare_name(path)
        named = next((name for name in cells if bare_name(str(name)) == plain), None) if plain else None
        if named is not None:
            return cells[named]
    key, dot, rest = path.partition(".")
    below: object = _ABSENT
    if isinstance(cells, Mapping):
        below = cells.get(key, _ABSENT) if dot else _ABSENT
    elif isinstance(cells, Sequence) and not isinstance(cells, str) and key.isdecimal() and len(key) < 10:
        below = cells[int(key)] if int(key) < len(cells) else _ABSENT
    return _look_up(below, rest) if dot and below is not _ABSENT else below


def _missing(column: str, cell: object, cells: Mapping[str, object] | Sequence[object], *, held: bool) -> str:
    if cell is _ABSENT:
        there = [str(name) for name in cells] if isinstance(cells, Mapping) else []
        text = f"it has no {nearest(column, there)}; it has {', '.join(there)[:200] or 'nothing'}"
    elif isinstance(cells, Mapping):
        text = f"expected a number as {column}, found {_brief(cell)}"
    else:
        text = f"expected a number, found {_brief(cell)}"
    return f"{text}; there is no value before it to hold" if held else text


def _brief(cell: object) -> str:
    if isinstance(cell, Mapping):
        return "an object"
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        return "a list"
    return repr(cell[:40] if isinstance(cell, str) else cell)[:60]
