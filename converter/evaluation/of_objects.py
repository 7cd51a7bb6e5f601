"""Objects with boxes judged, and the labels of both sides brought together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.data.examples import ObjectsTruth, Truth
from converter.evaluation.classes import ClassNames
from converter.evaluation.scorer import Floats, figure
from converter.metrics.objects import Evaluated, FoundObject, Picture
from edge_agent.inference.model import Model
from edge_agent.tasks.detection import DetectionDecoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

WEAKEST = 0.01  # scores below it hardly touch an average precision
_MOST_CLASSES = 10_000  # where nobody knows how many there are


class DetectionScorer:
    """Average precision over all that the model tells; precision and recall of what its own threshold leaves."""

    metric = "map"
    resamples = 200

    def __init__(self, model: Model, threshold: float) -> None:
        assert isinstance(model.decoder, DetectionDecoder)
        self._model = model
        self._threshold = threshold
        labels = model.decoder.labels
        self.names = ClassNames(labels, len(labels) or _MOST_CLASSES)
        self._pictures: list[Picture] = []
        self._evaluated: Evaluated | None = None

    def unknown(self, truths: Iterable[Truth]) -> list[str]:
        found: dict[str, None] = {}
        for truth in truths:
            if not isinstance(truth, ObjectsTruth):
                found["what is no list of boxes"] = None
                continue
            found.update({each.category: None for each in truth.objects if self.names.index(each.category) is None})
        return list(found)

    def add(self, outputs: Sequence[Array], prepared: Prepared, truth: Truth) -> str:
        assert isinstance(truth, ObjectsTruth)
        told = self._model.decode(outputs, prepared)
        true = [replace(each, category=self._category(each.category)) for each in truth.objects]
        self._pictures.append(Picture(true, [found for each in told if (found := _found(each)) is not None]))
        self._evaluated = None
        seen = Counter(_name(each) for each in told if each.score >= self._threshold)
        return ", ".join(f"{count} {name}" for name, count in sorted(seen.items())) or "nothing"

    def value(self, weights: Floats | None = None) -> float | None:
        return self._all().precision(weights=weights)

    def right(self) -> NDArray[np.bool_] | None:
        return None

    def metrics(self) -> dict[str, Any]:
        evaluated = self._all()
        counts = evaluated.counts(self._threshold)
        return {
            **{name: figure(value) for name, value in evaluated.summary().items()},
            "threshold": {
                "score": self._threshold,
                "precision": figure(counts.precision),
                "recall": figure(counts.recall),
                "f1": figure(counts.f1),
            },
            "per_class": [
                {"label": name, "ap": figure(value)} for name, value in sorted(evaluated.by_category().items())
            ],
        }

    def _all(self) -> Evaluated:
        if self._evaluated is None:
            self._evaluated = Evaluated(self._pictures)
        return self._evaluated

    def _category(self, label: str) -> str:
        index = self.names.index(label)
        assert index is not None
        return self.names.name(index)


def _name(prediction: Prediction) -> str:
    return prediction.label or str(prediction.index)


def _found(prediction: Prediction) -> FoundObject | None:
    box = prediction.box
    if box is None:
        return None
    return FoundObject(_name(prediction), prediction.score, (box.left, box.top, box.right, box.bottom))
