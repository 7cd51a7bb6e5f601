"""What a treatment does to a model, in the order it is done; only in a child process.

`prepare` is what many treatments of one model share (equalization, ranges), `apply` what each needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from converter.quantization.aeq import Ranges, calibrate, quantize_by
from converter.quantization.bias import correct_biases
from converter.quantization.equalize import equalize
from converter.quantization.logits import SCORES
from converter.quantization.observe import Histogram, histograms
from converter.quantization.ranges import estimate
from converter.quantization.treatment import Treatment
from converter.report.sections import TensorRange
from converter.tflite_schema import Graph, read_graph
from edge_agent.transform.tensor import Array

_SHOWN_SAMPLES, COUNTED_SAMPLES = 8, 16  # enough to draw a histogram; to tell a range from it


@dataclass(frozen=True, slots=True)
class Prepared:
    """A float model ready to be quantized, and what was seen of it."""

    content: bytes
    ranges: Ranges | None
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def tensor_ranges(self) -> tuple[TensorRange, ...]:
        """For a report."""
        return tuple(histogram.shown(name) for name, histogram in self.histograms.items())


def prepare(content: bytes, treatment: Treatment, samples: Sequence[Sequence[Array]], *, counted: int = 0) -> Prepared:
    """Equalize where asked, and see the ranges of the activations where a rule needs them; histograms are of `counted`
    samples at the least.
    """
    notes: list[str] = []
    if treatment.equalization:
        content, pairs = equalize(content, samples)
        notes.append(f"equalization: {pairs} pairs of layers" if pairs else "equalization finds no pair of layers here")
    if not any(rule.needs_samples for rule in treatment.rules):
        return Prepared(content, None, notes=tuple(notes))
    seen = calibrate(content, treatment.rules, samples)
    limits = {name: _pair(found) for name, found in seen.items() if found and "min" in found}
    most = _SHOWN_SAMPLES if treatment.range_estimator == "min_max" else COUNTED_SAMPLES
    found = histograms(content, samples, limits, most=max(most, counted))
    return with_estimator(Prepared(content, seen, found, tuple(notes)), treatment)


def with_estimator(prepared: Prepared, treatment: Treatment) -> Prepared:
    """The same with the ranges that the treatment's estimator makes of what was seen."""
    if treatment.range_estimator in ("min_max", "best") or prepared.ranges is None:  # best is chosen before
        return prepared
    ranges, whole = dict(prepared.ranges), _never_clipped(read_graph(prepared.content))
    for name, histogram in prepared.histograms.items():
        if name in whole:
            continue
        low, high = estimate(histogram, treatment.range_estimator, treatment.range_percentile)
        ranges[name] = {**ranges[name], "min": np.array([low]), "max": np.array([high])}
    return Prepared(prepared.content, ranges, prepared.histograms, prepared.notes)


def apply(prepared: Prepared, treatment: Treatment, samples: Sequence[Sequence[Array]]) -> bytes:
    """Quantize what was prepared; correct its biases where asked."""
    result = quantize_by(prepared.content, treatment.rules, prepared.ranges)
    return correct_biases(prepared.content, result, samples) if treatment.bias_correction else result


def _never_clipped(graph: Graph) -> frozenset[str]:
    """What the model takes and gives, and the logits before its scores: clipped, sure answers become like others."""
    made = {operator.outputs[0]: operator for operator in graph.operators if operator.name in SCORES}
    logits = [
        operator.inputs[0]
        for output, operator in made.items()
        if operator.name == "SOFTMAX" or output in graph.outputs  # other sigmoids are gates
    ]
    return frozenset(graph.tensors[position].name for position in (*graph.inputs, *graph.outputs, *logits))


def _pair(limits: Mapping[str, object]) -> tuple[float, float]:
    low, high = np.ravel(np.asarray(limits["min"])), np.ravel(np.asarray(limits["max"]))
    return float(low.min()), float(high.max())
