"""Poses judged by their keypoints, as COCO does."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.data.examples import ObjectsTruth, Truth
from converter.evaluation.scorer import Floats, figure
from converter.metrics.keypoints import correct
from converter.metrics.objects import Evaluated, FoundObject, Picture
from edge_agent.inference.model import Model
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

_CATEGORY = "person"  # a pose model has one class, whatever it is called


class PoseScorer:
    metric = "map"
    resamples = 200

    def __init__(self, model: Model) -> None:
        self._model = model
        self._names = _keypoints_of(model)
        self._pictures: list[Picture] = []
        self._evaluated: Evaluated | None = None
        self._reached: list[tuple[int, int]] = []

    def unknown(self, truths: Iterable[Truth]) -> list[str]:
        """Objects without keypoints are no poses; but there must be some with, and of the model's number."""
        counts = set()
        for truth in truths:
            if not isinstance(truth, ObjectsTruth):
                return ["what is no list of keypoints"]
            counts |= {len(each.keypoints) for each in truth.objects if each.keypoints is not None}
        if not counts:
            return ["objects without keypoints"]
        wrong = sorted(count for count in counts if self._names and count != len(self._names))
        return [f"{count} keypoints where the model has {len(self._names)}" for count in wrong]

    def add(self, outputs: Sequence[Array], prepared: Prepared, truth: Truth) -> str:
        assert isinstance(truth, ObjectsTruth)
        true = [replace(each, category=_CATEGORY) for each in truth.objects if each.keypoints is not None]
        found = [_found(each) for each in self._model.decode(outputs, prepared)]
        self._pictures.append(Picture(true, found))
        self._evaluated = None
        self._reached.append(_reached(self._pictures[-1]))
        return f"{len(found)} poses"

    def value(self, weights: Floats | None = None) -> float | None:
        return self._all().precision(weights=weights)

    def right(self) -> NDArray[np.bool_] | None:
        return None

    def metrics(self) -> dict[str, Any]:
        near, labeled = (sum(column) for column in zip(*self._reached, strict=True))
        return {
            **{name: figure(value) for name, value in self._all().summary().items()},
            "pck_0.2": figure(near / labeled) if labeled else None,
        }

    def _all(self) -> Evaluated:
        if self._evaluated is None:
            self._evaluated = Evaluated(self._pictures, "keypoints")
        return self._evaluated


def _keypoints_of(model: Model) -> tuple[str, ...]:
    from edge_agent.tasks.pose import PoseDecoder

    assert isinstance(model.decoder, PoseDecoder)
    return model.decoder.names


def _found(prediction: Prediction) -> FoundObject:
    points = np.array([(each.x, each.y, each.score) for each in prediction.keypoints], np.float64)
    (left, top), (right, bottom) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    box = (float(left), float(top), float(right), float(bottom))
    return FoundObject(_CATEGORY, prediction.score, box, points)


def _reached(picture: Picture) -> tuple[int, int]:
    """Keypoints near enough to the true ones, and how many are labeled: of each person the pose that fits best."""
    near = labeled = 0
    for true in picture.true:
        if true.crowd or true.ignored or true.keypoints is None:
            continue
        counts = [
            correct(each.keypoints, true.keypoints, true.box) for each in picture.found if each.keypoints is not None
        ]
        near += max((count for count, _ in counts), default=0)
        labeled += int((true.keypoints[:, 2] > 0).sum())
    return near, labeled
