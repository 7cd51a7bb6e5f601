"""The class of every pixel: which classes there are, and how much of the picture each covers.

Three kinds of output are known by dtype and shape. Leading dimensions of 1 say nothing:

- classes, integers without quantization [h, w]: the model took the largest score itself (DeepLab's ArgMax);
- scores, [h, w, classes] or [classes, h, w], float or quantized: the class with the largest one is the pixel's;
- a mask, one channel [h, w], float or quantized: the share of certainty that a pixel belongs to the one thing.

Source: "DeepLabv3" (arXiv 1706.05587) and tensorflow/models, research/deeplab/model.py (predict_labels: argmax over the
scores; export_model.py puts it into the model); a mask of one channel as MediaPipe's selfie segmentation has it
(mediapipe/calculators/tensor/tensors_to_segmentation_calculator.cc).

Only the part of the map that shows the picture is read: the bars of a letterbox belong to no class. Painting a map over
the picture is left to `overlay`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.classification import check_background, sigmoid
from edge_agent.tasks.labels import check_labels
from edge_agent.tasks.one_output import one_output
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.placement import Placement
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization, TensorSpec, dequantize

ClassMap = NDArray[np.uint8] | NDArray[np.uint16]  # [h, w]
_MOST_CLASSES = 1 << 16
_MASK_THRESHOLD = 0.5


class Layout(NamedTuple):
    """How an output holds a map."""

    kind: Literal["classes", "scores", "mask"]
    height: int
    width: int
    classes: int | None  # None: the model only says so pixel by pixel
    channels_first: bool = False

    def grid(self, values: Array) -> Array:
        """A view of them, [h, w] or [h, w, classes]."""
        if self.kind != "scores":
            return values.reshape(self.height, self.width)
        assert self.classes is not None
        if self.channels_first:
            return np.moveaxis(values.reshape(self.classes, self.height, self.width), 0, -1)
        return values.reshape(self.height, self.width, self.classes)


@dataclass(frozen=True, slots=True)
class SegmentationDecoder:
    """One output that is a map. Of a mask, class 1 is the thing and class 0, not told, is what is around it."""

    spec: OutputSpec
    tensor: TensorSpec
    labels: tuple[str, ...]  # of a mask: two, or none
    position: int
    layout: Layout

    @classmethod
    def build(cls, spec: OutputSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]) -> "SegmentationDecoder":
        """Check the outputs, the labels and the background class.

        Raises:
            ModelError: INCOMPATIBLE or LABELS_MISMATCH.
        """
        position, layout = map_output(spec, outputs)
        if layout.kind == "mask":
            labels = ("background", *labels) if len(labels) == 1 else labels
            if spec.activation == "softmax":
                raise ModelError(
                    "softmax needs several channels; this model gives one",
                    reason=Reason.INCOMPATIBLE,
                    hint="use activation sigmoid, or none where the model ends in it",
                )
        if layout.classes is not None:
            check_labels(labels, layout.classes)
        check_background(spec, layout.classes or _MOST_CLASSES)
        return cls(spec, outputs[position], labels, position, layout)

    def decode(self, outputs: Sequence[Array], prepared: Prepared) -> list[Prediction]:
        """The classes that there are, the largest share first; equal shares in the order of their index.

        A class's score is the mean score of its pixels, 1.0 where the model gives classes without scores. Classes with
        less than `score_threshold` are left out, but of a mask it is the threshold of each pixel.
        """
        seen = self._seen(outputs, prepared)
        found = self._classes(seen)
        flat = found.reshape(-1).astype(np.intp)
        pixels = total = np.bincount(flat)
        if self.layout.kind != "classes":
            score = self._score(seen, found)
            total = np.bincount(flat, weights=score.reshape(-1))
        background = background_of(self.spec, self.layout)
        lowest = -math.inf if self.layout.kind == "mask" else self.spec.score_threshold
        predictions = []
        for index in np.argsort(-pixels, kind="stable").tolist():
            mean = float(total[index] / pixels[index]) if pixels[index] else 0.0
            if pixels[index] and index != background and mean >= lowest:
                label = self.labels[index] if index < len(self.labels) else None
                predictions.append(Prediction(index, mean, label, share=float(pixels[index] / found.size)))
        return predictions[: self.spec.top_k]

    def class_map(self, outputs: Sequence[Array], prepared: Prepared) -> ClassMap:
        """The class of each pixel, uint8 (uint16 where there are more than 256 classes) [h, w], in px of the model's
        output: what is in it of the picture, which is `prepared.placement.visible` of that.

        Raises:
            ModelError: the outputs are no classes.
        """
        return self._classes(self._seen(outputs, prepared))

    def _seen(self, outputs: Sequence[Array], prepared: Prepared) -> Array:
        grid = self.layout.grid(outputs[self.position])
        rows, columns = visible_part(prepared.placement, self.layout.height, self.layout.width)
        return grid[rows, columns]

    def _classes(self, seen: Array) -> ClassMap:
        return classes_of(seen, self.layout, mask_level(self.spec, self.tensor.quantization))

    def _score(self, seen: Array, found: ClassMap) -> NDArray[np.float32]:
        """Of each pixel's own class, [h, w]."""
        if self.layout.kind == "mask":
            real = _finite(dequantize(seen, self.tensor))
            score = sigmoid(real) if self.spec.activation == "sigmoid" else real
            return np.where(found == 1, score, 1.0 - score)
        best = np.take_along_axis(seen, found[..., np.newaxis].astype(np.intp), axis=-1)
        real = _finite(dequantize(best, self.tensor))  # the largest: what is no number is found as it
        if self.spec.activation == "softmax":
            with np.errstate(over="ignore"):  # exp(-inf) is what it should be
                shares: NDArray[np.float32] = 1.0 / np.exp(dequantize(seen, self.tensor) - real).sum(axis=-1)
            return shares
        return sigmoid(real[..., 0]) if self.spec.activation == "sigmoid" else real[..., 0]


def map_output(spec: OutputSpec, outputs: tuple[TensorSpec, ...]) -> tuple[int, Layout]:
    """Which output is the map, and how it holds it.

    Raises:
        ModelError: INCOMPATIBLE, none or several are.
    """
    needs = "segmentation needs one output [1, h, w], [1, h, w, classes] or [1, classes, h, w]"
    position = one_output(spec, outputs, lambda tensor: _layout(tensor) is not None, needs)
    layout = _layout(outputs[position])
    assert layout is not None
    return position, layout


def background_of(spec: OutputSpec, layout: Layout) -> int | None:
    """The class that is not told: of a mask 0, where the manifest names none."""
    return 0 if layout.kind == "mask" and spec.background_class is None else spec.background_class


def mask_level(spec: OutputSpec, quantization: Quantization | None) -> float:
    """What a mask's value, as it is stored, has to reach. A `score_threshold` of 0 stands for 0.5."""
    share = spec.score_threshold or _MASK_THRESHOLD
    if spec.activation == "sigmoid":  # its inverse, so that no pixel needs it
        share = math.log(share / (1.0 - share)) if 0.0 < share < 1.0 else math.copysign(math.inf, share)
    return share if quantization is None else share / quantization.scale + quantization.zero_point


def classes_of(grid: Array, layout: Layout, level: float) -> ClassMap:
    """The class of each pixel of what `layout.grid` gives, real or stored.

    Raises:
        ModelError: TRIAL_ERRORS, a number that is no class.
    """
    if layout.kind == "mask":
        return (grid >= level).astype(np.uint8)
    found = grid if layout.kind == "classes" else grid.argmax(axis=-1)
    low, high = float(found.min()), float(found.max())
    if not 0 <= low <= high < _MOST_CLASSES:
        raise ModelError(f"the model gave classes from {low:g} to {high:g}", reason=Reason.TRIAL_ERRORS)
    return found.astype(np.uint8) if high < 256 else found.astype(np.uint16)


def visible_part(placement: Placement | None, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a map [height, width] of the model's whole input that show the picture; at least one each."""
    if placement is None:
        return slice(0, height), slice(0, width)
    shown, visible = placement.shown, placement.visible
    return (
        _part(visible.top - shown.top, visible.bottom - shown.top, shown.size[1], height),
        _part(visible.left - shown.left, visible.right - shown.left, shown.size[0], width),
    )


def _finite(real: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(real).all():
        raise ModelError("the model gave scores that are not numbers", reason=Reason.TRIAL_ERRORS)
    return real


def _part(begin: float, end: float, whole: float, pixels: int) -> slice:
    first = min(round(begin / whole * pixels), pixels - 1)
    return slice(first, max(first + 1, round(end / whole * pixels)))


def _layout(tensor: TensorSpec) -> Layout | None:
    shape = tensor.shape
    if len(shape) not in (2, 3, 4) or tensor.dtype.kind not in "uifb" or (len(shape) > 2 and shape[0] != 1):
        return None
    sizes = shape[1:] if len(shape) > 2 else shape
    if len(sizes) == 3 and 1 in (sizes[0], sizes[2]):
        sizes = sizes[:2] if sizes[2] == 1 else sizes[1:]
    if len(sizes) == 2:
        height, width = sizes
        if min(height, width) < 2:  # a row of scores is no map
            return None
        # Scores of one channel are float or quantized; counted classes are neither.
        whole = tensor.dtype.kind in "uib" and (tensor.quantization is None or tensor.dtype.itemsize > 2)
        return Layout("classes", height, width, None) if whole else Layout("mask", height, width, 2)
    first, second, third = sizes
    if first != second and (second == third or first < third):  # a map is mostly square, or has few classes
        return Layout("scores", second, third, first, channels_first=True)
    return Layout("scores", first, second, third)
