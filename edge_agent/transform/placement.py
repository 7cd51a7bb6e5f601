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
    def size(self) -> tuple[float, float]:
        """Width, height."""
        return self.right - self.left, self.bottom - self.top

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def clipped(self, bounds: "Box") -> "Box":
        """The part inside of `bounds`; without area where there is none."""
        left, right = (min(max(value, bounds.left), bounds.right) for value in (self.left, self.right))
        top, bottom = (min(max(value, bounds.top), bounds.bottom) for value in (self.top, self.bottom))
        return Box(left, top, right, bottom)


@dataclass(frozen=True, slots=True)
class Placement:
    """The rectangle of the source that the model's whole input shows, in source px of the upright picture.

    Letterbox shows more than there is (the bars are outside of `bounds`), crop less, stretch all of it.
    """

    bounds: Box  # what may be seen: the whole picture, or the region of interest that was cut out of it
    shown: Box

    @classmethod
    def fit(cls, fit: Fit, source_px: tuple[int, int], target_px: tuple[int, int], roi: Box | None = None) -> Self:
        """Place a source (width, height), or its region of interest, in a target (width, height).

        Letterbox and crop are centered. Letterbox bars are whole pixels of the target, as they are painted.
        """
        bounds = roi or Box(0.0, 0.0, float(source_px[0]), float(source_px[1]))
        (width, height), (target_width, target_height) = bounds.size, target_px
        if fit == "stretch":
            return cls(bounds, bounds)
        if fit == "crop":
            scale = min(width / target_width, height / target_height)
            shown_width, shown_height = target_width * scale, target_height * scale
            left, top = bounds.left + (width - shown_width) / 2, bounds.top + (height - shown_height) / 2
            return cls(bounds, Box(left, top, left + shown_width, top + shown_height))
        content_width, content_height = letterboxed_px(bounds.size, target_px)
        bar_left, bar_top = (target_width - content_width) // 2, (target_height - content_height) // 2
        per_x, per_y = width / content_width, height / content_height
        left, top = bounds.left - bar_left * per_x, bounds.top - bar_top * per_y
        return cls(bounds, Box(left, top, left + target_width * per_x, top + target_height * per_y))

    @property
    def visible(self) -> Box:
        """What of the source the model sees: `shown` without the bars of a letterbox."""
        return self.shown.clipped(self.bounds)

    def to_source(self, box: Box) -> Box:
        """A box in normalized model coordinates (0..1 of its input) as source px, clipped to what may be seen.

        What lies wholly outside of it comes back with no area.
        """
        left, top = self.point_to_source(box.left, box.top)
        right, bottom = self.point_to_source(box.right, box.bottom)
        return Box(left, top, right, bottom).clipped(self.bounds)

    def point_to_source(self, x: float, y: float) -> tuple[float, float]:
        """A point in normalized model coordinates as source px, not clipped."""
        width, height = self.shown.size
        return self.shown.left + x * width, self.shown.top + y * height


def letterboxed_px(source_px: tuple[float, float], target_px: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the largest picture of the source's shape that fits into the target, at least 1 x 1."""
    scale = min(target_px[0] / source_px[0], target_px[1] / source_px[1])
    width, height = (
        max(1, min(target, round(size * scale))) for size, target in zip(source_px, target_px, strict=True)
    )
    return width, height
