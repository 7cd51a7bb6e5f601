"""Files that carry one truth each: by the folder they lie in, by a table, or by what a device said of them.

Pictures and WAV files alike; which of a file becomes one example or several is left to `contents`.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from converter.data.contents import contents_of, suffixes_of
from converter.data.device_said import note_of, truths_in
from converter.data.examples import ClassTruth, Example, Examples, Request, Sound, Truth, ValuesTruth, gathered
from converter.data.files import files_of, listed
from converter.errors import CalibrationError
from edge_agent.transform.rows import parse_number

_FILE_COLUMNS = ("file", "filename", "file_name", "image", "path", "picture", "sound", "wav", "id")
_LABEL_COLUMNS = ("label", "class", "category", "target", "y", "label_name", "class_name")
_SPLITS = {"train", "val", "valid", "validation", "test"}


def read_subfolders(request: Request) -> Examples:
    """`cats/1.jpg` is of class `cats`. Files that lie in no subfolder have no truth, nor has a file alone."""
    folder = request.path
    wanted = suffixes_of(request.spec)
    if folder.is_file():
        return _read(request, [folder], {}, wanted)
    files = files_of(folder) if request.labeled else files_of(folder, *wanted)
    labels = {path: path.relative_to(folder).parts[0] for path in files if len(path.relative_to(folder).parts) > 1}
    if request.labeled:
        _check_no_splits(folder, set(labels.values()))
    truths: dict[Path, Truth] = {path: ClassTruth(label) for path, label in labels.items()}
    return _read(request, files, truths, wanted)


def read_table(request: Request, table: Path) -> Examples:
    """A CSV of file names and their labels, or values: file names are relative to the table, or to the folder."""
    folder = request.path if request.path.is_dir() else table.parent
    rows = list(_rows(table))
    truths: dict[Path, Truth] = {}
    bad = []
    for number, (name, values) in enumerate(rows, start=2):
        path = next((base / name for base in (folder, table.parent) if (base / name).is_file()), None)
        if path is None:
            bad.append(f"{name} (line {number}): there is no such file")
            continue
        truth = _truth(request, values)
        if truth is None:
            bad.append(f"{name} (line {number}): {', '.join(values) or 'nothing'} is no {_wanted(request)}")
        else:
            truths[path] = truth
    if not rows:
        raise CalibrationError(f"{table} holds no rows", hint="one line for each file, below the names of the columns")
    if len(bad) == len(rows) and not truths:
        raise CalibrationError(
            f"{table} fits none of the files: {listed(bad)}",
            hint="the file names are relative to the table; their column is called file",
        )
    return _read(request, sorted(truths), truths, suffixes_of(request.spec), bad)


def read_results(request: Request, results: Path) -> Examples:
    """The files that a device's results (a `.jsonl` beside them) say something of: see `device_said`."""
    truths = truths_in(results, request.task)
    files = [path for path in files_of(request.path, *suffixes_of(request.spec)) if path.name in truths]
    found = _read(request, files, {path: truths[path.name] for path in files}, suffixes_of(request.spec))
    return Examples(found.items, found.left_out, (*found.notes, note_of(results)))


def _read(
    request: Request,
    files: list[Path],
    truths: Mapping[Path, Truth],
    wanted: tuple[str, ...],
    bad: list[str] | None = None,
) -> Examples:
    problems = list(bad or ())
    items: list[Example] = []
    folder = request.path if request.path.is_dir() else request.path.parent
    for path in files:
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        if path.suffix.lower() not in wanted:
            problems.append(f"{name}: not one of {', '.join(wanted)}")
            continue
        found, problem = contents_of(path, request.spec)
        if problem is not None:
            problems.append(f"{name}: {problem}")
        for number, content in enumerate(found):
            part = f"{name}#{number}" if isinstance(content, Sound) else name
            items.append(Example(part, content, truths.get(path)))
    hint = f"give a folder of {', '.join(wanted)} files, in one subfolder for each class"
    kind = f"{wanted[0]} files" if len(wanted) == 1 else "pictures"
    return gathered(request, items, problems, wanted=kind, hint=hint)


def _rows(table: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{table} cannot be read as text: {error}", hint="write it as UTF-8 CSV") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return
    separator = next((mark for mark in (";", "\t") if mark in lines[0]), ",")
    try:
        header, *rows = csv.reader(lines, delimiter=separator)
    except csv.Error as error:
        raise CalibrationError(f"{table} is no CSV: {error}", hint="write it as UTF-8 CSV") from error
    names = [name.strip().lower() for name in header]
    file = next((names.index(name) for name in _FILE_COLUMNS if name in names), None)
    if file is None:
        raise CalibrationError(
            f"{table} has no column of file names; it has {', '.join(header)}",
            hint="call the columns file and label (or file and the names of the values)",
        )
    label = next((names.index(name) for name in _LABEL_COLUMNS if name in names), None)
    for row in rows:
        if len(row) == len(header):
            rest = [cell.strip() for place, cell in enumerate(row) if place != file]
            yield row[file].strip(), [row[label].strip()] if label is not None else rest
        else:
            yield (row[file].strip() if len(row) > file else ",".join(row)), []


def _truth(request: Request, cells: list[str]) -> Truth | None:
    if not request.labeled:
        return ClassTruth("")
    if request.task == "regression":
        values = [parse_number(cell) for cell in cells]
        numbers = [value for value in values if value is not None]
        return ValuesTruth(tuple(numbers)) if cells and len(numbers) == len(cells) else None
    return ClassTruth(cells[0]) if len(cells) == 1 and cells[0] else None


def _wanted(request: Request) -> str:
    return "row of numbers" if request.task == "regression" else "label"


def _check_no_splits(folder: Path, names: set[str]) -> None:
    if names and {name.lower() for name in names} <= _SPLITS:
        raise CalibrationError(
            f"{folder} holds {', '.join(sorted(names))}: these are parts of a data set, not classes",
            hint=f"give one of them: {folder / min(names)}",
        )
