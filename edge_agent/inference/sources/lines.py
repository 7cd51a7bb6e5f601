"""Lines of a file descriptor as they come, without waiting for long.

Which descriptor, and what its end means, is left to `stdin_json` and `serial_lines`; what a line says, to `json_rows`.
"""

import os
import select

from edge_agent.clock import Clock

MAX_LINE_BYTES = 64_000  # a longer one is no row; it is cut, and told as unusable
_READ_BYTES = 65_536


class Lines:
    """Cuts what a descriptor gives into lines. Closing it is left to whoever opened it."""

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._held = bytearray()
        self._searched = 0  # of what is held, without a line end
        self._cutting = False  # the rest of a line that was too long is thrown away
        self._over = False

    def next(self, timeout_s: float) -> bytes | None:
        """The next line without its end, cut to `MAX_LINE_BYTES` + 1; None at the end of the file.

        Raises:
            TimeoutError: no whole line has come within `timeout_s`; what has come of it is kept.
            OSError: the device is gone, say.
        """
        deadline_s = self._clock.monotonic_s() + timeout_s
        while True:
            line = self._cut()
            if line is not None:
                return line
            if self._over:
                return None
            left_s = max(0.0, deadline_s - self._clock.monotonic_s())
            if not select.select([self._descriptor], [], [], left_s)[0]:
                raise TimeoutError
            self._read()

    def _read(self) -> None:
        try:
            content = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        self._held += content
        if not content:
            self._over = True
            if self._held:  # a last line without an end is one too
                self._held += b"\n"

    def _cut(self) -> bytes | None:
        """The first line of what is held, if it is whole or already too long."""
        while True:
            end = self._held.find(b"\n", self._searched)
            if self._cutting:
                if end < 0:
                    self._drop(len(self._held))
                    return None
                self._drop(end + 1)
                self._cutting = False
                continue
            if end < 0 and len(self._held) <= MAX_LINE_BYTES:
                self._searched = len(self._held)
                return None
            line = bytes(self._held[: min(end if end >= 0 else MAX_LINE_BYTES + 1, MAX_LINE_BYTES + 1)])
            self._cutting = end < 0
            self._drop(end + 1 if end >= 0 else len(line))
            return line.removesuffix(b"\r")

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._searched = 0
