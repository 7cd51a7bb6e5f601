"""A microphone as a source, by ALSA's `arecord`: a child process that writes samples to a pipe. No library is needed.

Looking again for a device that is gone is left to `capture`; another sample rate than the model's to `inference.sound`.
"""

import os
import re
import select
import subprocess
from collections import deque
from types import TracebackType
from typing import IO, Self

import numpy as np

from edge_agent.clock import Clock
from edge_agent.config.sources import MicrophoneSource
from edge_agent.errors import SourceError, describe_exit
from edge_agent.inference.frame import Sound, Unusable, Wanted

_BLOCK_S = 0.05
_BUFFER_US = 500_000  # in the driver: what may wait while this process does not read
_SILENT_S = 5.0  # without a single sample: the device hangs
_STALE_S = 1.0  # not read for so long: what waits is old
_PIPE_BYTES = 1 << 16
_END_S = 1.0  # for arecord to end when asked to
_ANY_RATE_HZ = 16_000  # while no model says another
_SCALE = np.float32(32_768)
_RATE = re.compile(r"rate is not accurate \(requested = \d+Hz, got = (\d+)Hz\)")  # arecord of alsa-utils, aplay.c
_OVERRUN = re.compile(r"overrun!!!(?: \(at least ([\d.]+) ms long\))?")
_HINTS = (
    ("busy", 'another program records from it: close it, or use device = "default"'),
    ("Permission denied", "add the user of the service to the group audio"),
    ("", "`arecord -L` lists the devices"),
)  # fmt: skip


class Microphone:
    """Blocks of 0.05 s at the model's rate, if the device can; each says its rate."""

    def __init__(self, config: MicrophoneSource, clock: Clock, *, silent_s: float = _SILENT_S) -> None:
        self._config = config
        self._clock = clock
        self._silent_s = silent_s
        self._recording: _Recording | None = None
        self._asked_hz = 0
        self._after_gap = True
        self._heard = 0  # samples since it was opened
        self._taken_s = 0.0  # monotonic

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def take(self, wanted: Wanted) -> Sound | Unusable:
        rate_hz = self._config.sample_rate_hz or wanted.sample_rate_hz or _ANY_RATE_HZ
        if self._recording is None or rate_hz != self._asked_hz:
            self._close()
            self._recording = _Recording(self._config, rate_hz, self._clock)
            self._asked_hz, self._after_gap = rate_hz, True
        elif self._clock.monotonic_s() - self._taken_s > _STALE_S:
            self._recording.discard()
            self._after_gap = True
        content = self._recording.read(self._silent_s)
        self._taken_s = self._clock.monotonic_s()
        if lost := self._recording.overrun():
            self._after_gap = True
            return Unusable("microphone", f"microphone {self._config.device}: {lost}")
        return self._sound(content, self._recording.rate_hz)

    def _sound(self, content: bytes, rate_hz: int) -> Sound:
        values = np.frombuffer(content, "<i2").astype(np.float32).reshape(-1, self._config.channels)
        samples = values.mean(axis=1) / _SCALE
        first, self._heard = self._heard, self._heard + len(samples)
        after_gap, self._after_gap = self._after_gap, False
        captured_s = self._clock.now_s() - len(samples) / rate_hz
        return Sound(f"microphone:{first}", captured_s, samples, rate_hz, after_gap=after_gap)

    def _close(self) -> None:
        if self._recording is not None:
            self._recording.close()
            self._recording = None


class _Recording:
    """One run of arecord: what it writes, and what it complains about."""

    def __init__(self, config: MicrophoneSource, rate_hz: int, clock: Clock) -> None:
        self.rate_hz = rate_hz
        self._device = config.device
        self._frame_bytes = 2 * config.channels
        self._clock = clock
        self._child, self._sound, self._complaints = _start(config, rate_hz)
        self._held = b""
        self._said = b""  # a line that has not come whole
        self._lost: list[str] = []
        self._lines: deque[str] = deque(maxlen=5)

    def read(self, silent_s: float) -> bytes:
        """The next block.

        Raises:
            SourceError: arecord has ended, or gives nothing for `silent_s`.
        """
        deadline_s = self._clock.monotonic_s() + silent_s
        while len(self._held) < self._block_bytes:
            left_s = max(0.0, deadline_s - self._clock.monotonic_s())
            ready = select.select([self._sound, self._complaints], [], [], left_s)[0]
            if self._complaints in ready:  # first: that its rate is another is told before the first sample
                self._listen()
            if self._sound in ready:
                content = self._sound.read(self._block_bytes)
                if not content:
                    raise self._ended()
                self._held += content
            if self._clock.monotonic_s() >= deadline_s or not ready:
                raise SourceError(
                    f"microphone {self._device} has given nothing for {silent_s:g} s", hint="unplug it and plug it in"
                )
        block, self._held = self._held[: self._block_bytes], self._held[self._block_bytes :]
        return block

    def discard(self) -> None:
        """Throw away what waits, but for the beginning of a sample that has not come whole."""
        gone_bytes = 0
        while gone_bytes < _PIPE_BYTES and select.select([self._sound], [], [], 0)[0]:
            content = self._sound.read(_PIPE_BYTES)
            if not content:
                break
            gone_bytes += len(content)
            self._held += content
            self._held = self._held[len(self._held) // self._frame_bytes * self._frame_bytes :]

    def overrun(self) -> str:
        """What has been lost since this was asked last; "" for nothing."""
        lost, self._lost = self._lost, []
        return "; ".join(lost)

    def close(self) -> None:
        self._sound.close()  # first: one that waits to write would not hear that it is to end
        self._child.terminate()
        self._reap()
        self._complaints.close()

    @property
    def _block_bytes(self) -> int:
        return max(1, round(self.rate_hz * _BLOCK_S)) * self._frame_bytes

    def _listen(self) -> None:
        """Take what it has said. At its end there is nothing, again and again, but then the sound is over too."""
        *lines, self._said = (self._said + self._complaints.read(_PIPE_BYTES)).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").strip()
            if rate := _RATE.search(text):
                self.rate_hz = int(rate[1])
            elif overrun := _OVERRUN.search(text):
                self._lost.append(f"at least {overrun[1] or '0'} ms of sound were lost (overrun)")
            elif text and not text.startswith("Recording "):
                self._lines.append(text.removeprefix("arecord: "))

    def _reap(self) -> int:
        """Wait for it to end, but not for ever."""
        try:
            return self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def _ended(self) -> SourceError:
        code = self._reap()
        self._said += b"\n"
        self._listen()
        detail = self._lines[-1] if self._lines else f"arecord ended with {describe_exit(code)}"
        hint = next(hint for word, hint in _HINTS if any(word in line for line in self._lines) or not word)
        return SourceError(f"microphone {self._device}: {detail}", hint=hint)


def _start(config: MicrophoneSource, rate_hz: int) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
    command = [
        "arecord", "-D", config.device, "-t", "raw", "-f", "S16_LE", "-r", str(rate_hz), "-c", str(config.channels),
        f"--buffer-time={_BUFFER_US}", f"--period-time={round(_BLOCK_S * 1e6)}",
    ]  # fmt: skip
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},  # what it says is read
            bufsize=0,
        )
    except FileNotFoundError as error:
        raise SourceError(
            "a microphone needs arecord, which is not installed", hint="sudo apt-get install alsa-utils"
        ) from error
    except OSError as error:
        raise SourceError(f"arecord cannot be started: {error.strerror or error}") from error
    assert child.stdout is not None, "asked for above"
    assert child.stderr is not None, "asked for above"
    return child, child.stdout, child.stderr
