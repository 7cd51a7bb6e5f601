"""All that is done to a float model to quantize it, as one value that crosses to the child that does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from converter.quantization.rules import Rule, keep_float

# How the range of an activation is told from its values: see `ranges`; best: see `tune`.
RangeEstimator = Literal["min_max", "percentile", "mse", "entropy", "best"]


@dataclass(frozen=True, slots=True)
class Treatment:
    """What to do to a model. The last rule that matches an operator decides."""

    rules: tuple[Rule, ...]
    range_estimator: RangeEstimator = "min_max"
    range_percentile: float = 99.999  # share of the values, in percent, that estimator `percentile` keeps
    bias_correction: bool = False
    equalization: bool = False

    @property
    def needs_samples(self) -> bool:
        """Whether representative data is needed."""
        return self.bias_correction or self.equalization or any(rule.needs_samples for rule in self.rules)

    @property
    def integer_activations(self) -> bool:
        return any(rule.op_config.activation_tensor_config is not None for rule in self.rules)


def kept_float(operators: Sequence[str], *, ends: bool) -> tuple[Rule, ...]:
    """Rules that keep kinds of operators in float, and, with `ends`, inputs and outputs of the model too."""
    return tuple(keep_float(name) for name in (*operators, *(("INPUT", "OUTPUT") if ends else ())))
