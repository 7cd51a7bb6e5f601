"""Whether a model is good enough on labeled data."""

from collections.abc import Iterator

from converter.evaluation.evaluation import Evaluation
from converter.recipe import Gate


def missed_accuracy(limits: Gate, evaluation: Evaluation) -> list[str]:
    """Every limit that is missed, in words. The figure itself is judged, not what chance may have done to it: the
    interval is told with it.
    """
    return list(_missed(limits, evaluation))


def _missed(limits: Gate, evaluation: Evaluation) -> Iterator[str]:
    value, drop = evaluation.value, evaluation.drop
    if limits.min_accuracy is not None and (value is None or value < limits.min_accuracy):
        found = "not defined on this data" if value is None else f"{value:.4f}, less than {limits.min_accuracy}"
        yield f"min_accuracy: {evaluation.metric} is {found}"
    if limits.max_drop is not None and evaluation.comparison is not None:
        if drop is None:
            yield f"max_drop: {evaluation.metric} cannot be compared on this data"
        elif drop > limits.max_drop:
            interval = evaluation.comparison["interval"]
            between = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
            yield f"max_drop: {evaluation.metric} drops by {drop:.4f}{between}, more than {limits.max_drop}"
