"""Between a source of sound and a model: another sample rate made the model's, and windows cut.

One for each loaded model, for each has its own rate and windows. Turning a window into a tensor is left to `model`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Sound
from edge_agent.inference.model import Model
from edge_agent.transform.resample import Resampler

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class SoundWindow:
    """One window, for `Model.prepare_sound`."""

    name: str  # of the sound in which it begins
    captured_s: float  # wall time of its last sample
    samples: Samples  # [context + window] at the model's rate


class SoundFeed:
    """Takes sound as it comes and gives windows as the model takes them. One thread uses it.

    `say` is told once of each sample rate that is not the model's, and of sound shorter than a window.

    Raises:
        FrameError: the model takes no sound.
    """

    def __init__(self, model: Model, say: Callable[[str], None]) -> None:
        self._windower = model.sound_windower()
        self._spec = self._windower.spec
        self._say = say
        self._told: set[str] = set()
        self._window_s = self._spec.window / self._spec.sample_rate_hz
        self._resampler = Resampler(self._spec.sample_rate_hz, self._spec.sample_rate_hz)
        self._rate_hz = self._spec.sample_rate_hz  # of what comes
        self._heard = 0  # samples that have come since the last gap
        self._windows = 0  # given since the last gap
        self._names: deque[tuple[int, str]] = deque()  # what has come: its end as a count of samples, its name

    def push(self, sound: Sound) -> list[SoundWindow]:
        """The windows that this completes.

        Raises:
            SourceError: its sample rate cannot be made the model's.
        """
        if sound.after_gap or sound.sample_rate_hz != self._rate_hz:
            self._begin(sound.sample_rate_hz)
        before, self._heard = self._heard, self._heard + len(sound.samples)
        self._names.append((self._heard, sound.name))
        windows = self._windower.push(self._resampler.push(sound.samples))
        if sound.ends:
            windows += self._windower.push(self._resampler.finish())
            filled_up = self._windower.finish()
            if filled_up:
                self._tell(f"sound shorter than the window of {self._window_s:.3g} s is followed by silence")
            windows += filled_up
        found = [self._window(samples, sound, before) for samples in windows]
        if sound.ends:
            self._begin(sound.sample_rate_hz)
        return found

    def _window(self, samples: Samples, sound: Sound, before: int) -> SoundWindow:
        begin = self._windows * self._spec.stride
        self._windows += 1
        while len(self._names) > 1 and self._names[0][0] * self._spec.sample_rate_hz <= begin * self._rate_hz:
            self._names.popleft()
        # silence that a short file was filled up with was never captured
        end_s = min((begin + self._spec.window) / self._spec.sample_rate_hz, self._heard / self._rate_hz)
        return SoundWindow(self._names[0][1], sound.captured_s + end_s - before / self._rate_hz, samples)

    def _tell(self, note: str) -> None:
        if note not in self._told:
            self._told.add(note)
            self._say(note)

    def _begin(self, rate_hz: int) -> None:
        wanted_hz = self._spec.sample_rate_hz
        if rate_hz != self._rate_hz:
            self._resampler = _new_resampler(rate_hz, wanted_hz)
            self._rate_hz = rate_hz
        if rate_hz != wanted_hz:
            self._tell(f"sound of {rate_hz} Hz is resampled to the {wanted_hz} Hz that the model takes")
        self._resampler.clear()
        self._windower.clear()
        self._heard = self._windows = 0
        self._names.clear()


def _new_resampler(rate_hz: int, wanted_hz: int) -> Resampler:
    try:
        return Resampler(rate_hz, wanted_hz)
    except FrameError as error:
        raise SourceError(str(error), hint=error.hint) from error
