"""The port of what collects answers and judges them, and the one place that knows which task has which."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from converter.data.examples import Truth
from converter.errors import CalibrationError
from edge_agent.inference.model import Model
from edge_agent.release.manifest import Manifest
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

Floats = NDArray[np.float64]


class Scorer(Protocol):
    """Answers of one model, collected one by one."""

    @property
    def metric(self) -> str:
        """The name of the figure that stands for all; the larger, the better."""
        ...

    @property
    def resamples(self) -> int:
        """How many draws an interval is worth."""
        ...

    def unknown(self, truths: Iterable[Truth]) -> list[str]:
        """What of the truth this model has no word for, or is of another kind; each once."""
        ...

    def add(self, outputs: Sequence[Array], prepared: Prepared, truth: Truth) -> str:
        """Take an answer of `Model.invoke`; gives it in a few words."""
        ...

    def value(self, weights: Floats | None = None) -> float | None:
        """The figure `metric`; `weights`: how often each sample counts. None: it is not defined."""
        ...

    def right(self) -> NDArray[np.bool_] | None:
        """Of each sample whether the answer was right, where that is the whole truth."""
        ...

    def metrics(self) -> dict[str, Any]:
        """All figures, as a plain tree."""
        ...


def judging(manifest: Manifest) -> Manifest:
    """The manifest with which a model is judged: as it is, but that a detector tells weak objects too. Average
    precision is of all of them; what the model's own threshold leaves is judged beside it.
    """
    if manifest.task not in ("detection", "pose", "regression"):
        return manifest
    from dataclasses import replace

    from converter.evaluation.of_objects import WEAKEST

    weakest = min(manifest.output.score_threshold, WEAKEST) if manifest.task == "detection" else 0.0
    return replace(manifest, output=replace(manifest.output, score_threshold=weakest, top_k=None))


def new_scorer(model: Model, threshold: float) -> Scorer:
    """For a model that was opened with `judging`; `threshold`: that of its own manifest.

    Raises:
        CalibrationError: nobody knows what a right answer of its task is.
    """
    match model.manifest.task:
        case "classification" | "signal_classification" | "audio_classification":
            from converter.evaluation.of_classes import ClassScorer

            return ClassScorer.of(model)
        case "detection":
            from converter.evaluation.of_objects import DetectionScorer

            return DetectionScorer(model, threshold)
        case "pose":
            from converter.evaluation.of_poses import PoseScorer

            return PoseScorer(model)
        case "segmentation":
            from converter.evaluation.of_maps import MapScorer

            return MapScorer(model)
        case "regression":
            from converter.evaluation.of_values import RegressionScorer

            return RegressionScorer(model)
        case "anomaly":
            from converter.evaluation.of_values import AnomalyScorer

            return AnomalyScorer(model)
        case task:
            raise CalibrationError(
                f"a model of task {task} cannot be evaluated: nobody knows what its right answer is",
                hint="state the task (--task, or task of a recipe) if it is a classification or regression",
            )


def figure(value: float | None) -> float | None:
    """Six digits, as they are written; what is not finite is nothing."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.6g}")
