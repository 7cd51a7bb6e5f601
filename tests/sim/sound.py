"""Sound that tests make up, and the WAV files that hold it."""

import struct
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def tone(hz: float, rate_hz: int, *, seconds: float = 1.0, loud: float = 0.5) -> Samples:
    place_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return (loud * np.sin(2 * np.pi * hz * place_s)).astype(np.float32)


def counted(count: int, begin: int = 0) -> Samples:
    """Samples that say which they are: n / 32768, as int16 stores them."""
    return (np.arange(begin, begin + count) / 32768).astype(np.float32)


def write_wav(path: Path, samples: Samples, rate_hz: int = 16_000) -> Path:
    """16 bits, mono [n] or with channels [n, channels]; by the standard library, so not by the reader's own ideas."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.rint(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())
    return path


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def wav_format(
    encoding: int = 1, *, bits: int = 16, channels: int = 1, rate_hz: int = 16_000, step: int | None = None
) -> tuple[bytes, bytes]:
    step = channels * bits // 8 if step is None else step
    return b"fmt ", struct.pack("<HHIIHH", encoding, channels, rate_hz, rate_hz * step % 2**32, step, bits)
