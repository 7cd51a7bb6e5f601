"""The audio front end of TensorFlow Lite Micro, in its own integer arithmetic: the same numbers on every machine.

Frame, Hann window, fixed-point FFT, mel filter bank, square root, noise reduction, per-channel amplitude normalization
(PCAN), logarithm. Behavior: tensorflow/tflite-micro, `signal/src/*.cc`, with the constants and the order of
`tensorflow/lite/micro/examples/micro_speech/audio_preprocessor.py`, which are those of
`tensorflow/lite/experimental/microfrontend/lib`. PCAN: Wang et al., "Trainable Frontend For Robust and Far-Field
Keyword Spotting", ICASSP 2017. The noise estimate begins at zero with every window, so that a window's features depend
on nothing but the window. Scaling for a model is left to `audio_features`; the FFT to `fixed_fft`.
"""

import numpy as np
from numpy.typing import NDArray

from edge_agent.transform.fixed_fft import real_fft

Integers = NDArray[np.int64]

_WINDOW_BITS = 12
_FILTER_BITS = 12
_SMOOTHING_BITS = 10
_SUBTRACTION_BITS = 14
_EVEN_SMOOTHING, _ODD_SMOOTHING = (int(share * (1 << _SUBTRACTION_BITS)) for share in (0.025, 0.06))
_LEAST_SIGNAL = int(0.05 * (1 << _SUBTRACTION_BITS))
_PCAN_STRENGTH = 0.95
_PCAN_OFFSET = 80.0
_PCAN_GAIN_BITS = 21
_SNR_SHIFT = 6  # the reference works this out and then takes 6 in any case
_SNR_BITS = 12
_OUTPUT_BITS = 6
_LOG_SEGMENTS = 128
_LOG_SCALE = 1 << 16
_LN_2 = 45_426  # ln 2 in units of 1 / 65536
_INT16_MAX = 32_767
_UINT32 = 0xFFFFFFFF


class MicroFrontend:
    """From int16 samples to features, int16 in units of 1/64 of a natural logarithm. Any thread may apply it.

    Raises:
        ValueError: the FFT or the band is none that the reference can do.
    """

    def __init__(
        self, *, rate_hz: int, frame: int, hop: int, fft: int, bins: int, low_hz: float, high_hz: float
    ) -> None:
        if fft & (fft - 1) or not 64 <= fft <= 2048:
            raise ValueError(f"the micro front end needs an fft of 64, 128, 256, 512, 1024 or 2048; found {fft}")
        self._frame = frame
        self._hop = hop
        self._fft = fft
        self._window = np.rint(
            (0.5 - 0.5 * np.cos(2 * np.pi / frame * (np.arange(frame) + 0.5))) * (1 << _WINDOW_BITS)
        ).astype(np.int64)
        self._filters = _filters(rate_hz, fft // 2 + 1, bins, low_hz, high_hz)
        self._correction_bits = fft.bit_length() - 1 - _FILTER_BITS // 2
        self._smoothing = np.where(np.arange(bins) % 2 == 0, _EVEN_SMOOTHING, _ODD_SMOOTHING)
        self._gains = _gain_table(_SMOOTHING_BITS - self._correction_bits)
        segments = np.arange(_LOG_SEGMENTS + 1) / _LOG_SEGMENTS
        self._log_table = np.rint(_LOG_SCALE * (np.log2(1 + segments) - segments)).astype(np.int64)

    def apply(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """[samples] to [frames, bins]."""
        frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.int64), self._frame)[:: self._hop]
        windowed = np.clip((frames * self._window) >> _WINDOW_BITS, -_INT16_MAX - 1, _INT16_MAX)
        # each frame is made as loud as int16 holds, so that the FFT loses little of a quiet one
        shift = np.maximum(15 - _bit_length(np.abs(windowed).max(axis=1)), 0)
        padded = np.zeros((len(frames), self._fft), np.int64)
        padded[:, : self._frame] = windowed << shift[:, None]
        real, imaginary = real_fft(padded)
        # exact: every sum stays below 2^53, so the order does not matter
        energy = (real.astype(np.float64) ** 2 + imaginary.astype(np.float64) ** 2) @ self._filters
        levels = _square_root(energy.astype(np.int64)) >> shift[:, None]
        noise: Integers = np.zeros(levels.shape[1], np.int64)
        quiet, noises = np.empty_like(levels), np.empty_like(levels)
        for number, level in enumerate(levels):
            quiet[number], noise = self._reduce_noise(level, noise)
            noises[number] = noise
        return self._logarithm(self._normalize(quiet, noises))

    def _reduce_noise(self, level: Integers, noise: Integers) -> tuple[Integers, Integers]:
        """The level above the noise, and the new estimate of the noise (spectral subtraction)."""
        scaled = (level << _SMOOTHING_BITS) & _UINT32
        rest = (1 << _SUBTRACTION_BITS) - self._smoothing
        noise = ((scaled * self._smoothing + noise * rest) >> _SUBTRACTION_BITS) & _UINT32
        floor = (level * _LEAST_SIGNAL) >> _SUBTRACTION_BITS
        return np.maximum((scaled - np.minimum(noise, scaled)) >> _SMOOTHING_BITS, floor), noise

    def _normalize(self, level: Integers, noise: Integers) -> Integers:
        """PCAN: the level times a gain that sinks with the noise, and shrunk where it is low."""
        snr = ((level * self._gain(noise)) >> _SNR_SHIFT) & _UINT32
        low = (snr * snr) >> (2 + 2 * _SNR_BITS - _OUTPUT_BITS)
        return np.where(snr < 2 << _SNR_BITS, low, (snr >> (_SNR_BITS - _OUTPUT_BITS)) - (1 << _OUTPUT_BITS))

    def _gain(self, noise: Integers) -> Integers:
        """A parabola for each power of two."""
        bits = _bit_length(noise)
        base, slope, bend = (self._gains[bits, column] for column in range(3))
        fraction = np.where(bits < 11, noise << np.maximum(11 - bits, 0), noise >> np.maximum(bits - 11, 0)) & 0x3FF
        curved = (((bend * fraction) >> 5) + (slope << 5)) * fraction
        found: Integers = np.where(noise < 2, base, base + ((curved + (1 << 14)) >> 15))
        return found

    def _logarithm(self, values: Integers) -> NDArray[np.int16]:
        scaled = (values << self._correction_bits) & _UINT32
        at_least_one = np.maximum(scaled, 1)
        whole = _bit_length(at_least_one) - 1
        rest = at_least_one - (np.int64(1) << whole)
        fraction = np.where(whole < 16, rest << np.maximum(16 - whole, 0), rest >> np.maximum(whole - 16, 0))
        segment = fraction // (_LOG_SCALE // _LOG_SEGMENTS)
        c0, c1 = self._log_table[segment], self._log_table[segment + 1]
        between = ((c1 - c0) * (fraction - segment * (_LOG_SCALE // _LOG_SEGMENTS))) >> 16
        natural = (_LN_2 * ((whole << 16) + fraction + c0 + between) + _LOG_SCALE // 2) >> 16
        found = ((natural << _OUTPUT_BITS) + _LOG_SCALE // 2) >> 16
        return np.where(scaled > 1, np.minimum(found, _INT16_MAX), 0).astype(np.int16)


def _filters(rate_hz: int, spectrum: int, bins: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """[spectrum, bins]: triangles on the mel scale, whole numbers of 0 to 4096; in float32, as the reference has it."""
    hz_per_line = rate_hz / 2 / (spectrum - 1)
    lines = np.arange(spectrum)
    mel = _mel(lines * hz_per_line)
    low, high = _mel(np.array([low_hz, high_hz]))
    spacing = np.float32(high - low) / np.float32(bins + 1)
    centers = low + spacing * np.arange(1, bins + 2, dtype=np.float32)
    edges = np.concatenate([[low], centers]).astype(np.float32)
    first = round(1 + low_hz / hz_per_line)
    band = np.searchsorted(centers, mel, side="left")  # the first center that is not below
    used = (lines >= first) & (band <= bins)
    if mel[-1] <= centers[-1]:
        raise ValueError(f"the micro front end needs high_hz below {(spectrum - 1) * hz_per_line:g}; found {high_hz:g}")
    filters = np.zeros((spectrum, bins))
    for line in lines[used]:
        place = band[line]
        weight = np.float32(centers[place] - mel[line]) / np.float32(centers[place] - edges[place])
        if place > 0:
            filters[line, place - 1] = int(weight * (1 << _FILTER_BITS))
        if place < bins:
            filters[line, place] = int((np.float32(1) - weight) * (1 << _FILTER_BITS))
    return filters


def _mel(hz: NDArray[np.floating]) -> NDArray[np.float32]:
    ratio = hz.astype(np.float32) / np.float32(700)
    return np.float32(1127) * np.log1p(ratio.astype(np.float64)).astype(np.float32)


def _gain_table(input_bits: int) -> Integers:
    """[33, 3]: value, slope and bend of the gain for noise of so many bits; of 0 and 1 bits, the value alone."""

    def gain(noise: int) -> int:
        level = np.float32(noise) / np.float32(1 << input_bits) + np.float32(_PCAN_OFFSET)
        return min(int(float(level) ** -_PCAN_STRENGTH * (1 << _PCAN_GAIN_BITS) + 0.5), _INT16_MAX)

    table = np.zeros((33, 3), np.int64)
    table[0, 0], table[1, 0] = gain(0), gain(1)
    for bits in range(2, 33):
        start = 1 << (bits - 1)
        values = [gain(noise) for noise in (start, start + start // 2, min(2 * start, _UINT32))]
        half, whole = values[1] - values[0], values[2] - values[0]
        slope = 4 * half - whole
        table[bits] = values[0], slope, whole - slope
    return table.astype(np.int16).astype(np.int64)


def _square_root(values: Integers) -> Integers:
    """The nearest whole number; of less than 2^32 at most 65535, as in the reference."""
    root = np.sqrt(values.astype(np.float64)).astype(np.int64)
    root -= root * root > values
    root += values - root * root > root
    nearest: Integers = np.where(values <= _UINT32, np.minimum(root, 0xFFFF), root)
    return nearest


def _bit_length(values: Integers) -> Integers:
    """0 of 0; exact below 2^53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)
