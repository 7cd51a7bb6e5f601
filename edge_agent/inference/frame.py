"""What a source gives: a picture or a row of samples, and when it was taken.

Preparing them for a model is left to `transform`; pacing and dropping them, to `pipeline`.
"""

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. A file's is not decoded yet: that is part of preparing it, and may happen at reduced size."""

    name: str  # of the file, or its number in the source
    captured_s: float  # wall time
    image: Image.Image


@dataclass(frozen=True, slots=True)
class Unusable:
    """One file or line that is no picture or row. What comes behind it may be fine."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a sensor: the values of `channels`, in their order (no channels: all there are)."""

    name: str  # of the file, and the line
    captured_s: float
    channels: tuple[str, ...]
    values: tuple[float, ...]
