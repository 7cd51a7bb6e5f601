"""Values judged: those of a regression, and the error of an anomaly."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.data.examples import ClassTruth, Truth, ValuesTruth
from converter.evaluation.scorer import Floats, figure
from converter.metrics import regression, roc, separation
from edge_agent.errors import FrameError
from edge_agent.inference.model import Model
from edge_agent.tasks.anomaly import AnomalyDecoder
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

# What data sets call the normal (MVTec AD: good); everything else is an anomaly.
_NORMAL = {"normal", "good", "ok", "nominal", "healthy", "0", "false"}


class RegressionScorer:
    metric = "r2"
    resamples = 1000

    def __init__(self, model: Model) -> None:
        self._model = model
        self._names: list[str] = []
        self._truth: list[tuple[float, ...]] = []
        self._found: list[list[float]] = []

    def unknown(self, truths: Iterable[Truth]) -> list[str]:
        return [] if all(isinstance(truth, ValuesTruth) for truth in truths) else ["what is no number"]

    def add(self, outputs: Sequence[Array], prepared: Prepared, truth: Truth) -> str:
        """Raises FrameError: there are other numbers of values."""
        assert isinstance(truth, ValuesTruth)
        told = self._model.decode(outputs, prepared)
        values = [each.value for each in told if each.value is not None]
        if len(values) != len(truth.values):
            raise FrameError(
                f"the model gives {len(values)} values; the truth has {len(truth.values)}",
                hint="give one column for each value of the model, in its order",
            )
        self._names = [each.label or str(each.index) for each in told]
        self._truth.append(truth.values)
        self._found.append(values)
        return ", ".join(f"{value:.4g}" for value in values)

    def value(self, weights: Floats | None = None) -> float | None:
        each = regression.r_squared(*self._arrays(), weights)
        return float(each.mean()) if np.isfinite(each).all() else None

    def right(self) -> NDArray[np.bool_] | None:
        return None

    def metrics(self) -> dict[str, Any]:
        truth, found = self._arrays()
        mae, rmse = regression.absolute_error(truth, found), regression.root_squared_error(truth, found)
        r2 = regression.r_squared(truth, found)
        return {
            "mae": figure(float(mae.mean())),
            "rmse": figure(float(rmse.mean())),
            "r2": figure(self.value()),
            "per_value": [
                {"name": name, "mae": figure(a), "rmse": figure(b), "r2": figure(c)}
                for name, a, b, c in zip(self._names, mae, rmse, r2, strict=True)
            ],
        }

    def _arrays(self) -> tuple[Floats, Floats]:
        return np.array(self._truth, np.float64), np.array(self._found, np.float64)


class AnomalyScorer:
    metric = "roc_auc"
    resamples = 1000

    def __init__(self, model: Model) -> None:
        assert isinstance(model.decoder, AnomalyDecoder)
        self._decoder = model.decoder
        self._errors: list[float] = []
        self._anomalous: list[bool] = []

    def unknown(self, truths: Iterable[Truth]) -> list[str]:
        return [] if all(isinstance(truth, ClassTruth) for truth in truths) else ["what is no label"]

    def add(self, outputs: Sequence[Array], prepared: Prepared, truth: Truth) -> str:
        assert isinstance(truth, ClassTruth)
        normal = {*_NORMAL, self._decoder.labels[0].casefold()}
        self._anomalous.append(str(truth.label).casefold() not in normal)
        self._errors.append(self._decoder.error(outputs, prepared))
        threshold = self._decoder.spec.threshold
        return self._decoder.labels[self._errors[-1] > threshold] if threshold is not None else ""

    def value(self, weights: Floats | None = None) -> float | None:
        errors, anomalous = self._arrays()
        return roc.area(errors, anomalous, weights)

    def right(self) -> NDArray[np.bool_] | None:
        errors, anomalous = self._arrays()
        threshold = self._decoder.spec.threshold
        return None if threshold is None else (errors > threshold) == anomalous

    def metrics(self) -> dict[str, Any]:
        errors, anomalous = self._arrays()
        tree: dict[str, Any] = {"roc_auc": figure(self.value()), "anomalies": int(anomalous.sum())}
        if self._decoder.spec.threshold is not None:
            tree["threshold"] = _rates(separation.rates(errors, anomalous, self._decoder.spec.threshold))
        if anomalous.any() and not anomalous.all():
            tree["best_threshold"] = _rates(separation.best_threshold(errors, anomalous))
        return tree

    def _arrays(self) -> tuple[Floats, NDArray[np.bool_]]:
        return np.array(self._errors, np.float64), np.array(self._anomalous, bool)


def _rates(rates: separation.Rates) -> dict[str, float | None]:
    return {name: figure(value) for name, value in rates._asdict().items()}
