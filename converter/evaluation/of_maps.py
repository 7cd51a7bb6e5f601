"""Maps of classes judged, in pixels of the true map."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from converter.data.examples import MapTruth, MapValues, Truth
from converter.evaluation.classes import ClassNames
from converter.evaluation.scorer import Floats, figure
from converter.metrics import overlap
from edge_agent.errors import FrameError
from edge_agent.inference.model import Model
from edge_agent.tasks.segmentation import SegmentationDecoder
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

_MOST_CLASSES = 255  # a true map has bytes, and 255 is void
_TOLD = 0.01  # of the pixels: classes that an answer in words names


class MapScorer:
    metric = "miou"
    resamples = 1000

    def __init__(self, model: Model) -> None:
        assert isinstance(model.decoder, SegmentationDecoder)
        self._decoder = model.decoder
        self._names = ClassNames(model.decoder.labels, _MOST_CLASSES)
        self._counts: list[overlap.Counts] = []

    def unknown(self, truths: Iterable[Truth]) -> list[str]:
        if not all(isinstance(truth, MapTruth | MapValues) for truth in truths):
            return ["what is no map of classes"]
        return []

    def add(self, outputs: Sequence[Array], prepared: Prepared, truth: Truth) -> str:
        """Pixels that the model never saw (beside a crop) are not judged.

        Raises:
            FrameError: the true map cannot be read, or holds more classes than the model.
        """
        assert isinstance(truth, MapTruth | MapValues)
        classes = self._decoder.layout.classes
        true = _read(truth, two_classes=classes == 2)
        if prepared.placement is not None:
            true = _seen(true, prepared.placement)
        known = true[true != overlap.VOID]
        if classes is not None and known.size and int(known.max()) >= classes:
            raise FrameError(
                f"the true map has class {int(known.max())}; the model has 0 to {classes - 1}",
                hint="the bytes of a mask are classes, 255 being none",
            )
        told = self._decoder.class_map(outputs, prepared)
        height, width = true.shape
        rows = np.minimum((np.arange(height) + 0.5) * told.shape[0] / height, told.shape[0] - 1).astype(int)
        columns = np.minimum((np.arange(width) + 0.5) * told.shape[1] / width, told.shape[1] - 1).astype(int)
        found = told[np.ix_(rows, columns)]
        self._counts.append(overlap.count_pixels(true, found, _MOST_CLASSES))
        shares = np.bincount(found.reshape(-1)) / found.size
        return ", ".join(self._names.name(index) for index in np.flatnonzero(shares >= _TOLD).tolist())

    def value(self, weights: Floats | None = None) -> float | None:
        each = overlap.iou(self._total(weights))
        return float(np.nanmean(each)) if np.isfinite(each).any() else None

    def right(self) -> NDArray[np.bool_] | None:
        return None

    def metrics(self) -> dict[str, Any]:
        total = self._total(None)
        each, dice = overlap.iou(total), overlap.dice(total)
        seen = np.flatnonzero(np.isfinite(each))
        return {
            "miou": figure(self.value()),
            "mean_dice": figure(float(dice[seen].mean())) if seen.size else None,
            "pixel_accuracy": figure(float(total.both.sum() / total.truth.sum())) if total.truth.any() else None,
            "per_class": [
                {"label": self._names.name(index), "iou": figure(each[index]), "dice": figure(dice[index])}
                for index in seen.tolist()
            ],
        }

    def _total(self, weights: Floats | None) -> overlap.Counts:
        w = np.ones(len(self._counts)) if weights is None else weights
        return overlap.Counts(*(w @ np.stack(parts) for parts in zip(*self._counts, strict=True)))


def _read(truth: MapTruth | MapValues, *, two_classes: bool) -> NDArray[np.integer]:
    if isinstance(truth, MapValues):
        return truth.values
    try:
        with Image.open(truth.path) as image:
            pixels = np.asarray(image if image.mode in ("P", "L", "1", "I", "I;16") else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FrameError(f"{truth.path.name} cannot be read: {error}", hint="masks are PNG files") from error
    if pixels.ndim == 3:
        if not (pixels == pixels[..., :1]).all():
            raise FrameError(
                f"{truth.path.name} is a colored picture, not a map of classes",
                hint="write masks as palette or gray pictures whose bytes are classes, 255 being none",
            )
        pixels = pixels[..., 0]
    values: NDArray[np.integer] = pixels.astype(np.int64)
    if two_classes and set(np.unique(values).tolist()) <= {0, 255}:  # white is the thing
        values = values // 255
    return values


def _seen(true: NDArray[np.integer], placement: Placement) -> NDArray[np.integer]:
    """The part of the whole picture's map that the model saw."""
    height, width = true.shape
    (whole_width, whole_height), visible = placement.bounds.size, placement.visible
    top, bottom = (round(side / whole_height * height) for side in (visible.top, visible.bottom))
    left, right = (round(side / whole_width * width) for side in (visible.left, visible.right))
    return true[top : max(bottom, top + 1), left : max(right, left + 1)]
