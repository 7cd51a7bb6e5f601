"""What is doubtful about evaluation data, told before anybody believes the figures."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from converter.data.examples import ClassTruth, Example
from converter.data.files import listed
from edge_agent.errors import counted

FEW = 30  # an accuracy of fewer samples is hardly known to 15 points
_SLACK = 0.05  # of a range: how far values may lie beside it
_OUTSIDE = 0.01  # of the samples: how many may leave the calibrated range unsaid

Floats = NDArray[np.float64]


class Seen:
    """What went into the float model: the smallest and largest value of each sample, and a trace of its content."""

    def __init__(self) -> None:
        self.low: list[float] = []
        self.high: list[float] = []
        self.traces: list[bytes] = []

    def add(self, values: Sequence[NDArray[np.generic]]) -> None:
        import hashlib

        total = hashlib.sha256()
        for array in values:
            total.update(np.ascontiguousarray(array).tobytes())
        self.traces.append(total.digest())
        self.low.append(min(float(array.min()) for array in values))
        self.high.append(max(float(array.max()) for array in values))


def doubts(examples: Sequence[Example], task: str) -> Iterator[str]:
    """Notes about too few samples, and of one class only."""
    if len(examples) < FEW:
        yield f"only {counted(len(examples), 'sample')}: the figures are little more than a guess"
    labels = Counter(str(each.truth.label) for each in examples if isinstance(each.truth, ClassTruth))
    if len(labels) == 1 and len(examples) > 1:
        only = next(iter(labels))
        missing = "an area under the curve needs normal samples and anomalies" if task == "anomaly" else "a model that "
        missing += "" if task == "anomaly" else "always says so would be right"
        yield f"all {len(examples)} samples are of class {only}: {missing}"


def calibration_doubts(evaluated: Seen, calibrated: Seen, names: Sequence[str]) -> Iterator[str]:
    """Notes about samples that were calibrated with, and values beyond all that was."""
    known = set(calibrated.traces)
    same = [name for name, trace in zip(names, evaluated.traces, strict=True) if trace in known]
    if same:
        yield (
            f"{len(same)} of {len(names)} samples are in the calibration data too ({listed(same)}): "
            "the figures are better than new data will give"
        )
    low, high = min(calibrated.low), max(calibrated.high)
    slack = _SLACK * (high - low)
    beyond = [
        least < low - slack or most > high + slack for least, most in zip(evaluated.low, evaluated.high, strict=True)
    ]
    if np.mean(beyond) > _OUTSIDE:
        yield (
            f"{np.mean(beyond):.0%} of the samples hold values beyond those calibrated with ({low:g} to {high:g}; "
            f"found {min(evaluated.low):g} to {max(evaluated.high):g}): calibrate with data that covers them"
        )
