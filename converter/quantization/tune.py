"""Range estimator `best`: the estimators and bias correction tried on the representative data, and the nearest taken.

Which one helps depends on the model (docs/quantization.md), and trying costs less than a second. Only in a child
process.
"""

from collections.abc import Sequence
from dataclasses import replace

from converter.quantization.apply import Prepared, apply, with_estimator
from converter.quantization.logits import snr_db, without_scores
from converter.quantization.observe import answers
from converter.quantization.treatment import Treatment
from converter.samples import spread
from edge_agent.transform.tensor import Array

_SAMPLES = 100  # of fewer, chance decides
_GAIN_DB = 0.3  # over the plain smallest and largest value: less is chance


def tuned(prepared: Prepared, treatment: Treatment, samples: Sequence[Sequence[Array]]) -> tuple[Treatment, str]:
    """The treatment with the estimator, and bias correction or not, that comes nearest to the float model's logits on
    the representative data; and a sentence about it, empty where the plain one is taken. `prepared` has plain ranges.
    """
    plain = replace(treatment, range_estimator="min_max")
    cut, soft = without_scores(prepared.content)
    parted = replace(prepared, content=cut)
    chosen = [samples[position] for position in spread(len(samples), _SAMPLES)]
    expected = list(answers(cut, chosen))

    def nearness_db(tried: Treatment) -> float:
        made = apply(with_estimator(parted, tried), tried, chosen)
        return snr_db(expected, list(answers(made, chosen)), soft)

    first = nearness_db(plain)
    best, best_db = plain, first
    for tried in (
        replace(plain, bias_correction=True),
        replace(plain, range_estimator="percentile"),
        replace(plain, range_estimator="mse"),
    ):
        found = nearness_db(tried)
        if found > best_db and found > first + _GAIN_DB:
            best, best_db = tried, found
    if best == plain:
        return plain, ""
    what = "bias correction" if best.range_estimator == "min_max" else f"ranges by {best.range_estimator}"
    return best, f"{what}: the logits have {best_db:.1f} dB of signal to noise, without {first:.1f}"
