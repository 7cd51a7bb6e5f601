"""A serial port as a source of rows: lines of numbers, as microcontrollers print them, or JSON.

The only place that imports pyserial, and only to set the port up: lines are cut by `lines`.
"""

from types import TracebackType
from typing import Any, Self

from edge_agent.clock import Clock
from edge_agent.config.row_sources import SerialSource
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Nothing, Sample, Unusable, Wanted
from edge_agent.inference.sources.json_rows import parse_line_row
from edge_agent.inference.sources.lines import Lines
from edge_agent.inference.sources.row_options import RawRow, RowReader

_LOOK_S = 0.5  # the longest wait for a line
_STALE_S = 2.0  # not read for so long, as without a model: what waits is old


class SerialLines:
    """A row a line. What stands before the first line end is thrown away: it may be half a line."""

    def __init__(self, config: SerialSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._port: Any = None
        self._lines: Lines | None = None
        self._begun = False  # the first line end is behind us
        self._after_gap = True
        self._number = 0
        self._waited_s = 0.0  # for a line
        self._taken_s = 0.0  # monotonic, when `take` was left last
        self._reader = RowReader(config)

    def __enter__(self) -> Self:
        self._port = _open(self._config)
        self._number = 0
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines = None
        self._port.close()

    def take(self, wanted: Wanted) -> Sample | Unusable | Nothing:
        if self._clock.monotonic_s() - self._taken_s > _STALE_S:
            self._port.reset_input_buffer()
            self._begin()
        try:
            return self._take(wanted)
        finally:
            self._taken_s = self._clock.monotonic_s()

    def _take(self, wanted: Wanted) -> Sample | Unusable | Nothing:
        line = b""
        while not line.strip():
            found = self._line()
            if found is None:
                return Nothing()
            line, self._begun = (found if self._begun else b""), True
        self._number += 1
        name = f"{self._config.device}:{self._number}"
        try:
            cells = parse_line_row(line, self._config.names)
        except FrameError as error:
            return Unusable(name, f"{name}: {error}")
        after_gap, self._after_gap = self._after_gap, False
        row = RawRow(name, self._clock.now_s(), cells, self._clock.monotonic_s(), after_gap)
        return self._reader.read(row, wanted)

    def _begin(self) -> None:
        self._lines = Lines(self._port.fileno(), self._clock)
        self._begun, self._after_gap, self._waited_s = False, True, 0.0
        self._taken_s = self._clock.monotonic_s()

    def _line(self) -> bytes | None:
        """The next line; None when there is none yet."""
        assert self._lines is not None, "it is taken from while it is open"
        device, timeout_s = self._config.device, self._config.timeout_s
        wait_s = min(_LOOK_S, timeout_s)
        try:
            line = self._lines.next(wait_s)
        except TimeoutError as error:
            self._waited_s += wait_s
            if self._waited_s < timeout_s:
                return None
            raise SourceError(
                f"{device} has given no line for {timeout_s:g} s",
                hint=f"check the wiring, and whether the device writes lines at {self._config.baud} baud",
            ) from error
        except OSError as error:
            raise _unplugged(device, error.strerror or str(error)) from error
        if line is None:
            raise _unplugged(device, "it has hung up")
        self._waited_s = 0.0
        return line


def _unplugged(device: str, why: str) -> SourceError:
    return SourceError(f"{device}: {why}", hint="is it plugged in?")


def _open(config: SerialSource) -> Any:
    try:
        import termios

        import serial
    except ImportError as error:
        raise SourceError("a serial port needs pyserial", hint="pip install 'edge-deploy[serial]'") from error
    try:
        # `exclusive`: two readers of one port would each get half of the lines.
        return serial.Serial(config.device, config.baud, timeout=0, exclusive=True)
    except (OSError, ValueError, termios.error) as error:  # SerialException is an OSError
        raise SourceError(f"{config.device} cannot be opened: {_why(error)}", hint=_hint(error)) from error


def _why(error: Exception) -> str:
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    return getattr(cause, "strerror", None) or str(error)


def _hint(error: Exception) -> str:
    match getattr(error, "errno", None):
        case 13:  # EACCES
            return "the user of the service must be in the group dialout"
        case 2 | 6 | 19:  # ENOENT, ENXIO, ENODEV
            return "is it plugged in? /dev/serial/by-id names each device for good"
        case 11 | 16:  # EAGAIN of the lock, EBUSY
            return "another program has it open: close that, or stop the login console of the port (raspi-config)"
    return "check `device` and `baud`"
