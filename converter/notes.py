"""What a conversion tells beside its figures: what was made up, is too little, or runs slowly."""

from converter.calibrate import FEW_SAMPLES
from converter.evaluate import Comparison
from converter.recipe import Recipe
from edge_agent.tasks.anomaly import samples_needed


def comparison_notes(recipe: Recipe, comparison: Comparison) -> list[str]:
    """All there is to tell of a comparison."""
    return [*_notes(recipe, comparison), *_threshold_notes(recipe, comparison)]


def _notes(recipe: Recipe, comparison: Comparison) -> list[str]:
    notes = [f"scheme {recipe.scheme}: {recipe.caution}"] if recipe.caution else []
    if comparison.golden_vectors < recipe.golden_vectors:
        notes.append(f"{comparison.golden_vectors} golden vectors instead of {recipe.golden_vectors}: they are large")
    if not comparison.representative:
        notes.append(f"no --calibrate: golden vectors and figures are of {comparison.samples} made-up inputs")
    elif recipe.needs_samples and comparison.samples < FEW_SAMPLES:
        notes.append(f"calibrated on {comparison.samples} samples only; {FEW_SAMPLES} and more are better")
    if comparison.converted.partitions == 0:
        notes.append("XNNPACK took no part of the converted model: it runs on slow kernels")
    return notes


def _threshold_notes(recipe: Recipe, comparison: Comparison) -> list[str]:
    if recipe.task != "anomaly" or recipe.output.threshold is not None:
        return []
    threshold, share = comparison.anomaly_threshold, recipe.false_alarm_share
    if threshold is None:
        return ["no threshold: only errors are told; --calibrate with normal data makes one, or state output.threshold"]
    needed = samples_needed(share)
    made_of = f"exceeded by {share:.2%} of normal samples, told from {comparison.samples}"
    if comparison.samples < needed:
        made_of = (
            f"1.5 x the largest error: {comparison.samples} samples cannot tell what {share:.2%} exceed, {needed} can"
        )
    return [f"threshold {threshold:g}: {made_of}"]
