"""One float model under study: ways of quantizing it, tried cheaply. Only in a child process.

What is common to all ways (ranges, float answers) is found once. A way is a recipe, as a plain tree.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from converter.quantization.apply import COUNTED_SAMPLES, Prepared, apply, prepare, with_estimator
from converter.quantization.logits import snr_db, without_scores
from converter.quantization.matching import exactly, operation_of
from converter.quantization.observe import Real, answers, latencies_ms
from converter.quantization.rules import OPERATIONS
from converter.quantization.treatment import Treatment
from converter.recipe import build_recipe
from converter.samples import spread
from converter.tflite_schema import Graph, read_graph
from edge_agent.transform.tensor import Array

Way = Mapping[str, Any]

_RANKED_SAMPLES, _JUDGED_SAMPLES = 16, 64  # the errors of layers are told from; those of a whole model
_FASTER, _NOTICED_MS = 0.95, 0.01  # of the latency, and how much of it at the least: what is no noise
_ROUNDS = 21
_NO_NOISE_DB = 150.0  # nothing was quantized


@dataclass(frozen=True, slots=True)
class Study:
    """The float model, its representative data, and what has been found of both."""

    content: bytes
    samples: Sequence[Sequence[Array]]
    _prepared: dict[tuple[bool, bool], Prepared] = field(default_factory=dict)
    _logits: dict[str, Any] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return read_graph(self.content)

    def quantized(self, way: Way) -> bytes:
        """The model as a recipe says; the float model itself where it says nothing."""
        treatment = build_recipe({}, way).treatment
        return self._applied(treatment, cut=False) if treatment.rules else self.content

    def logit_snr_db(self, way: Way) -> float:
        """How far the model made by a recipe is from the float one, before softmax and sigmoid."""
        return self._snr_db(build_recipe({}, way).treatment, _JUDGED_SAMPLES)

    def sensitivity(
        self, way: Way, tell: Callable[[str], None], *, late: Callable[[], bool] = lambda: False
    ) -> list[tuple[float, int]]:
        """Operators by the noise each makes when it alone is quantized by a recipe: dB and position, worst first.

        When it is `late`, those that are left are not looked at.
        """
        treatment = build_recipe({}, way).treatment
        graph = self.graph
        ranked = []
        for position, operator in enumerate(graph.operators):
            alone = _only(treatment, operation_of(operator), exactly(operator, graph))
            if not alone.rules:
                continue
            if late():
                break
            noise = self._snr_db(alone, _RANKED_SAMPLES)
            if noise < _NO_NOISE_DB:
                ranked.append((noise, position))
            tell(f"layer {position + 1} of {len(graph.operators)}")
        return sorted(ranked)

    def slow_kinds(self, way: Way, tell: Callable[[str], None]) -> tuple[str, ...]:
        """Kinds of operators that make the model slower when a recipe quantizes them: found by leaving each in float.

        The one that gains most is kept in float, then the others are measured again, until none gains.
        """
        kinds = sorted({operation_of(operator) for operator in self.graph.operators} & OPERATIONS)
        kept: list[str] = []
        current = self.quantized({**way, "float_operators": kept})
        while len(kept) < len(kinds):
            variants = {}
            for kind in (kind for kind in kinds if kind not in kept):
                variant = self.quantized({**way, "float_operators": [*kept, kind]})
                if variant != current:
                    variants[kind] = variant
            tell(f"latency with {', '.join(kept) or 'no kind'} in float, and each of {len(variants)} kinds")
            first, *others = latencies_ms([current, *variants.values()], self.samples[0], rounds=_ROUNDS)
            gains = sorted(zip(others, variants, strict=True))
            if not gains or gains[0][0] > min(_FASTER * first, first - _NOTICED_MS):
                break
            kept.append(gains[0][1])
            current = variants[gains[0][1]]
        return tuple(kept)

    def _applied(self, treatment: Treatment, *, cut: bool) -> bytes:
        key = (treatment.equalization, cut)
        if key not in self._prepared:
            content = self._cut()[0] if cut else self.content
            static = Treatment(build_recipe({}, {"scheme": "int8"}).rules, equalization=treatment.equalization)
            self._prepared[key] = prepare(content, static, self.samples, counted=COUNTED_SAMPLES)
        return apply(with_estimator(self._prepared[key], treatment), treatment, self.samples)

    def _snr_db(self, treatment: Treatment, count: int) -> float:
        _, soft = self._cut()
        chosen = [self.samples[position] for position in spread(len(self.samples), count)]
        key = f"expected {count}"
        if key not in self._logits:
            self._logits[key] = list(answers(self._cut()[0], chosen))
        expected: list[list[Real]] = self._logits[key]
        try:
            found = list(answers(self._applied(treatment, cut=True), chosen))
        except (ValueError, RuntimeError):  # the interpreter does not take it
            return -math.inf
        return snr_db(expected, found, soft)

    def _cut(self) -> tuple[bytes, tuple[bool, ...]]:
        if "cut" not in self._logits:
            self._logits["cut"] = without_scores(self.content)
        found: tuple[bytes, tuple[bool, ...]] = self._logits["cut"]
        return found


def _only(treatment: Treatment, operation: str, regex: str) -> Treatment:
    """The same for one operator alone; those that keep others in float are of no use then."""
    rules = tuple(
        replace(rule, regex=regex)
        for rule in treatment.rules
        if rule.algorithm_key != "no_quantize" and rule.operation in ("*", operation)
    )
    kept = any(rule.algorithm_key == "no_quantize" and rule.operation == operation for rule in treatment.rules)
    return replace(treatment, rules=() if kept else rules, bias_correction=False)
