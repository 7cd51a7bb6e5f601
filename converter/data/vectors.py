"""Rows of values that are a model's whole input each, as a sensor's rows are on a device without windows.

Labeled as windows are: by a column, by the folder of their file, or by what a device said of it.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from converter.data.device_said import note_of, results_in, truths_in
from converter.data.examples import ClassTruth, Example, Examples, Request, Tensors, Truth, gathered
from converter.data.files import files_of
from converter.data.windows import columns_of, label_truth
from converter.errors import CalibrationError
from edge_agent.errors import SourceError, counted
from edge_agent.release.inputs import TensorInput
from edge_agent.transform.rows import parse_cells, parse_number
from edge_agent.transform.tensor import TensorSpec


def read_vectors(request: Request, tensors: Sequence[TensorSpec]) -> Examples:
    """Each row of a `.csv`, or of all in a folder, dealt out to the inputs in their order.

    Raises:
        CalibrationError: there is nothing, or something that is no such row.
    """
    path, spec = request.path, request.spec
    assert isinstance(spec, TensorInput)
    files = files_of(path, ".csv") if path.is_dir() else [path]
    if not files:
        raise CalibrationError(f"{path} holds no .csv files", hint="give a .csv of rows, a folder of them, or a .npz")
    results = results_in(path) if request.labeled else None
    said = truths_in(results, request.task) if results is not None else {}
    items: list[Example] = []
    bad = []
    for file in files:
        inside = file.relative_to(path).parts[:-1] if path.is_dir() else ()
        name = "/".join((*inside, file.name))
        of_file = said.get(file.name) or (ClassTruth(inside[0]) if inside else None)
        try:
            for number, (content, truth) in enumerate(_rows(file, spec, request, tensors)):
                items.append(Example(f"{name}#{number}", content, truth or of_file))
        except (SourceError, OSError, UnicodeDecodeError) as error:
            what = "is not text" if isinstance(error, UnicodeDecodeError) else str(error).removeprefix(str(file))
            bad.append(f"{name}: {what.strip(' ,:')}")
    found = gathered(request, items, bad, wanted="row", hint="each row is one input of the model")
    if results is None or not any(file.name in said for file in files):
        return found
    return Examples(found.items, found.left_out, (*found.notes, note_of(results)))


def _rows(
    file: Path, spec: TensorInput, request: Request, tensors: Sequence[TensorSpec]
) -> Iterator[tuple[Tensors, Truth | None]]:
    sizes = [math.prod(tensor.shape) for tensor in tensors]
    label, wanted = columns_of(file, spec.channels)
    with open(file, encoding="utf-8-sig") as lines:
        for row in parse_cells(lines, wanted, name=str(file)):
            if row.cells is None:
                raise SourceError(f"line {row.line}: {row.problem}")
            cells = row.cells[:-1] if label is not None else row.cells
            values = [number for cell in cells if (number := parse_number(cell)) is not None]
            if len(values) != len(cells):
                raise SourceError(f"line {row.line}: expected numbers, found {', '.join(cells)[:40]!r}")
            if len(values) != sum(sizes):
                raise SourceError(f"line {row.line}: {counted(len(values), 'value')}; the model takes {sum(sizes)}")
            dealt = np.split(np.array(values, np.float64), np.cumsum(sizes)[:-1])
            shaped = tuple(part.reshape(tensor.shape) for part, tensor in zip(dealt, tensors, strict=True))
            yield Tensors(shaped), label_truth([row.cells[-1]], request) if label is not None else None
