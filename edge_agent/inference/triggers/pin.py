"""A GPIO line that is switched on for a while, on a thread of its own. The line itself is `gpio`."""

from collections.abc import Callable
from threading import Event, Thread

from edge_agent.clock import Clock
from edge_agent.config.sinks import Gpio
from edge_agent.errors import TriggerError
from edge_agent.inference.triggers.gpio import Line

_CLOSE_S = 2.0
Tell = Callable[[str | None, str | None], None]  # problem and hint; None: it works


class Pin:
    """The line is requested at once, so that it is off from the beginning, and at each firing until it can be had.

    Fired while it is on, it stays on for the whole time again.
    """

    def __init__(self, gpio: Gpio, open_line: Callable[[Gpio], Line], clock: Clock, tell: Tell) -> None:
        self._gpio = gpio
        self._open_line = open_line
        self._clock = clock
        self._tell = tell
        self._wake = Event()
        self._closed = Event()
        self._thread = Thread(target=self._run, name=f"gpio-{gpio.line}", daemon=True)
        self._thread.start()

    def fire(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._closed.set()
        self._wake.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        line = self._opened(None)
        while self._wake.wait() and not self._closed.is_set():
            self._wake.clear()
            line = self._opened(line)
            if line is not None:
                self._switch_on(line)
        if line is not None:
            try:
                line.close()
            except TriggerError as error:
                self._tell(str(error), error.hint)

    def _opened(self, line: Line | None) -> Line | None:
        if line is not None:
            return line
        try:
            return self._open_line(self._gpio)
        except TriggerError as error:
            self._tell(str(error), error.hint)
            return None

    def _switch_on(self, line: Line) -> None:
        try:
            line.switch(on=True)
            while self._clock.wait(self._wake, self._gpio.on_s) and not self._closed.is_set():
                self._wake.clear()
            line.switch(on=False)
        except TriggerError as error:
            self._tell(str(error), error.hint)
        else:
            self._tell(None, None)
