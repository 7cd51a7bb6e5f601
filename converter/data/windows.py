"""Windows of a sensor, labeled by the folder of their file or by a column: cut as on the device.

A window's class is the one most of its rows have, of equals the later one; a measured value is that of its last row.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from converter.data.device_said import note_of, results_in, truths_in
from converter.data.examples import ClassTruth, Example, Examples, Request, Rows, Truth, ValuesTruth, gathered
from converter.data.files import files_of
from converter.errors import CalibrationError
from edge_agent.errors import SourceError
from edge_agent.release.inputs import SignalInput
from edge_agent.transform.rows import parse_cells, parse_number
from edge_agent.transform.signal import Windower

_LABEL_COLUMNS = ("label", "class", "activity", "target", "y", "anomaly", "is_anomaly")


def read_windows(request: Request) -> Examples:
    """A `.csv` with a column of labels, or a folder of them: with that column, in subfolders named by their class, or
    with what a device said of them.

    Raises:
        CalibrationError: there is nothing, or something that is no row of numbers.
    """
    path, spec = request.path, request.spec
    assert isinstance(spec, SignalInput)
    files = files_of(path, ".csv") if path.is_dir() else [path]
    results = results_in(path) if request.labeled else None
    said = truths_in(results, request.task) if results is not None else {}
    items: list[Example] = []
    bad = []
    for file in files:
        inside = file.relative_to(path).parts[:-1] if path.is_dir() else ()
        name = "/".join((*inside, file.name))
        try:
            for number, (rows, truth) in enumerate(_cut(file, spec, request)):
                by_folder = ClassTruth(inside[0]) if inside else None
                items.append(Example(f"{name}#{number}", Rows(rows), truth or said.get(file.name) or by_folder))
        except (SourceError, OSError, UnicodeDecodeError) as error:
            what = "is not text" if isinstance(error, UnicodeDecodeError) else str(error).removeprefix(str(file))
            bad.append(f"{name}: {what.strip(' ,:')}")
    if not files:
        raise CalibrationError(f"{path} holds no .csv files", hint="give a .csv of sensor rows, or a folder of them")
    found = gathered(request, items, bad, wanted=f"whole window of {spec.window} rows", hint="check --window")
    if results is None or not any(file.name in said for file in files):
        return found
    return Examples(found.items, found.left_out, (*found.notes, note_of(results)))


def _cut(file: Path, spec: SignalInput, request: Request) -> Iterator[tuple[np.ndarray, Truth | None]]:
    label, wanted = columns_of(file, spec.channels)
    windower, labels = Windower(spec.window, spec.stride), Windower(spec.window, spec.stride)
    known: list[str] = []
    with open(file, encoding="utf-8-sig") as lines:
        for row in parse_cells(lines, wanted, name=str(file)):
            if row.cells is None:
                raise SourceError(f"line {row.line}: {row.problem}")
            cells = row.cells[:-1] if label is not None else row.cells
            values = [parse_number(cell) for cell in cells]
            if any(value is None for value in values):
                wrong = cells[values.index(None)]
                raise SourceError(f"line {row.line}: expected a number, found {wrong[:40]!r}")
            window = windower.push([value for value in values if value is not None])
            if label is None:
                if window is not None:
                    yield window, None
                continue
            known.append(row.cells[-1])
            told = labels.push([float(len(known) - 1)])
            if window is not None and told is not None:
                yield window, label_truth([known[int(place)] for place in told[:, 0]], request)


def columns_of(file: Path, channels: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The column of labels, if there is one, and the columns to read: it is the last of them."""
    header = _header(file)
    label = next((name for name in header if name.lower() in _LABEL_COLUMNS and name not in channels), None)
    if label is None:
        return None, channels
    return label, (*(channels or tuple(name for name in header if name != label)), label)


def _header(file: Path) -> list[str]:
    with open(file, encoding="utf-8-sig") as lines:
        first = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    cells = [cell.strip().strip('"') for cell in first.replace(";", ",").replace("\t", ",").split(",")]
    return [] if all(parse_number(cell) is not None for cell in cells) else cells


def label_truth(labels: list[str], request: Request) -> Truth:
    """That of rows with these labels, one a row.

    Raises:
        SourceError: a value is wanted, and the last label is none.
    """
    if request.task == "regression":
        value = parse_number(labels[-1])
        if value is None:
            raise SourceError(f"expected a number as the label, found {labels[-1][:40]!r}")
        return ValuesTruth((value,))
    counts = Counter(labels)
    most = max(counts.values())
    return ClassTruth(next(label for label in reversed(labels) if counts[label] == most))
