"""What a source gives: a picture, a row of samples or a stretch of sound, and when it was taken.

Preparing them for a model is left to `transform`; pacing and dropping them, to `pipeline`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.transform.picture import WHOLE, Picture, View


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the models of now want of a source."""

    channels: tuple[str, ...] = ()  # columns; (): all there are
    sample_rate_hz: int | None = None  # of sound; None: no model is here yet


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture. A file's is not decoded yet: that is part of preparing it, and may happen at reduced size."""

    name: str  # of the file, or its number in the source
    captured_s: float  # wall time
    picture: Picture
    view: View = WHOLE  # what of it the pipeline looks at


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a sensor: the values of `channels`, in their order (no channels: all there are)."""

    name: str  # of the file, and the line
    captured_s: float
    channels: tuple[str, ...]
    values: tuple[float, ...]
    after_gap: bool = False  # what came before does not belong to it: a window begins here


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Some samples of sound, mono: float32 [n], -1..1."""

    name: str  # of the file, and the sample's number
    captured_s: float  # wall time of the first sample
    samples: NDArray[np.float32]
    sample_rate_hz: int
    after_gap: bool = False  # what came before does not belong to it: a window begins here
    ends: bool = False  # nothing follows that belongs to it: a file is over


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a sensor that a model is given at once, before its transform: float64 [rows, channels]."""

    channels: tuple[str, ...]  # (): the model does not name them
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Unusable:
    """One file or line that is no picture or row. What comes behind it may be fine."""

    name: str
    detail: str
    is_time: bool = False  # where a value should be stands a date and time: the time column is read as values


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing to be looked at just now, and no fault: ask again. A source gives it rather than wait for long."""

    left_out: bool = False  # there was a picture, but nothing has moved in it


Taken = Frame | Sample | Sound
