"""Sound of one sample rate into another.

Band-limited interpolation by a windowed sinc, one row of coefficients for each place between two samples: Smith,
"Digital Audio Resampling Home Page" (ccrma.stanford.edu/~jos/resample), with Kaiser's window and his formula for it
(Oppenheim and Schafer, "Discrete-Time Signal Processing", §7.5.3). Measured by tests/transform/test_resample.py: what
lies below 0.88 of the lower Nyquist frequency comes through within 0.01 dB, what lies above that frequency is 80 dB
down.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import FrameError

Samples = NDArray[np.float32]

_CROSSINGS = 48  # zero crossings of the sinc on each side
_BETA = 0.1102 * (80 - 8.7)  # Kaiser's window for 80 dB
_CUTOFF = 0.945  # of the lower Nyquist frequency: in the middle of the transition, which ends at it
_LOWEST_HZ, _HIGHEST_HZ = 1_000, 768_000
_MAX_COEFFICIENTS = 2_000_000  # 16 MB; only rates that have nearly no common divisor need more
_AT_ONCE = 4_096  # samples out, to bound the memory of a long block


class Resampler:
    """From `from_hz` to `to_hz`, block by block: the same samples as if all came in one block. One thread uses it.

    Raises:
        FrameError: no sample rates, or two that have too little in common.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        for rate_hz in (from_hz, to_hz):
            if not _LOWEST_HZ <= rate_hz <= _HIGHEST_HZ:
                raise FrameError(f"a sample rate must be {_LOWEST_HZ} to {_HIGHEST_HZ} Hz; found {rate_hz}")
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._reach = 0  # input samples on each side of an output sample
        if self._up != self._down:
            self._reach = math.ceil(_CROSSINGS * max(1.0, from_hz / to_hz))
            if self._up * 2 * self._reach > _MAX_COEFFICIENTS:
                raise FrameError(
                    f"sound of {from_hz} Hz cannot be converted to {to_hz} Hz: the two have too little in common",
                    hint=f"record it at {to_hz} Hz",
                )
            self._rows = _coefficients(self._up, self._reach, min(1.0, to_hz / from_hz))
        self._held: Samples = np.zeros(0, np.float32)
        self._place = 0
        self.clear()

    def push(self, block: Samples) -> Samples:
        """The samples that can be told by now; the last few ms wait for what follows."""
        if not self._reach:
            return block
        self._held = np.concatenate([self._held, block])
        return self._convert(len(self._held) - 2 * self._reach)

    def finish(self) -> Samples:
        """What is left: silence follows. In all there are ceil(samples in x to_hz / from_hz) samples."""
        if not self._reach:
            return np.zeros(0, np.float32)
        self._held = np.concatenate([self._held, np.zeros(self._reach, np.float32)])
        rest = self._convert(len(self._held) - 2 * self._reach)
        self.clear()
        return rest

    def clear(self) -> None:
        """Forget what came before: silence did."""
        self._held = np.zeros(self._reach, np.float32)
        self._place = 0  # of the next output sample behind the input sample at [reach], in steps of 1 / up

    def _convert(self, known: int) -> Samples:
        """The output samples that lie less than `known` input samples behind the one at [reach]."""
        places = np.arange(self._place, known * self._up, self._down, dtype=np.int64)
        if not len(places):
            return np.zeros(0, np.float32)
        around = np.lib.stride_tricks.sliding_window_view(self._held, 2 * self._reach)
        parts = []
        for begin in range(0, len(places), _AT_ONCE):
            first, row = np.divmod(places[begin : begin + _AT_ONCE], self._up)
            # one sum an output sample, whatever the block: a matrix product would add up in another order
            parts.append(np.einsum("nk,nk->n", around[first + 1], self._rows[row]))
        self._place = int(places[-1]) + self._down
        gone = self._place // self._up
        self._held = self._held[gone:].copy()
        self._place -= gone * self._up
        return np.concatenate(parts).astype(np.float32)


def _coefficients(up: int, reach: int, narrowed: float) -> NDArray[np.float64]:
    """[up, 2 reach]: the filter as seen from each place between two samples."""
    away = np.arange(1 - reach, reach + 1) - np.arange(up)[:, None] / up
    window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - (away / reach) ** 2)))
    rows = np.sinc(_CUTOFF * narrowed * away) * window
    rows /= rows.sum(axis=1, keepdims=True)  # what is constant stays as it is
    return rows
