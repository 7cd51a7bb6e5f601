"""Draws what models say into a picture, for people: boxes, bodies, classes of pixels, and words.

Text is in pillow's own font, which has Latin letters only. Rendering the picture is left to `transform.render`.
"""

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edge_agent.inference.ipc import Answer
from edge_agent.inference.model import Model
from edge_agent.tasks.keypoints import Skeleton, usual_skeleton
from edge_agent.tasks.prediction import Prediction
from edge_agent.tasks.segmentation import SegmentationDecoder
from edge_agent.transform.placement import Box
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

Tree = Mapping[str, Any]  # a prediction as JSON
Color = tuple[int, int, int]

_MOST_OBJECTS = 100
_MOST_LINES = 5  # of words in the corner, of each stage
_MOST_LETTERS = 40
_SEEN = 0.2  # score of a keypoint, from which on it is drawn
_WHITE, _BLACK, _SHADE = (255, 255, 255), (0, 0, 0), (0, 0, 0, 150)


@dataclass(frozen=True, slots=True, eq=False)
class ClassMapLayer:
    """The class of every pixel, [h, w], stretched over `where` (px of the picture; None: all of it)."""

    class_map: Any  # NDArray[np.uint8] | NDArray[np.uint16]
    where: Box | None = None
    background: int | None = 0  # which is not painted


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What of a stage's model its predictions do not tell."""

    layer: ClassMapLayer | None = None
    skeleton: Skeleton | None = None  # pairs of keypoints; None: the usual one of so many


_USUAL = Look()


def look_of(model: Model, outputs: Sequence[Array], prepared: Prepared) -> Look:
    """The class of every pixel, of a model that tells it, and the skeleton that its manifest states."""
    decoder, spec = model.decoder, model.manifest.output
    layer = None
    if isinstance(decoder, SegmentationDecoder):
        where = prepared.placement.visible if prepared.placement is not None else None
        background = 0 if spec.background_class is None else spec.background_class
        layer = ClassMapLayer(decoder.class_map(outputs, prepared), where, background)
    return Look(layer, spec.skeleton or None)


def draw(
    image: Image.Image,
    predictions: Sequence[Tree | Prediction],
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    title: str | None = None,
    look: Look = _USUAL,
) -> Image.Image:
    """A new RGB image with these predictions drawn in; `image` stays as it is.

    `scale`: px of the image for one px that predictions are in. `title` stands above those without a box.
    """
    trees = [each.to_json() if isinstance(each, Prediction) else each for each in predictions]
    canvas = _Canvas(image if look.layer is None else _painted(image, look.layer, scale), scale)
    canvas.add(trees, title, look.skeleton)
    return canvas.finished()


def draw_answers(
    image: Image.Image,
    answers: Mapping[str, Answer],
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    roi: Box | None = None,
    looks: Mapping[str, Look] | None = None,
) -> Image.Image:
    """`draw` of what each stage said, titled where there are several; `roi`, px of the picture, is outlined.

    What a stage says of crops is written at the objects that they are of.
    """
    shown = {name: (looks or {}).get(name, _USUAL) for name in answers}
    for look in shown.values():
        if look.layer is not None:
            image = _painted(image, look.layer, scale)
    canvas = _Canvas(image, scale)
    if roi is not None:
        canvas.outline(roi)
    inner = {name for answer in answers.values() for each in answer.results for name in _stages(each)}
    for name, answer in answers.items():
        if name not in inner:
            canvas.add(answer.results, name if len(answers) > 1 else None, shown[name].skeleton)
    return canvas.finished()


class _Canvas:
    """One picture and a pen that suits its size."""

    def __init__(self, image: Image.Image, scale: tuple[float, float]) -> None:
        self._image = image.convert("RGB") if image.mode != "RGB" else image.copy()
        self._scale = scale
        smaller = min(self._image.size)
        self._stroke_px = max(1, round(smaller / 240))
        self._font = _font(max(11, min(48, round(smaller / 26))))
        self._pen = ImageDraw.Draw(self._image, "RGBA")
        self._lines: list[str] = []

    def add(self, trees: Sequence[Tree], title: str | None, skeleton: Skeleton | None) -> None:
        placed = [tree for tree in trees if "box" in tree or "keypoints" in tree]
        for tree in reversed(placed[:_MOST_OBJECTS]):  # the best one on top
            self._body(tree, skeleton)
            self._object(tree)
        rest = [_words(tree) for tree in trees if "box" not in tree and "keypoints" not in tree]
        if rest and title is not None:
            self._lines.append(_clean(title))
        self._lines += rest[:_MOST_LINES]

    def outline(self, box: Box) -> None:
        corners = self._corners((box.left, box.top, box.right, box.bottom))
        self._pen.rectangle(corners, outline=(255, 255, 255, 160), width=self._stroke_px)

    def finished(self) -> Image.Image:
        """With the words that belong to the whole picture, in its corner."""
        if self._lines:
            text = "\n".join(self._lines)
            pad = self._stroke_px * 3
            left, top, right, bottom = self._pen.multiline_textbbox((pad, pad), text, font=self._font)
            self._pen.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill=_SHADE)
            self._pen.multiline_text((pad, pad), text, font=self._font, fill=_WHITE)
        return self._image

    def _object(self, tree: Tree) -> None:
        box = tree.get("box")
        if box is None:
            return
        left, top, right, bottom = self._corners(box)
        color = color_of(int(tree.get("index", 0)))
        self._pen.rectangle((left, top, right, bottom), outline=color, width=self._stroke_px)
        words = " · ".join([_words(tree), *(_words(best) for best in _best_of_crops(tree))])
        self._flag(words, left, top, color)

    def _flag(self, words: str, left: float, top: float, color: Color) -> None:
        """Words on their color: above the point, or below where there is no room; never outside of the picture."""
        pad = self._stroke_px * 2
        text_left, text_top, text_right, text_bottom = self._pen.textbbox((0, 0), words, font=self._font)
        width, height = text_right - text_left + 2 * pad, text_bottom - text_top + 2 * pad
        x = max(0, min(left, self._image.width - width))
        y = top - height if top >= height else max(0, min(top, self._image.height - height))
        self._pen.rectangle((x, y, x + width, y + height), fill=color)
        at = (x + pad - text_left, y + pad - text_top)
        self._pen.text(at, words, font=self._font, fill=_BLACK if _is_light(color) else _WHITE)

    def _body(self, tree: Tree, skeleton: Skeleton | None) -> None:
        points: Sequence[Tree] = tree.get("keypoints") or ()
        color = color_of(int(tree.get("index", 0)))
        at = [(point["x"] * self._scale[0], point["y"] * self._scale[1]) for point in points]
        seen = [point.get("score", 1.0) >= _SEEN for point in points]
        for one, other in usual_skeleton(len(points)) if skeleton is None else skeleton:
            if max(one, other) < len(points) and seen[one] and seen[other]:
                self._pen.line((at[one], at[other]), fill=color, width=self._stroke_px * 2)
        radius = self._stroke_px * 2
        for (x, y), is_seen in zip(at, seen, strict=True):
            if is_seen:
                self._pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_WHITE, outline=color)

    def _corners(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """In px of the image, at least one apart: pillow refuses a rectangle the wrong way round."""
        left, top = box[0] * self._scale[0], box[1] * self._scale[1]
        return left, top, max(left + 1, box[2] * self._scale[0] - 1), max(top + 1, box[3] * self._scale[1] - 1)


def color_of(index: int) -> Color:
    """A color of its own for each class: hues apart by the golden angle, so that neighbors differ most."""
    red, green, blue = colorsys.hsv_to_rgb((0.33 + index * 0.618034) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _painted(image: Image.Image, layer: ClassMapLayer, scale: tuple[float, float]) -> Image.Image:
    from edge_agent.tasks.overlay import overlay  # only where there is a map

    where = layer.where
    if where is not None:
        where = Box(where.left * scale[0], where.top * scale[1], where.right * scale[0], where.bottom * scale[1])
    pixels = np.asarray(image.convert("RGB"))
    return Image.fromarray(overlay(pixels, layer.class_map, where=where, background=layer.background))


def _words(tree: Tree) -> str:
    """`cat 93 %`; of a value, the value; of a class of pixels, its share of the picture."""
    label = tree.get("label")
    name = _clean(str(label)) if label is not None else f"#{tree.get('index', 0)}"
    if "value" in tree:
        return f"{name} {tree['value']:.4g} {_clean(tree.get('unit') or '')}".rstrip()
    if "share" in tree:
        share = tree["share"]
        return f"{name} {f'{share:.0%}' if share >= 0.01 else '<1%'} of the picture"
    return f"{name} {tree.get('score', 0.0):.0%}"


def _clean(text: str) -> str:
    """On one line, and not without end."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _stages(tree: Tree) -> Mapping[str, Sequence[Tree]]:
    stages: Mapping[str, Sequence[Tree]] = tree.get("stages") or {}
    return stages


def _best_of_crops(tree: Tree) -> Iterator[Tree]:
    for predictions in _stages(tree).values():
        yield from predictions[:1]


def _is_light(color: Color) -> bool:
    """Whether black is easier to read on it (ITU-R BT.601 luma)."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
