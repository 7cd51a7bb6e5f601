"""Classifications judged: of pictures, signals and sound alike."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.data.examples import ClassTruth, Truth
from converter.evaluation.classes import ClassNames
from converter.evaluation.scorer import Floats, figure
from converter.metrics import classes, interval, reliability, roc
from edge_agent.inference.model import Model
from edge_agent.tasks.classification import ClassificationDecoder, scores
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, dequantize

_HALF = 0.5


class ClassScorer:
    """The scores are those that the device tells, of all classes; the answer is its first one."""

    metric = "accuracy"
    resamples = 2000

    def __init__(self, decoder: ClassificationDecoder) -> None:
        self._decoder = decoder
        self.names = ClassNames.of_outputs(decoder.labels, decoder.tensor.shape[-1])
        self._scores: list[Floats] = []
        self._truth: list[int] = []

    @classmethod
    def of(cls, model: Model) -> "ClassScorer":
        assert isinstance(model.decoder, ClassificationDecoder)
        return cls(model.decoder)

    def unknown(self, truths: Iterable[Truth]) -> list[str]:
        found = (
            str(truth.label) if isinstance(truth, ClassTruth) else "what is no label"
            for truth in truths
            if not isinstance(truth, ClassTruth) or self.names.index(truth.label) is None
        )
        return list(dict.fromkeys(found))

    def add(self, outputs: Sequence[Array], prepared: Prepared, truth: Truth) -> str:  # noqa: ARG002 - Scorer
        decoder = self._decoder
        told = scores(dequantize(outputs[decoder.position], decoder.tensor), decoder.spec.activation)
        each = told.astype(np.float64)
        if len(each) == 1:
            each = np.array([1 - each[0], each[0]])
        if decoder.spec.background_class is not None and 0 <= decoder.spec.background_class < len(each):
            each[decoder.spec.background_class] = -1.0  # the device never tells it
        assert isinstance(truth, ClassTruth)
        index = self.names.index(truth.label)
        assert index is not None
        self._scores.append(each)
        self._truth.append(index)
        return self.names.name(int(np.argmax(each)))

    def value(self, weights: Floats | None = None) -> float | None:
        return float(np.average(self.right(), weights=weights))

    def right(self) -> NDArray[np.bool_]:
        truth, _, found = self._arrays()
        right: NDArray[np.bool_] = truth == found
        return right

    def metrics(self) -> dict[str, Any]:
        truth, each, found = self._arrays()
        matrix = classes.confusion(truth, found, each.shape[1])
        by_class = classes.per_class(matrix)
        seen = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
        right = truth == found
        tree: dict[str, Any] = {
            "accuracy": figure(float(right.mean())),
            "accuracy_interval": [figure(end) for end in interval.wilson(float(right.sum()), len(right))],
        }
        if each.shape[1] > 5:
            tree["top_5"] = figure(float(classes.in_top(each, truth, 5).mean()))
        shares = (each >= 0).all() and (each <= 1).all()
        return {
            **tree,
            "macro": {name: figure(value) for name, value in classes.macro(matrix).items()},
            "micro": {name: figure(value) for name, value in classes.micro(matrix).items()},
            "roc_auc": figure(roc.area_of_classes(each, truth)),
            # only of scores that are meant as probabilities
            "calibration_error": figure(reliability.calibration_error(each.max(axis=1), right)) if shares else None,
            "per_class": [
                {
                    "label": self.names.name(index),
                    "precision": figure(by_class.precision[index]),
                    "recall": figure(by_class.recall[index]),
                    "f1": figure(by_class.f1[index]),
                    "support": int(by_class.support[index]),
                }
                for index in seen.tolist()
            ],
            # of the classes that occur: rows are true, columns answered
            "labels": [self.names.name(index) for index in seen.tolist()],
            "confusion": matrix[np.ix_(seen, seen)].tolist(),
        }

    def _arrays(self) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
        each = np.stack(self._scores)
        return np.array(self._truth, np.intp), each, each.argmax(axis=1)
