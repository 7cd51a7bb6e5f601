"""What is heard in a window of sound: spectrogram, mel bands, cepstral coefficients.

As TensorFlow defines them (`tf.signal.stft`, `linear_to_mel_weight_matrix`, `mfccs_from_log_mel_spectrograms`: the
formulas are in tensorflow/python/ops/signal of tensorflow/tensorflow), worked out in float64: machines differ by less
than 1e-12, and nearly always in nothing once the result is float32. In whole numbers, for models of microcontrollers:
`micro_frontend`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_agent.release.inputs import AudioInput
from edge_agent.transform.micro_frontend import MicroFrontend

Real = NDArray[np.float64]

_INT16_SCALE = 32_768.0
_MICRO_SCALE = 1 / 25.6  # what models for the micro front end were trained on: tflite-micro's audio_preprocessor.py


def new_features(spec: AudioInput) -> Callable[[Real], Real]:
    """The function from samples [context + window], -1..1, to `feature_shape(spec)`.

    Raises:
        ValueError: the micro front end cannot be what `spec` wants.
    """
    if spec.features == "micro_frontend":
        return _micro_frontend(spec)
    amplitude = _AMPLITUDES[spec.amplitude]
    if spec.features == "waveform":
        return amplitude
    window = hann_window(spec.frame)

    def spectrogram(samples: Real) -> Real:
        frames = np.lib.stride_tricks.sliding_window_view(amplitude(samples), spec.frame)[:: spec.hop]
        return np.abs(np.fft.rfft(frames * window, spec.fft))

    if spec.features == "spectrogram":
        return spectrogram
    bands = mel_bands(
        spec.bins if spec.features == "log_mel" else spec.mel_bins,
        spec.fft // 2 + 1, spec.sample_rate_hz, spec.low_hz, spec.high_hz,
    )  # fmt: skip
    if spec.features == "log_mel":
        return lambda samples: np.log(spectrogram(samples) @ bands + spec.log_offset)
    cosines = cepstral_cosines(spec.mel_bins)[:, : spec.bins]
    return lambda samples: np.log(spectrogram(samples) @ bands + spec.log_offset) @ cosines


def feature_shape(spec: AudioInput) -> tuple[int, ...]:
    """[samples] of a waveform, else [frames, bins]."""
    samples = spec.context + spec.window
    if spec.features == "waveform":
        return (samples,)
    frames = 1 + (samples - spec.frame) // spec.hop
    return (frames, spec.fft // 2 + 1 if spec.features == "spectrogram" else spec.bins)


def hann_window(length: int) -> Real:
    """`tf.signal.hann_window`: periodic where the length is even, symmetric where it is odd."""
    if length == 1:
        return np.ones(1)
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - length % 2))


def mel_bands(bins: int, lines: int, rate_hz: int, low_hz: float, high_hz: float) -> Real:
    """[lines, bins]: triangles that are straight on the mel scale of HTK. The constant part, line 0, is in none."""
    low, high = _mel(np.array([low_hz, high_hz]))
    edges = np.linspace(low, high, bins + 2)
    lower, center, upper = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel(np.linspace(0.0, rate_hz / 2, lines))[:, None]
    bands: Real = np.maximum(0.0, np.minimum((mel - lower) / (center - lower), (upper - mel) / (upper - center)))
    return bands


def cepstral_cosines(bins: int) -> Real:
    """[bins, bins]: the DCT-II times sqrt(2 / bins), its first column not scaled down as an orthonormal one's is."""
    angle = np.pi / bins * np.outer(np.arange(bins) + 0.5, np.arange(bins))
    cosines: Real = np.cos(angle) * np.sqrt(2.0 / bins)
    return cosines


def to_int16(samples: Real) -> NDArray[np.int16]:
    """Samples -1..1 as int16, rounded and clipped: what was int16 comes out as it was."""
    return np.clip(np.rint(samples * _INT16_SCALE), -_INT16_SCALE, _INT16_SCALE - 1).astype(np.int16)


def _micro_frontend(spec: AudioInput) -> Callable[[Real], Real]:
    frontend = MicroFrontend(
        rate_hz=spec.sample_rate_hz, frame=spec.frame, hop=spec.hop, fft=spec.fft, bins=spec.bins,
        low_hz=spec.low_hz, high_hz=spec.high_hz,
    )  # fmt: skip
    return lambda samples: frontend.apply(to_int16(samples)).astype(np.float64) * _MICRO_SCALE


def _loudest_is_one(samples: Real) -> Real:
    peak = np.max(samples)
    return samples / peak if peak > 0 else samples


def _mel(hz: Real) -> Real:
    return 1127.0 * np.log1p(hz / 700.0)


_AMPLITUDES: dict[str, Callable[[Real], Real]] = {
    "unit": lambda samples: samples,
    "int16": lambda samples: samples * _INT16_SCALE,
    "peak": _loudest_is_one,
}
