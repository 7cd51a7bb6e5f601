"""Range estimator `best`: estimators, then bias correction, are tried on the representative data, the nearest taken.

Which one helps depends on the model (docs/quantization.md), and trying costs little. Only in a child process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from converter.quantization.apply import Prepared, apply, with_estimator
from converter.quantization.bias import copy_biases, correct_biases
from converter.quantization.logits import snr_db, without_scores
from converter.quantization.observe import answers
from converter.quantization.treatment import Treatment
from converter.samples import spread
from edge_agent.transform.tensor import Array

_SAMPLES = 50  # of fewer, chance decides
_RUN = 4  # of them for each layer whose bias is corrected: int8 shifts means little
_CLIPPED_DB = 1.0  # what an estimator must gain: by less, clipped ranges fit the data at hand and no other
_CORRECTED_DB = 0.3  # what bias correction must gain: less is chance
_PERCENTILE = 99.99


@dataclass(frozen=True, slots=True)
class Tuned:
    """The nearest model, what was done for it, and a sentence about that: empty where the plain one is the nearest."""

    content: bytes
    treatment: Treatment
    note: str


def tuned(prepared: Prepared, treatment: Treatment, samples: Sequence[Sequence[Array]]) -> Tuned:
    """The model quantized with the estimator, and bias correction or not, that brings its logits nearest to the float
    model's on the representative data. `prepared` has plain ranges.
    """
    plain = replace(treatment, range_estimator="min_max", bias_correction=False)
    cut, soft = without_scores(prepared.content)
    parted = replace(prepared, content=cut)
    chosen = [samples[position] for position in spread(len(samples), _SAMPLES)]
    expected = list(answers(cut, chosen))

    def nearness_db(made: bytes) -> float:
        return snr_db(expected, list(answers(made, chosen)), soft)

    best, made = plain, apply(parted, plain, chosen)
    first = best_db = nearness_db(made)
    for tried in _estimators(plain):
        other = apply(with_estimator(parted, tried), tried, chosen)
        found = nearness_db(other)
        if found > max(best_db, first + _CLIPPED_DB):
            best, best_db, made = tried, found, other
    corrected = correct_biases(cut, made, chosen, most=_RUN)
    found = nearness_db(corrected)
    content = apply(with_estimator(prepared, best), best, chosen)
    if found > best_db + _CORRECTED_DB:
        best, best_db = replace(best, bias_correction=True), found
        content = copy_biases(corrected, content)
    if best == plain:
        return Tuned(content, plain, "")
    return Tuned(
        content, best, f"{_named(best)}: the logits have {best_db:.1f} dB of signal to noise, without {first:.1f}"
    )


def _estimators(plain: Treatment) -> list[Treatment]:
    cut = replace(plain, range_estimator="percentile", range_percentile=_PERCENTILE)
    return [cut, replace(plain, range_estimator="mse")]


def _named(treatment: Treatment) -> str:
    ranges = {"percentile": f"ranges by percentile {treatment.range_percentile:g}", "mse": "ranges by mse"}
    corrected = "bias correction" if treatment.bias_correction else ""
    return " and ".join(filter(None, (ranges.get(treatment.range_estimator), corrected)))
