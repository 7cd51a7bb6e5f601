"""Painting a map of classes over its picture, in colors that other tools use too."""

import numpy as np
from numpy.typing import NDArray

from edge_agent.tasks.segmentation import ClassMap
from edge_agent.transform.placement import Box

Picture = NDArray[np.uint8]  # [height, width, 3]


def voc_colors(count: int = 256) -> NDArray[np.uint8]:
    """[count, 3]: the colors of Pascal VOC, in which class 0 is black, 1 (128, 0, 0), 2 (0, 128, 0), ...

    Of a class's number the lowest three bits go into the highest bit of red, green and blue, the next three into the
    next bit, and so on. Source: the VOC2012 development kit, VOCcode/VOClabelcolormap.m.
    """
    classes = np.arange(count, dtype=np.uint32)
    colors = np.zeros((count, 3), np.uint32)
    for level in range(8):
        for channel in range(3):
            colors[:, channel] |= ((classes >> (3 * level + channel)) & 1) << (7 - level)
    return colors.astype(np.uint8)


def overlay(
    picture: Picture,
    class_map: ClassMap,
    *,
    colors: NDArray[np.uint8] | None = None,
    alpha: float = 0.5,
    background: int | None = 0,
    where: Box | None = None,
) -> Picture:
    """A copy of the picture with every pixel's class painted over it, `alpha` of the color and the rest of the picture.

    The map is stretched (nearest pixel) over `where`, px of the picture; None: all of it. A map of a decoder belongs to
    `placement.visible`. `colors` [n, 3] repeat from the n-th class on; None: `voc_colors`. `background` is not painted.

    Raises:
        ValueError: `alpha` is not from 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, found {alpha}")
    palette = voc_colors() if colors is None else colors
    height, width = picture.shape[:2]
    part = (where or Box(0, 0, width, height)).clipped(Box(0, 0, width, height))
    top, bottom, left, right = (round(edge) for edge in (part.top, part.bottom, part.left, part.right))
    painted = picture.copy()
    if top >= bottom or left >= right:
        return painted
    rows = _nearest(bottom - top, class_map.shape[0])
    columns = _nearest(right - left, class_map.shape[1])
    classes = class_map[rows][:, columns]
    below = painted[top:bottom, left:right]
    weight = round(alpha * 256)
    tints = (palette.astype(np.uint16) * weight)[np.arange(int(classes.max()) + 1) % len(palette)]
    mixed = np.multiply(below, 256 - weight, dtype=np.uint16)
    mixed += np.take(tints, classes, axis=0)
    mixed >>= 8
    seen = np.ones(classes.shape, np.bool_) if background is None else classes != background
    np.copyto(below, mixed, casting="unsafe", where=seen[..., np.newaxis])  # all of it is below 256
    return painted


def _nearest(count: int, of: int) -> NDArray[np.intp]:
    """For each of `count` pixels, the one of `of` that lies under its center."""
    return ((np.arange(count) + 0.5) * of / count).astype(np.intp)
