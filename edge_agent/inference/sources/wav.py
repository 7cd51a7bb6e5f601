"""WAV files as a source: one, or all of a folder in the order of their names, told by content, not by extension.

What a WAV file is, is left to `transform.wav`; another sample rate than the model's to `inference.sound`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.sources import WavSource
from edge_agent.errors import FrameError, SourceError, counted
from edge_agent.inference.frame import Sound, Unusable, Wanted
from edge_agent.transform.wav import WavReader

_BLOCK_S = 0.1
_NEVER = Event()


class WavFiles:
    """Gives blocks of 0.1 s. A file begins after a gap: no window spans two files."""

    def __init__(self, config: WavSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._paths: Iterator[Path] = iter(())
        self._listed = 0
        self._several = False
        self._usable = 0  # files of this pass
        self._opened = ExitStack()
        self._reader: WavReader | None = None
        self._read = 0  # samples of the file
        self._due_s: float | None = None  # when the next sample would be heard, by the monotonic clock

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def take(self, wanted: Wanted) -> Sound | Unusable | None:
        if self._reader is None:
            path = next(self._paths, None)
            if path is None:
                return self._again(wanted)
            self._read = 0
            try:
                self._reader = self._opened.enter_context(WavReader(path))
            except FrameError as error:
                return self._unusable(path.name, error)
        try:
            return self._block(self._reader, wanted)
        except FrameError as error:
            name = self._reader.name
            self._close()
            return self._unusable(name, error)

    def _block(self, reader: WavReader, wanted: Wanted) -> Sound | Unusable:
        if self._read == reader.length:
            self._close()
            return Unusable(
                reader.name, f"{reader.name} is cut off: {counted(reader.missing, 'sample')} missing at its end"
            )
        if wanted.sample_rate_hz not in (None, reader.rate_hz) and not self._config.resample:
            raise FrameError(
                f"{reader.name} has {reader.rate_hz} Hz; the model takes {wanted.sample_rate_hz} Hz",
                hint="set resample = true, or convert the file",
            )
        samples = reader.read(max(1, round(reader.rate_hz * _BLOCK_S)))
        if not len(samples):
            raise FrameError(f"{reader.name} has become shorter while it was read")
        first, self._read = self._read, self._read + len(samples)
        self._usable += first == 0
        length_s = len(samples) / reader.rate_hz
        if self._config.realtime:
            self._wait(length_s)
        ends = self._read == reader.length
        if ends and not reader.missing:
            self._close()
        return Sound(
            f"{reader.name}:{first}", self._clock.now_s() - length_s, samples, reader.rate_hz,
            after_gap=first == 0, ends=ends,
        )  # fmt: skip

    def _wait(self, length_s: float) -> None:
        """Until the whole block would have been heard; what is late does not make the rest late."""
        now_s = self._clock.monotonic_s()
        due_s = (now_s if self._due_s is None else self._due_s) + length_s
        if due_s > now_s:
            self._clock.wait(_NEVER, due_s - now_s)
        self._due_s = max(due_s, now_s)

    def _again(self, wanted: Wanted) -> Sound | Unusable | None:
        if not self._config.repeat:
            return None
        if not self._usable:  # else a folder of text files would be read over and over without a pause
            raise SourceError(
                f"{self._config.path}: none of its files ({self._listed}) is a WAV file that can be used",
                hint="put WAV files into it",
            )
        self._begin()
        return self.take(wanted)

    def _unusable(self, name: str, error: FrameError) -> Unusable:
        if not self._several:
            raise SourceError(str(error), hint=error.hint or "check `path`") from error
        return Unusable(name, str(error))

    def _begin(self) -> None:
        path = self._config.path
        self._usable = 0
        self._several = path.is_dir()
        try:
            inside = sorted(path.iterdir()) if self._several else [path]
        except OSError as error:
            raise SourceError(
                f"{path}: {error.strerror or error}",
                hint="check `path`; the service sees nothing below /home",
            ) from error
        paths = [one for one in inside if not self._several or (one.is_file() and not one.name.startswith("."))]
        if not paths:
            raise SourceError(f"{path} is empty", hint="put WAV files into it")
        self._paths = iter(paths)
        self._listed = len(paths)

    def _close(self) -> None:
        self._opened.close()
        self._reader = None
