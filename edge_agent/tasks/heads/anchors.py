"""Where the anchors of an SSD-style head lie, and the boxes that its numbers make of them.

Layout: mediapipe/calculators/tflite/ssd_anchors_calculator.cc (GenerateAnchors), after the default boxes of "SSD:
Single Shot MultiBox Detector" (arXiv 1512.02325, §2.2) and the TensorFlow Object Detection API
(object_detection/anchor_generators/multiple_grid_anchor_generator.py, create_ssd_anchors).
Boxes: object_detection/box_coders/faster_rcnn_box_coder.py; mediapipe/calculators/tensor/
tensors_to_detections_calculator.cc (DecodeBox).
"""

import math
from functools import lru_cache
from itertools import groupby

import numpy as np

from edge_agent.release.outputs import Anchors
from edge_agent.tasks.heads.head import Real, Size, corners

# exp of it covers the picture many times over; what a broken model gives beyond would overflow
_LARGEST_EXPONENT = 10.0


@lru_cache(maxsize=16)
def lay_out(anchors: Anchors, size: Size, *, square: bool) -> Real:
    """All anchors for an input of a size (height, width) in px: [n, 4] center y, x, height, width, normalized.

    Layers with the same stride share their cells; of a cell all anchors come in one go. `square`: an aspect ratio of 1
    is a square in px, as the Object Detection API has it; MediaPipe takes it of the normalized sides.
    """
    layers = [
        [_anchor(scale, ratio, size, square=square) for scale, ratio in _shapes(anchors, layer)]
        for layer in range(len(anchors.strides))
    ]
    grids = []
    for stride, same in groupby(range(len(anchors.strides)), key=lambda layer: anchors.strides[layer]):
        of_cell = [shape for layer in same for shape in layers[layer]]
        rows, columns = (math.ceil(side / stride) for side in size)
        grid = np.empty((rows, columns, len(of_cell), 4))
        grid[..., 0] = ((np.arange(rows) + anchors.offset) / rows)[:, None, None]
        grid[..., 1] = ((np.arange(columns) + anchors.offset) / columns)[None, :, None]
        grid[..., 2:] = 1.0 if anchors.fixed_size else np.array(of_cell)
        grids.append(grid.reshape(-1, 4))
    laid_out = np.concatenate(grids).astype(np.float32)
    laid_out.setflags(write=False)  # it is shared by all who ask for the same
    return laid_out


def count(anchors: Anchors, size: Size) -> int:
    """How many `lay_out` gives, without laying them out."""
    cells = [math.prod(math.ceil(side / stride) for side in size) for stride in anchors.strides]
    return sum(cells[layer] * len(_shapes(anchors, layer)) for layer in range(len(cells)))


def decode_boxes(raw: Real, laid_out: Real, anchors: Anchors) -> Real:
    """Boxes ymin, xmin, ymax, xmax of numbers [n, 4] for center y, x, height and width, and their anchors [n, 4]."""
    moved: Real = np.divide(raw, anchors.scales, dtype=np.float32)
    center: Real = moved[:, :2] * laid_out[:, 2:] + laid_out[:, :2]
    size = np.exp(np.minimum(moved[:, 2:], _LARGEST_EXPONENT)) if anchors.exponential else moved[:, 2:]
    sides: Real = size * laid_out[:, 2:]
    return corners(center[:, 0], center[:, 1], sides[:, 0], sides[:, 1])


def _shapes(anchors: Anchors, layer: int) -> list[tuple[float, float]]:
    """Scale and aspect ratio of each anchor of a layer's cell."""
    scale = _scale(anchors, layer)
    if layer == 0 and anchors.reduced_in_lowest_layer:
        return [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
    shapes = [(scale, ratio) for ratio in anchors.aspect_ratios]
    if anchors.interpolated_ratio > 0:
        following = 1.0 if layer == len(anchors.strides) - 1 else _scale(anchors, layer + 1)
        shapes.append((math.sqrt(scale * following), anchors.interpolated_ratio))
    return shapes


def _scale(anchors: Anchors, layer: int) -> float:
    if len(anchors.strides) == 1:
        return (anchors.min_scale + anchors.max_scale) / 2
    return anchors.min_scale + (anchors.max_scale - anchors.min_scale) * layer / (len(anchors.strides) - 1)


def _anchor(scale: float, ratio: float, size: Size, *, square: bool) -> tuple[float, float]:
    """Height and width, normalized."""
    base = [min(size) / side if square else 1.0 for side in size]
    return scale * base[0] / math.sqrt(ratio), scale * base[1] * math.sqrt(ratio)
