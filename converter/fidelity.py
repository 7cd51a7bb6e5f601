"""How near the converted model is to the float one: the table people read, and the gate that says no.

The figures come from `evaluate`; latencies are of this machine and stay out of the artifact, which must be the same
bytes each time it is made.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from converter.columns import aligned
from converter.errors import QualityGateError
from converter.evaluate import Comparison, Measured
from converter.evaluation.evaluation import Evaluation
from converter.evaluation.gate import missed_accuracy
from converter.evaluation.text import format_evaluation
from converter.quantization.quantize import LeftFloat
from converter.recipe import Gate, Recipe
from edge_agent import schema

_NAMED = 3  # places of an operator that are named


@dataclass(frozen=True, slots=True)
class Fidelity:
    """A comparison, with what stayed float."""

    scheme: str
    comparison: Comparison
    float_operators: Mapping[str, int]  # still computed in float, by how often they occur
    left_float: tuple[LeftFloat, ...] = ()  # where and why

    def to_json(self, *, latency: bool) -> dict[str, Any]:
        """Plain tree, for `report.json` (without latency) and `--json`."""
        tree: dict[str, Any] = schema.dump(self.comparison)
        models = [tree["converted"], *([tree["float_model"]] if "float_model" in tree else [])]
        if not latency:
            for model in models:
                del model["latency_ms"]
        for output in tree["outputs"]:
            if output.get("snr_db") == -math.inf:
                output["snr_db"] = None
        left = {
            "operators_left_float": dict(sorted(self.float_operators.items())),
            "left_float": schema.dump(self.left_float),
        }
        return {"scheme": self.scheme, **tree, **left}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both models, in words; `original` and `ratio` are empty where there is no float model."""

    name: str
    original: str
    converted: str
    ratio: str


def figure_rows(comparison: Comparison) -> list[Row]:
    """Size, latency and parts that XNNPACK took."""
    mine, theirs = comparison.converted, comparison.float_model

    def row(name: str, figure: Callable[[Measured], float], unit: str) -> Row:
        if theirs is None:
            return Row(name, "", unit.format(figure(mine)), "")
        ratio = f"{figure(mine) / figure(theirs):.2f}" if figure(theirs) else "-"
        return Row(name, unit.format(figure(theirs)), unit.format(figure(mine)), ratio)

    return [
        row("size", lambda model: model.size_bytes, "{:,} B"),
        row("latency here", lambda model: model.latency_ms, "{:.3f} ms"),
        row("XNNPACK parts", lambda model: model.partitions, "{:d}"),
    ]


def format_table(fidelity: Fidelity) -> str:
    """The table on the terminal: float, converted, ratio; then the errors."""
    comparison = fidelity.comparison
    original = comparison.float_model
    rows = [["", *(["float32"] if original else []), fidelity.scheme, *(["ratio"] if original else [])]]
    rows += [
        [row.name, row.original, row.converted, row.ratio] if original else [row.name, row.converted]
        for row in figure_rows(comparison)
    ]
    lines = aligned(rows, right=range(1, len(rows[0])))
    source = "representative" if comparison.representative else "made-up"
    lines.append(
        f"compared on {comparison.samples} {source} samples"
        if original
        else f"run on {comparison.samples} {source} samples"
    )
    if original is not None:
        assert comparison.top1_agreement is not None
        lines.append(
            f"top-1 agreement {comparison.top1_agreement:.4f}   disagreement max {comparison.max_disagreement:.4f}"
            f"   mean {comparison.mean_disagreement:.4f}"
        )
        for output in comparison.outputs:
            ratio = "" if output.snr_db is None else f"   SNR {output.snr_db:.1f} dB"
            lines.append(f"output {output.name}: max error {output.max_abs:.4g}{ratio}")
    if fidelity.scheme not in ("float32", "unchanged"):
        left = ", ".join(f"{name} x{count}" for name, count in sorted(fidelity.float_operators.items()))
        lines.append(f"operators left float: {left or 'none'}")
        lines += _left_lines(fidelity.left_float)
    if comparison.golden_vectors:
        lines.append(f"golden vectors {comparison.golden_vectors}, tolerance {comparison.golden_tolerance}")
    return "\n".join(lines)


def check_gate(
    recipe: Recipe, fidelity: Fidelity, notes: tuple[str, ...], evaluation: Evaluation | None = None
) -> None:
    """Hold the converted model to the recipe's limits. `notes` go with a refusal: a wrong guess may be the cause.

    Raises:
        QualityGateError: with every limit that was missed.
    """
    missed = _missed(recipe.limits, fidelity.comparison)
    missed += missed_accuracy(recipe.limits, evaluation) if evaluation else []
    if missed:
        raise QualityGateError(
            f"the {fidelity.scheme} model misses {'; '.join(missed)}. No artifact was written",
            hint=_gate_hint(recipe, fidelity),
            table="\n".join([format_table(fidelity), *([format_evaluation(evaluation)] if evaluation else [])]),
            figures={
                **fidelity.to_json(latency=True),
                **({"evaluation": evaluation.to_json()} if evaluation else {}),
            },
            notes=notes,
        )


def _missed(limits: Gate, comparison: Comparison) -> list[str]:
    missed = []
    size = comparison.converted.size_bytes
    if limits.max_size_bytes is not None and size > limits.max_size_bytes:
        missed.append(f"max_size_bytes: {size} is more than {limits.max_size_bytes}")
    if comparison.float_model is None:
        return missed
    found, wanted = comparison.top1_agreement, limits.min_top1_agreement
    if comparison.representative and found is not None and wanted is not None and found < wanted:
        missed.append(f"min_top1_agreement: {found:.4f} is less than {wanted}")
    worst, allowed = comparison.max_disagreement, limits.max_disagreement
    if comparison.representative and worst is not None and allowed is not None and worst > allowed:
        missed.append(f"max_disagreement: {worst:.4f} is more than {allowed}")
    if limits.min_snr_db is not None:
        missed += [
            f"min_snr_db: output {output.name} has {output.snr_db:.1f}, less than {limits.min_snr_db}"
            for output in comparison.outputs
            if output.snr_db is not None and output.snr_db < limits.min_snr_db
        ]
    return missed


def _gate_hint(recipe: Recipe, fidelity: Fidelity) -> str:
    if recipe.scheme == "int8" and fidelity.comparison.samples < 50:
        return f"calibrate on more than {fidelity.comparison.samples} samples, or use --scheme dynamic"
    if recipe.scheme in ("int8", "dynamic"):
        return "check that data and normalization are those the model was trained on; or try --scheme float16"
    return "loosen the limit in the recipe if this is good enough"


def _left_lines(left: tuple[LeftFloat, ...]) -> list[str]:
    """Each operator with its reason, and where the first of them are."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in left:
        groups.setdefault((one.operator, one.why), []).append(one.tensor.split(";")[0])
    return [
        f"  {operator}: {why}, at {', '.join(at[:_NAMED])}" + (f" and {len(at) - _NAMED} more" * (len(at) > _NAMED))
        for (operator, why), at in sorted(groups.items())
    ]
