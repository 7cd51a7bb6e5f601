"""The manifest's `input`: how a picture, a window of rows, a stretch of sound or plain numbers become the input tensor.

What is done to them is `transform`; tensor dtypes, shapes and quantization are read from the model.
"""

import math
from dataclasses import dataclass
from typing import Literal

Fit = Literal["stretch", "letterbox", "crop"]
# Pillow's filters (Image.Resampling), antialiased when shrinking, except nearest. docs/artifact-format.md says what
# each does and what OpenCV, TensorFlow and swscale call it.
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a picture becomes the input tensor. Its size is the model's."""

    kind: Literal["image"] = "image"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    fit: Fit = "stretch"
    resample: Resample = "bilinear"
    # reduced: a picture may be shrunk by a whole factor first, as long as it stays at least as large as the input:
    # JPEG is decoded at 1/2, 1/4 or 1/8, other pictures are averaged over blocks of pixels
    decode: Literal["full", "reduced"] = "reduced"
    # real value = (pixel 0..255 - mean) / std, one each or one per channel; None: quantized inputs take the
    # pixel's byte (int8: byte - 128), float inputs 0..255 as it is
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    tensor: str | None = None  # the input's name, of a model with several; None: the only one that is left

    def __post_init__(self) -> None:
        _check_normalization(self.mean, self.std)


@dataclass(frozen=True, slots=True)
class SignalInput:
    """How rows of a sensor become the input tensor: windows of `window` rows, `stride` rows apart."""

    kind: Literal["signal"] = "signal"
    channels: tuple[str, ...] = ()  # column names in order; empty: all columns in the order they come
    window: int = 1
    stride: int = 1
    sample_rate_hz: float | None = None
    mean: tuple[float, ...] | None = None  # real value = (sample - mean) / std, one each or one per channel
    std: tuple[float, ...] | None = None
    tensor: str | None = None

    def __post_init__(self) -> None:
        if self.window < 1 or self.stride < 1:
            raise ValueError("window and stride must be at least 1 row")
        _check_normalization(self.mean, self.std)


@dataclass(frozen=True, slots=True)
class AudioInput:
    """How sound becomes the input tensor: mono, windows of `window` samples, `stride` samples apart.

    `features` waveform takes the samples themselves; the others cut the window into frames first, each `frame` samples
    long and `hop` samples after the one before, and give [frames, bins] (`transform.audio_features` says what each is).
    """

    kind: Literal["audio"] = "audio"
    sample_rate_hz: int = 16_000
    window: int = 16_000  # samples
    stride: int = 8_000  # samples
    features: Literal["waveform", "spectrogram", "log_mel", "mfcc", "micro_frontend"] = "waveform"
    # unit: -1..1; int16: -32768..32767; peak: the window's largest positive sample is 1.0
    amplitude: Literal["unit", "int16", "peak"] = "unit"
    frame: int = 480
    hop: int = 320
    fft: int = 512
    bins: int = 40  # mel bins, or of mfcc the coefficients that are kept
    mel_bins: int = 40  # of mfcc: the mel bins that the coefficients are made of
    low_hz: float = 20.0
    high_hz: float = 4000.0
    log_offset: float = 1e-6  # of log_mel and mfcc: added before the logarithm
    mean: tuple[float, ...] | None = None  # real value = (feature - mean) / std, one each or one per bin
    std: tuple[float, ...] | None = None
    context: int = 0  # so many samples before the window are put in front of it; silence at the beginning
    tensor: str | None = None

    def __post_init__(self) -> None:
        counts = ("sample_rate_hz", "window", "stride", "frame", "hop", "fft", "bins", "mel_bins")
        wrong = [name for name in counts if getattr(self, name) < 1]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be at least 1")
        if self.context < 0:
            raise ValueError("context must not be negative")
        if not (0 < self.log_offset < math.inf):
            raise ValueError("log_offset must be more than 0")
        if self.features != "waveform" and self.frame > self.window:
            raise ValueError(f"a frame of {self.frame} samples is longer than the window of {self.window}")
        if self.features != "waveform" and self.frame > self.fft:
            raise ValueError(f"fft must be at least the {self.frame} samples of a frame")
        banded = self.features not in ("waveform", "spectrogram")
        if banded and not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ValueError("low_hz and high_hz must be 0 <= low_hz < high_hz <= sample_rate_hz / 2")
        if self.features == "mfcc" and self.bins > self.mel_bins:
            raise ValueError(f"mfcc keeps {self.bins} coefficients of {self.mel_bins} mel bins; it must be fewer")
        _check_normalization(self.mean, self.std)


@dataclass(frozen=True, slots=True)
class TensorInput:
    """Values that go into the tensors as they are (quantized where the tensor is).

    A row of a sensor is dealt out to the inputs in their order, each taking as many values as it holds.
    """

    kind: Literal["tensor"] = "tensor"
    channels: tuple[str, ...] = ()  # column names in order; empty: all columns in the order they come


InputSpec = ImageInput | SignalInput | AudioInput | TensorInput


def _check_normalization(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    if (mean is None) != (std is None):
        raise ValueError("mean and std go together")
    if std is not None and any(value == 0 for value in std):
        raise ValueError("std must not be 0")
    if not all(map(math.isfinite, (*(mean or ()), *(std or ())))):  # JSON written by Python may hold NaN
        raise ValueError("mean and std must be finite")
