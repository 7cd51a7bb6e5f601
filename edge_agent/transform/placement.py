"""Where the picture lies in the model's input, so that what the model points at can be found in the picture again.

Neither numpy nor pillow here: the supervisor reads boxes too. Moving the pixels is left to `image`.
"""

from dataclasses import dataclass
from typing import Literal, Self

Fit = Literal["stretch", "letterbox", "crop"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, left < right and top < bottom. In a prediction: source px, clipped to the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Placement:
    """The rectangle of the source that the model's whole input shows, in source px of the upright picture.

    Letterbox shows more than there is (the bars are outside of the picture), crop less, stretch all of it.
    """

    source_width_px: int
    source_height_px: int
    shown: Box

    @classmethod
    def fit(cls, fit: Fit, source_px: tuple[int, int], target_px: tuple[int, int]) -> Self:
        """Place a source (width, height) in a target (width, height); letterbox and crop are centered.

        Letterbox bars are whole pixels of the target, as they are painted.
        """
        (width, height), (target_width, target_height) = source_px, target_px
        if fit == "stretch":
            return cls(width, height, Box(0.0, 0.0, float(width), float(height)))
        if fit == "crop":
            scale = min(width / target_width, height / target_height)
            shown_width, shown_height = target_width * scale, target_height * scale
            left, top = (width - shown_width) / 2, (height - shown_height) / 2
            return cls(width, height, Box(left, top, left + shown_width, top + shown_height))
        content_width, content_height = letterboxed_px(source_px, target_px)
        bar_left, bar_top = (target_width - content_width) // 2, (target_height - content_height) // 2
        per_x, per_y = width / content_width, height / content_height
        left, top = -bar_left * per_x, -bar_top * per_y
        return cls(width, height, Box(left, top, left + target_width * per_x, top + target_height * per_y))

    def to_source(self, box: Box) -> Box:
        """A box in normalized model coordinates (0..1 of its input) as source px, clipped to the picture.

        What lies wholly outside of the picture comes back with no area.
        """
        width, height = self.shown.right - self.shown.left, self.shown.bottom - self.shown.top

        def x(share: float) -> float:
            return min(max(self.shown.left + share * width, 0.0), float(self.source_width_px))

        def y(share: float) -> float:
            return min(max(self.shown.top + share * height, 0.0), float(self.source_height_px))

        return Box(x(box.left), y(box.top), x(box.right), y(box.bottom))


def letterboxed_px(source_px: tuple[int, int], target_px: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the largest picture of the source's shape that fits into the target, at least 1 x 1."""
    scale = min(target_px[0] / source_px[0], target_px[1] / source_px[1])
    width, height = (
        max(1, min(target, round(size * scale))) for size, target in zip(source_px, target_px, strict=True)
    )
    return width, height
