"""What a bare `.tflite` most likely takes: a picture, sound, a window of rows or plain numbers, and how prepared.

The author's metadata first, then shapes, then what the models of a decoder usually want. Guesses are said in `notes`.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edge_agent.inference.ends import End
from edge_agent.inference.said import Features, InputKind, Said
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput, TensorInput

_KINDS: dict[str | None, InputKind] = {"audio_classification": "audio", "signal_classification": "signal"}
_SMALLEST_PICTURE_PX = 8
_LARGEST_ASPECT = 3.0  # of a gray picture; longer ones are windows: 52 x 3 samples
_SHORTEST_SOUND = 8_000  # values of one row that are taken for samples: half a second at 16 kHz
_RATES_HZ = {144_000: 48_000}  # BirdNET: 3 s (birdnet-analyzer); most others hear at 16 kHz
# Features that well-known models take, by frames and bins, or all in one row.
_KEYWORD_FEATURES: dict[tuple[int, ...], Features] = {
    (49, 40): "micro_frontend", (1960,): "micro_frontend",  # tflite-micro, micro_speech
    (49, 10): "mfcc", (490,): "mfcc",  # MLPerf Tiny, keyword spotting
}  # fmt: skip
_MICRO_BAND_HZ = (125.0, 7500.0)
_USUAL_BAND_HZ = (20.0, 4000.0)
_VOICE_CONTEXT = {576: 64, 288: 32}  # silero-vad: 512 samples at 16 kHz, 256 at 8 kHz, behind some of those before
# What models of a family are trained with, where no metadata says it: mean and std; None: the pixels as they are.
_NORMALIZATIONS: dict[str | None, tuple[float, float] | None] = {
    "yolov5": (0.0, 255.0), "yolov8": (0.0, 255.0), "fastestdet": (0.0, 255.0), "blazepose": (0.0, 255.0),
    "ultraface": (127.0, 128.0), "movenet": None,
}  # fmt: skip
_USUAL_NORMALIZATION = (127.5, 127.5)
_LETTERBOXED = ("yolov5", "yolov8", "blazeface", "movenet", "blazepose")
_UNUSUAL_STEPS = 2.0  # stored values by which a normalization may be off the pixel's own byte


def guess_kind(inputs: tuple[End, ...], said: Said) -> InputKind:
    """Of the inputs that are fed from outside."""
    stated = said.kind or ("audio" if said.features is not None else _KINDS.get(said.task))
    if stated is not None:
        return stated
    return _kind_of(inputs[0], said.window) if len(inputs) == 1 else "tensor"


def _kind_of(end: End, window: int | None) -> InputKind:
    content = end.metadata.content if end.metadata else None
    if content == "audio" or (content == "image" and window is None):
        return content
    if _features_of(end) is not None:
        return "audio"
    if window is not None:
        return "signal"
    if _is_picture(end.tensor.shape):
        return "image"
    return "signal" if _is_window(end) else "tensor"


def guess_input(kind: InputKind, end: End, said: Said, decoder: str | None, notes: list[str]) -> InputSpec:
    """How `end`, the only one that is fed from outside, is filled; where there are several, a row is dealt out."""
    if kind == "tensor":
        return TensorInput()
    if kind == "image":
        return _picture(end, decoder, notes)
    if kind == "audio":
        return _sound(end, said, notes)
    rows = said.window or _rows(end)
    notes.append(f"input guessed from its shape: windows of {rows} rows ({end.tensor.label})")
    mean, std = _stated(end)
    return SignalInput(window=rows, stride=rows, mean=mean, std=std)


def _is_window(end: End) -> bool:
    return len(end.tensor.shape) == 3 or (len(end.tensor.shape) == 4 and len(end.sizes) == 2)


def _rows(end: End) -> int:
    """[1, rows, channels], or the first of two dimensions that say something."""
    shape = end.tensor.shape
    if len(shape) == 3:
        return shape[1]
    return end.sizes[0] if end.sizes else 1


# --- pictures -----------------------------------------------------------------------------------------------------


def _is_picture(shape: tuple[int, ...]) -> bool:
    if len(shape) != 4 or shape[3] not in (1, 3):
        return False
    low, high = sorted(shape[1:3])
    return low >= _SMALLEST_PICTURE_PX and (shape[3] == 3 or high <= low * _LARGEST_ASPECT)


def _picture(end: End, decoder: str | None, notes: list[str]) -> ImageInput:
    gray = end.tensor.shape[-1:] == (1,)
    mean, std = _normalization(end, decoder, notes)
    color: Literal["rgb", "bgr", "gray"] = "gray" if gray else "bgr" if decoder == "fastestdet" else "rgb"
    if color == "bgr":
        notes.append("color guessed: bgr, as FastestDet was trained; --color rgb changes that")
    fit: Literal["letterbox", "stretch"] = "letterbox" if decoder in _LETTERBOXED else "stretch"
    if fit == "letterbox":
        notes.append(f"fit guessed: letterbox, as for {decoder}; --fit stretch changes that")
    # decode="full": a single picture is to be exact, not fast
    return ImageInput(color=color, fit=fit, decode="full", mean=mean, std=std)


def _normalization(
    end: End, decoder: str | None, notes: list[str]
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    mean, std = _stated(end)
    quantization = end.tensor.quantization
    if end.tensor.dtype.kind != "f" and (quantization is None or end.tensor.dtype.itemsize == 1):
        if mean is not None and std is not None and not _is_byte(end, mean, std):
            notes.append(f"normalization from the model's metadata: mean {_row(mean)}, std {_row(std)}")
            return mean, std
        if quantization is not None and not any(_is_byte(end, *usual) for usual in _USUAL):
            notes.append(
                f"the input's scale {quantization.scale:g} is that of no usual normalization: pixels are taken as they "
                "are stored; --mean and --std state another"
            )
        return None, None  # the pixels' bytes, whatever real values they stand for
    mean, std = (mean, std) if mean is not None else _by_range(end)
    if mean is not None and std is not None:
        notes.append(f"normalization from the model's metadata: mean {_row(mean)}, std {_row(std)}")
        return mean, std
    usual = _NORMALIZATIONS.get(decoder, _USUAL_NORMALIZATION)
    if usual is None:
        notes.append(f"normalization guessed: none, pixels as 0..255, as for {decoder}; --mean and --std change that")
        return None, None
    low, high = (0 - usual[0]) / usual[1], (255 - usual[0]) / usual[1]
    other = "" if usual == (0.0, 255.0) else "; --mean 0 --std 255 gives 0..1"
    notes.append(f"normalization guessed: mean {usual[0]:g}, std {usual[1]:g} (pixels as {low:.2g}..{high:.2g}){other}")
    return (usual[0],), (usual[1],)


# Pixels as 0..1, -1..1 and 0..255.
_USUAL = (((0.0,), (255.0,)), ((127.5,), (127.5,)), ((0.0,), (1.0,)))


def _is_byte(end: End, mean: tuple[float, ...], std: tuple[float, ...]) -> bool:
    """Whether this normalization, quantized as the input is, comes out as the pixel's own byte."""
    quantization = end.tensor.quantization
    if quantization is None:
        return True
    pixels = np.array([[0.0], [255.0]])
    stored = (pixels - np.array(mean)) / np.array(std) / quantization.scale + quantization.zero_point
    lowest = float(np.iinfo(end.tensor.dtype).min)
    return bool(np.abs(stored - lowest - pixels).max() <= _UNUSUAL_STEPS)


def _stated(end: End) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and std of the metadata, where it states both."""
    said = end.metadata
    if said is None or not said.mean or not said.std or 0.0 in said.std:
        return None, None
    if not np.isfinite((*said.mean, *said.std)).all():
        return None, None
    return said.mean, said.std


def _by_range(end: End) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Where the metadata only says that pixels become -1 to 1, say."""
    if end.metadata is None or not end.metadata.low or len(end.metadata.low) != len(end.metadata.high):
        return None, None
    low, high = np.array(end.metadata.low), np.array(end.metadata.high)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        return None, None
    std = 255.0 / (high - low)
    return tuple((-low * std).tolist()), tuple(std.tolist())


def _row(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


# --- sound --------------------------------------------------------------------------------------------------------


def _features_of(end: End) -> Features | None:
    """What of sound an input of this shape takes; None: it does not look like sound."""
    known = _KEYWORD_FEATURES.get(end.sizes)
    if known is not None:
        return known
    return "waveform" if len(end.sizes) == 1 and end.sizes[0] >= _SHORTEST_SOUND else None


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of the sound before its window is worked out."""

    features: Features
    rate_hz: int
    guessed_rate: bool


def _sound(end: End, said: Said, notes: list[str]) -> AudioInput:
    told = _told(end, said)
    spec = _waveform(end, told) if told.features == "waveform" else _frames(end, told)
    if said.window is not None:
        spec = replace(spec, window=said.window, stride=max(1, said.window // 2), context=0)
    mean, std = _stated(end)
    spec = replace(spec, mean=mean, std=std)
    rate = f"{spec.sample_rate_hz} Hz" + (", guessed; --sample-rate changes that" if told.guessed_rate else "")
    how = "stated" if said.features else "guessed from its shape"
    notes.append(
        f"input {how}: {spec.features} of {spec.window} samples ({spec.window / spec.sample_rate_hz:.3g} s) "
        f"of mono sound at {rate} ({end.tensor.label})"
    )
    return spec


def _told(end: End, said: Said) -> _Told:
    stated = said.sample_rate_hz or (end.metadata.sample_rate_hz if end.metadata else None)
    values = end.sizes[0] if len(end.sizes) == 1 else 0
    return _Told(said.features or _features_of(end) or "waveform", stated or _rate_hz(values), stated is None)


def _rate_hz(values: int) -> int:
    if values in _RATES_HZ:
        return _RATES_HZ[values]
    fitting = [rate_hz for rate_hz in (16_000, 44_100, 22_050) if values and values % rate_hz == 0]
    return fitting[0] if fitting else 16_000


def _waveform(end: End, told: _Told) -> AudioInput:
    values = end.sizes[0] if len(end.sizes) == 1 else 1
    context = _VOICE_CONTEXT.get(values, 0)
    window = values - context
    whole = end.tensor.dtype.kind == "i" and end.tensor.quantization is None
    return AudioInput(
        sample_rate_hz=told.rate_hz,
        window=window,
        stride=window if context else max(1, window // 2),
        high_hz=min(_USUAL_BAND_HZ[1], told.rate_hz / 2),
        amplitude="int16" if whole else "unit",
        context=context,
    )


def _frames(end: End, told: _Told) -> AudioInput:
    """As many frames, of as many bins, as the input holds; frames of 30 ms, 20 ms apart."""
    frames, bins = end.sizes if len(end.sizes) == 2 else (49, end.sizes[0] // 49 if end.sizes else 1)
    frame, hop = told.rate_hz * 30 // 1000, told.rate_hz * 20 // 1000
    fft = 2 * (bins - 1) if told.features == "spectrogram" else 1 << (frame - 1).bit_length()
    frame = min(frame, fft)
    window = max(told.rate_hz if frames == 49 else 0, frame + (frames - 1) * hop)
    low_hz, high_hz = _MICRO_BAND_HZ if told.features == "micro_frontend" else _USUAL_BAND_HZ
    return AudioInput(
        sample_rate_hz=told.rate_hz,
        window=window,
        stride=max(1, window // 2),
        features=told.features,
        frame=frame,
        hop=hop,
        fft=fft,
        bins=bins,
        # MLPerf Tiny divides by the largest sample (training/keyword_spotting/get_dataset.py)
        amplitude="peak" if told.features == "mfcc" else "unit",
        low_hz=low_hz,
        high_hz=min(high_hz, told.rate_hz / 2),
    )
