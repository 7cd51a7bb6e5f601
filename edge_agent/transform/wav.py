"""WAV files: PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, any number of channels averaged to one.

Read block by block, and never more than the file really holds, whatever its header claims. The `wave` module of the
standard library reads neither floats nor their header (WAVE_FORMAT_EXTENSIBLE), so none of it is used. Format:
Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", and mmreg.h.
"""

import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import FrameError, counted

Samples = NDArray[np.float32]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_OTHERS = {2: "MS ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 85: "MP3"}
_TYPES = {
    (_PCM, 8): "u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "",
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}
_MAX_CHUNKS = 1_000  # of a file that is nothing but chunk headers
_MAX_CHANNELS = 64
_MAX_RATE_HZ = 768_000
_MAX_SAMPLES = 50_000_000  # that `read_wav` holds in memory: 200 MB, 52 minutes at 16 kHz
_AT_ONCE = 65_536
# Whoever cannot go back to the header writes a size that says "till the end": 0 - 1 (ffmpeg), about 2^31 (arecord, sox)
_TILL_THE_END = 0x7FFF_0000


@dataclass(frozen=True, slots=True)
class _Format:
    encoding: int
    bits: int
    channels: int
    rate_hz: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


class WavReader:
    """Opened by entering it. `rate_hz` and `length` (samples of one channel) are known from then on.

    Raises:
        FrameError: it cannot be read, or is no WAV file of a kind that is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name
        self.rate_hz = 0
        self.length = 0
        self.missing = 0  # samples that the header promises and the file does not hold
        self._read = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        if self._path.exists() and not self._path.is_file():  # a pipe nobody writes to would never open
            raise FrameError(f"{self.name} is no file")
        with ExitStack() as stack:
            try:
                file = stack.enter_context(self._path.open("rb"))
            except OSError as error:
                raise FrameError(f"{self.name}: {error.strerror or error}") from error
            self._format = self._find_sound(file)
            self._file = file
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def channels(self) -> int:
        """That the file has; known as `rate_hz` is."""
        return self._format.channels

    def read(self, count: int) -> Samples:
        """The next `count` samples, mono, -1..1 (floats: as they are); fewer, at last none, at the end.

        Raises:
            FrameError: the file cannot be read any more, or holds values that are not finite.
        """
        assert self._file is not None, "enter it first"
        count = min(count, self.length - self._read)
        try:
            content = self._file.read(count * self._format.frame_bytes)
        except OSError as error:
            raise FrameError(f"{self.name}: {error.strerror or error}") from error
        count = len(content) // self._format.frame_bytes
        samples = _decode(content[: count * self._format.frame_bytes], self._format)
        if not np.isfinite(samples).all():
            where = self._read + int(np.argmin(np.isfinite(samples)))
            raise FrameError(f"{self.name}: sample {where} is not a finite number", hint="write the file anew")
        self._read += count
        return samples

    def _find_sound(self, file: IO[bytes]) -> _Format:
        """Go to the first byte of sound."""
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            found = "an empty file" if not head else f"one that begins with {head[:12]!r}"
            raise FrameError(f"{self.name}: a WAV file is expected, found {found}", hint="convert it to WAV")
        form: _Format | None = None
        place = 12
        for _ in range(_MAX_CHUNKS):
            file.seek(place)
            header = file.read(8)
            if len(header) < 8:
                break
            name, claimed = header[:4], int.from_bytes(header[4:], "little")
            if name == b"fmt ":
                form = self._parse_format(file.read(min(claimed, 40)))
            elif name == b"data":
                if form is None:
                    raise FrameError(f"{self.name}: damaged: its sound comes before its format")
                self._measure(form, claimed, size - place - 8)
                return form
            place += 8 + claimed + claimed % 2
        raise FrameError(f"{self.name}: damaged: it has no {'sound' if form else 'format'}")

    def _measure(self, form: _Format, claimed: int, there: int) -> None:
        self.rate_hz = form.rate_hz
        self.length = min(claimed, there) // form.frame_bytes
        promised = self.length if claimed >= _TILL_THE_END else claimed // form.frame_bytes
        self.missing = promised - self.length
        if not self.length:
            raise FrameError(f"{self.name}: it holds no sound")

    def _parse_format(self, content: bytes) -> _Format:
        if len(content) < 16:
            raise FrameError(f"{self.name}: damaged: its format has {len(content)} bytes, at least 16 are expected")
        encoding, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", content)
        if encoding == _EXTENSIBLE and len(content) >= 26:
            encoding = int.from_bytes(content[24:26], "little")  # the GUID of the encoding begins with its number
        form = _Format(encoding, bits, channels, rate_hz)
        if (encoding, bits) not in _TYPES:
            what = _OTHERS.get(encoding, {_PCM: "PCM", _FLOAT: "float"}.get(encoding, f"encoding {encoding}"))
            raise FrameError(
                f"{self.name}: PCM of 8, 16, 24 or 32 bits or floats of 32 or 64 are read; found {what} of {bits} bits",
                hint="convert it: ffmpeg -i FILE -c:a pcm_s16le OUT.wav",
            )
        if not 1 <= channels <= _MAX_CHANNELS or not 1 <= rate_hz <= _MAX_RATE_HZ or frame_bytes != form.frame_bytes:
            raise FrameError(
                f"{self.name}: damaged: 1 to {_MAX_CHANNELS} channels of 1 to {_MAX_RATE_HZ} Hz are expected; found"
                f" {channels} channels of {rate_hz} Hz in steps of {frame_bytes} bytes"
            )
        return form


def read_wav(path: Path, say: Callable[[str], None] = lambda _: None) -> tuple[Samples, int]:
    """All samples of a file, mono, and their rate in Hz. `say` is told that several channels have become one.

    Raises:
        FrameError: it cannot be read, is damaged or cut off, or too long to be held in memory.
    """
    with WavReader(path) as reader:
        if reader.missing:
            raise FrameError(f"{reader.name}: damaged: {counted(reader.missing, 'sample')} missing at its end")
        if reader.length > _MAX_SAMPLES:
            raise FrameError(f"{reader.name} has {reader.length} samples; up to {_MAX_SAMPLES} are read at once")
        blocks = []
        while len(block := reader.read(_AT_ONCE)):
            blocks.append(block)
        if reader.channels > 1:
            say(f"sound of {reader.channels} channels is averaged to one")
        return np.concatenate(blocks), reader.rate_hz


def format_wav(samples: Samples, rate_hz: int) -> bytes:
    """The bytes of a WAV file of these mono samples, as floats of 32 bits: `read_wav` gives back the very same."""
    sound = np.ascontiguousarray(samples, "<f4").tobytes()
    form = struct.pack("<HHIIHH", _FLOAT, 1, rate_hz, rate_hz * 4, 4, 32)
    chunks = b"".join(
        (b"fmt ", len(form).to_bytes(4, "little"), form, b"data", len(sound).to_bytes(4, "little"), sound)
    )
    return b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WAVE" + chunks


def _decode(content: bytes, form: _Format) -> Samples:
    if form.bits == 24:
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0] / 2.0**31
    else:
        values = np.frombuffer(content, _TYPES[form.encoding, form.bits]).astype(np.float64)
        if form.bits == 8:
            values = (values - 128.0) / 128.0
        elif form.encoding == _PCM:
            values /= 2.0 ** (form.bits - 1)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by whoever reads it
        mono: Samples = values.reshape(-1, form.channels).mean(axis=1).astype(np.float32)
    return mono
