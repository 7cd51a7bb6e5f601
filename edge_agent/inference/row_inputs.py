"""Rows and plain values that `edge-agent infer` is given, prepared for the model: windows of rows, and vectors.

One row that is of no use costs itself: it is told, and those behind it are used. CSV files are read by the agent's own
source, so that windows here are windows there; other formats are left to `values`.
"""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from edge_agent.errors import FrameError, InputError, counted
from edge_agent.inference.frame import Sample, Unusable
from edge_agent.inference.model import Model
from edge_agent.inference.shots import LeftOut, Reading, Say, Shot
from edge_agent.inference.values import (
    ARRAY_SUFFIXES,
    are_stored,
    by_name,
    parse_line,
    read_npy,
    read_rows,
    read_vectors,
    split_vectors,
)
from edge_agent.release.inputs import ImageInput, SignalInput, TensorInput
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

_TIMES = "a time is no value: name its column with --time-column, or those to be read with --columns"
_OTHER_ROWS = "mend or remove the row, or name other columns with --columns"
_OTHER_COLUMNS = "name those to be read with --columns"

_Row = tuple[Iterable[float], bool]  # its values, and whether it begins after a gap


def windows(model: Model, path: Path, reading: Reading, say: Say) -> Iterator[Shot]:
    """The windows that the rows of a file fill: CSV, or a .npy array [rows, channels].

    Raises:
        InputError, SourceError, FrameError: it cannot be read, has other columns, or fewer rows than one window.
    """
    left_out = LeftOut("row", say)
    rows = _array_rows(path, left_out) if path.suffix in ARRAY_SUFFIXES else _csv_rows(model, path, reading, left_out)
    return _windows(model, rows, str(path), left_out)


def vectors(model: Model, path: Path, reading: Reading, say: Say) -> Iterator[Shot]:
    """The vectors of a file: CSV, .npy or .npz.

    Raises:
        InputError, SourceError: it cannot be read, or holds another number of values.
    """
    left_out = LeftOut("row", say)
    if path.suffix in ARRAY_SUFFIXES:
        return _prepared(model, read_vectors(path, model.inputs), str(path), left_out)
    found, gaps = _table_vectors(model, path, reading, left_out)
    return _prepared(model, found, str(path), left_out, gaps)


def features(model: Model, path: Path, reading: Reading, say: Say) -> Iterator[Shot]:
    """Features of sound that somebody has worked out already, as CSV.

    Raises:
        InputError, SourceError: as `vectors`.
    """
    left_out, tensor = LeftOut("row", say), model.inputs[0]
    found, _ = _table_vectors(model, path, reading, left_out)
    if are_stored(np.concatenate([array for vector in found for array in vector]), tensor):
        say(f"{path}: values beyond what {tensor.label} can hold as real ones are taken as its stored values")
        found = [[array.astype(tensor.dtype) for array in vector] for vector in found]
    return _prepared(model, found, str(path), left_out)


def from_lines(model: Model, reading: Reading, say: Say) -> Iterator[Shot]:
    """JSON lines of standard input: a row of a window each, or the values of the inputs.

    Raises:
        InputError: the model takes pictures, or lines were left out.
    """
    if isinstance(model.manifest.input, ImageInput):
        raise InputError("this model takes pictures, which cannot come as lines", hint="give their files")
    left_out = LeftOut("line", say)
    lines = ((f"stdin:{number}", line) for number, line in enumerate(sys.stdin, start=1) if line.strip())
    columns = _columns(model, reading)
    if isinstance(model.manifest.input, SignalInput):
        yield from _windows(model, _line_rows(lines, columns, left_out), "stdin", left_out)
        return
    for name, line in lines:
        captured = time.perf_counter()
        try:
            found = parse_line(line, name, columns)
            vector = by_name(found, model.inputs, name) if isinstance(found, dict) else [found.reshape(-1)]
            prepared = _fed(model, vector)
        except InputError as error:
            left_out.add(str(error), error.hint)
        except FrameError as error:  # which does not know of lines
            left_out.add(f"{name}: {error}", error.hint)
        else:
            yield Shot(name, prepared, captured)
    left_out.check("stdin")


def _columns(model: Model, reading: Reading) -> tuple[str, ...]:
    spec = model.manifest.input
    return reading.columns or (spec.channels if isinstance(spec, SignalInput | TensorInput) else ())


# --- rows ---------------------------------------------------------------------------------------------------------


def _csv_rows(model: Model, path: Path, reading: Reading, left_out: LeftOut) -> Iterator[_Row]:
    columns = _columns(model, reading)
    for row in read_rows(path, columns, reading.time_column):
        if isinstance(row, Unusable):
            left_out.add(row.detail, _advice(row))
        elif len(row.values) != model.channels:
            raise InputError(
                f"{path} gives {counted(len(row.values), 'column')}; a window of this model takes "
                f"{counted(model.channels, 'channel')}",
                hint=_OTHER_COLUMNS,
            )
        else:
            yield row.values, row.after_gap


def _array_rows(path: Path, left_out: LeftOut) -> Iterator[_Row]:
    values = read_npy(path)
    if values.ndim != 2 or values.dtype.kind not in "uif":
        shape = "x".join(map(str, values.shape))
        raise InputError(f"{path} holds {values.dtype} of {shape}; expected rows of numbers, [rows, channels]")
    for number, row in enumerate(values.tolist()):
        if all(map(math.isfinite, row)):
            yield row, False
        else:
            left_out.add(f"{path} row {number}: expected numbers that are finite")


def _line_rows(lines: Iterable[tuple[str, str]], columns: tuple[str, ...], left_out: LeftOut) -> Iterator[_Row]:
    for name, line in lines:
        try:
            row = _row(parse_line(line, name, columns), name)
        except InputError as error:
            left_out.add(str(error), error.hint)
        else:
            yield row, False


def _windows(model: Model, rows: Iterable[_Row], name: str, left_out: LeftOut) -> Iterator[Shot]:
    spec = model.manifest.input
    assert isinstance(spec, SignalInput)
    number, began_anew = 0, False
    windower = model.windower()
    for row, after_gap in rows:
        if after_gap:
            windower.clear()
            began_anew = True
        window = windower.push(tuple(row))
        if window is not None:
            captured = time.perf_counter()
            yield Shot(f"{name}#{number}", model.prepare_rows(window), captured, began_anew=began_anew)
            number, began_anew = number + 1, False
    left_out.check(name)
    if number == 0:
        raise InputError(
            f"{name} holds fewer rows than the {spec.window} of one window", hint="give a longer recording"
        )


def _row(found: Array | dict[str, Array], name: str) -> list[float]:
    """One row; an object's values in the order in which they stand."""
    values = list(found.values()) if isinstance(found, dict) else list(found.reshape(-1))
    if any(value.size != 1 for value in values):
        raise InputError(f"{name}: expected a row of numbers, found lists within it")
    return [float(value) for value in values]


def _advice(row: Unusable) -> str:
    return _TIMES if row.is_time else _OTHER_ROWS


# --- vectors ------------------------------------------------------------------------------------------------------


def _table_vectors(
    model: Model, path: Path, reading: Reading, left_out: LeftOut
) -> tuple[list[list[Array]], frozenset[int]]:
    """One vector of each row of a CSV file, and which of them begin after a gap; or one of all rows, of which none may
    be missing.
    """
    rows: list[Sample] = []
    for row in read_rows(path, _columns(model, reading), reading.time_column):
        if isinstance(row, Unusable):
            left_out.add(row.detail, _advice(row))
        else:
            rows.append(row)
    needed = sum(math.prod(tensor.shape) for tensor in model.inputs)
    if not rows or len(rows[0].values) != needed:
        left_out.check(str(path))
    found = split_vectors(np.array([row.values for row in rows], np.float64), model.inputs, str(path))
    return found, frozenset(number for number, row in enumerate(rows) if row.after_gap)


def _prepared(
    model: Model, found: list[list[Array]], name: str, left_out: LeftOut, gaps: frozenset[int] = frozenset()
) -> Iterator[Shot]:
    captured = time.perf_counter()
    for number, vector in enumerate(found):
        title = name if len(found) == 1 else f"{name}#{number}"
        try:
            prepared = _fed(model, vector)
        except FrameError as error:
            left_out.add(f"{title}: {error}", error.hint)
        else:
            yield Shot(title, prepared, captured, began_anew=number in gaps)
        captured = time.perf_counter()
    left_out.check(name)


def _fed(model: Model, vector: list[Array]) -> Prepared:
    """An array for each input, or one row that is dealt out to several."""
    dealt = len(vector) == 1 < len(model.inputs)
    return model.prepare_row(vector[0].tolist()) if dealt else model.prepare_tensors(vector)
