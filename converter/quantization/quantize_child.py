"""The child that quantizes one model: `python -m converter.quantization.quantize_child FOLDER`.

The order of things: equalize, see the ranges, choose them, quantize, correct the biases.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converter.child import answer_parent
from converter.quantization.aeq import fates
from converter.quantization.apply import apply, prepare
from converter.quantization.layers import layer_errors
from converter.quantization.quantize import CHILD, RESULT_NAME, SAMPLES_NAME, SOURCE_NAME, Report
from converter.quantization.treatment import Treatment
from converter.quantization.tune import tuned
from converter.tflite_schema import read_graph
from edge_agent import schema
from edge_agent.transform.tensor import Array


def read_samples(folder: Path) -> list[list[Array]]:
    """The samples of `quantize.write_samples`, where there are any; views, so that they are held once."""
    if not (folder / SAMPLES_NAME).exists():
        return []
    with np.load(folder / SAMPLES_NAME, allow_pickle=False) as stored:
        columns = [stored[f"arr_{number}"] for number in range(len(stored.files))]
    return [list(sample) for sample in zip(*columns, strict=True)]


def _quantize(folder: Path, request: Mapping[str, Any]) -> object:
    treatment = schema.parse(Treatment, request, strict=True)
    samples = read_samples(folder)
    source = (folder / SOURCE_NAME).read_bytes()
    prepared = prepare(source, treatment, samples)
    notes = list(prepared.notes)
    if treatment.range_estimator == "best" and prepared.ranges is not None:
        found = tuned(prepared, treatment, samples)
        result, treatment = found.content, found.treatment
        notes += [found.note] if found.note else []
    else:
        result = apply(prepared, treatment, samples)
    (folder / RESULT_NAME).write_bytes(result)
    told = fates(read_graph(prepared.content), treatment.rules)
    layers = layer_errors(prepared.content, result, samples) if samples else ()
    return schema.dump(Report(told, layers, prepared.tensor_ranges(), tuple(notes)))


if __name__ == "__main__":
    answer_parent(CHILD, _quantize)
