"""Made-up pictures, rows and sound, the same every time it is opened: for tests, benchmarks and trying things out."""

import io
import math
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_agent.clock import Clock
from edge_agent.config.sources import SyntheticSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Nothing, Sample, Sound, Taken, Wanted
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.transform.picture import Picture, YuvPicture, open_picture

_STEPS = 32  # in which the square crosses the picture, and then begins again
_BACKGROUND, _SQUARE = (60, 80, 100), (250, 120, 60)
_BACKGROUND_YUV, _SQUARE_YUV = (82, 140, 118), (147, 82, 189)  # limited range, BT.601
_ROWS_A_PERIOD = 50
_TONE_HZ = 440.0
_SOUND_S = 0.1  # a piece of it


class Synthetic:
    """A square that moves by 1/32 of the width with each picture; a sine in each column; a tone of 440 Hz.

    Named by their numbers, from 0. Of sound, `count` counts pieces of 0.1 s.
    """

    def __init__(self, config: SyntheticSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._thinning = Thinning(clock)
        self._number = 0
        self._jpegs: dict[int, bytes] = {}  # encoding takes longer than many a model

    def __enter__(self) -> Self:
        self._number = 0
        self._thinning = Thinning(self._clock, every_n=self._config.every_n)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def take(self, wanted: Wanted) -> Taken | Nothing | None:
        config = self._config
        while True:
            number = self._number
            if config.count is not None and number >= config.count:
                return None
            if config.fail_after is not None and number >= config.fail_after:
                raise SourceError(f"the synthetic source fails after {config.fail_after}, as `fail_after` says")
            self._number += 1
            if config.content == "pictures" and not self._thinning.lets_through():
                continue
            return self._make(number, wanted)

    def _make(self, number: int, wanted: Wanted) -> Taken:
        config, name, now_s = self._config, str(number), self._clock.now_s()
        if config.content == "rows":
            columns = config.columns or wanted.channels or ("value",)
            angles = (2 * math.pi * number / _ROWS_A_PERIOD + column for column in range(len(columns)))
            return Sample(name, now_s, wanted.channels, tuple(math.sin(angle) for angle in angles))
        if config.content == "audio":
            rate_hz = config.sample_rate_hz
            length = max(1, round(rate_hz * _SOUND_S))
            at = np.arange(number * length, (number + 1) * length)
            samples = (0.5 * np.sin(2 * np.pi * _TONE_HZ * at / rate_hz)).astype(np.float32)
            return Sound(str(number * length), now_s, samples, rate_hz)
        return Frame(name, now_s, self._picture(number % _STEPS))

    def _picture(self, step: int) -> Picture:
        config = self._config
        width, height = config.width_px, config.height_px
        if config.picture == "rgb":
            return Image.fromarray(_rgb(width, height, step))
        if config.picture == "yuv":
            y = _plane(width, height, step, _BACKGROUND_YUV[0], _SQUARE_YUV[0])
            u, v = (
                _plane((width + 1) // 2, (height + 1) // 2, step, _BACKGROUND_YUV[index], _SQUARE_YUV[index])
                for index in (1, 2)
            )
            return YuvPicture(y, u, v, name=f"synthetic picture {step}")
        if step not in self._jpegs:
            encoded = io.BytesIO()
            Image.fromarray(_rgb(width, height, step)).save(encoded, format="JPEG", quality=90)
            self._jpegs[step] = encoded.getvalue()
        return open_picture(self._jpegs[step], f"synthetic picture {step}")


def _rgb(width: int, height: int, step: int) -> NDArray[np.uint8]:
    planes = [_plane(width, height, step, *shades) for shades in zip(_BACKGROUND, _SQUARE, strict=True)]
    return np.stack(planes, axis=-1)


def _plane(width: int, height: int, step: int, background: int, square: int) -> NDArray[np.uint8]:
    """The square is a quarter of the height high, and in the middle of it."""
    plane = np.full((height, width), background, np.uint8)
    side = max(1, height // 4)
    left, top = width * step // _STEPS, (height - side) // 2
    plane[top : top + side, left : left + side] = square
    return plane
