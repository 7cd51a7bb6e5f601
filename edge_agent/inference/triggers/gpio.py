"""A line of a GPIO chip, by Linux's character device: libgpiod 2 (extra `gpio`). The only place that imports gpiod."""

from typing import Any, Protocol

from edge_agent.config.sinks import Gpio
from edge_agent.errors import TriggerError


class Line(Protocol):
    """An output that is ours, off at first."""

    def switch(self, *, on: bool) -> None:
        """Raises:
        TriggerError: the chip is gone, say.
        """
        ...

    def close(self) -> None:
        """Off, and nobody's any more."""
        ...


def open_line(gpio: Gpio) -> Line:
    """Request the line as an output that is off.

    Raises:
        TriggerError: there is no gpiod, no such chip or line, or somebody else has it.
    """
    try:
        import gpiod
        from gpiod.line import Direction, Value
    except ImportError as error:
        raise TriggerError("GPIO needs gpiod", hint="pip install 'edge-deploy[gpio]'") from error
    settings = gpiod.LineSettings(direction=Direction.OUTPUT, active_low=gpio.active_low, output_value=Value.INACTIVE)
    name = f"line {gpio.line} of {gpio.chip}"
    try:
        request = gpiod.request_lines(gpio.chip, consumer="edge-agent", config={gpio.line: settings})
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TriggerError(
            f"{name}: {reason}",
            hint="`gpioinfo` lists chips and lines, and who has them; the agent's user must be in the group gpio",
        ) from error
    return _GpiodLine(request, gpio.line, name)


class _GpiodLine:
    def __init__(self, request: Any, line: int, name: str) -> None:
        self._request = request
        self._line = line
        self._name = name

    def switch(self, *, on: bool) -> None:
        from gpiod.line import Value

        try:
            self._request.set_value(self._line, Value.ACTIVE if on else Value.INACTIVE)
        except OSError as error:
            raise TriggerError(f"{self._name}: {error.strerror or error}") from error

    def close(self) -> None:
        try:
            self.switch(on=False)
        finally:
            self._request.release()
