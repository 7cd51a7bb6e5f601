"""A sensor on the I2C bus as a source of rows, by a small driver that somebody else has written (`docs/sources.md`).

The bus is opened, and closed, here; the only place that imports smbus2. What the chip's registers mean is the driver's.
"""

import errno
import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from edge_agent import plugins
from edge_agent.clock import Clock
from edge_agent.config.row_sources import I2cSource
from edge_agent.errors import PluginError, SourceError
from edge_agent.inference.frame import Sample, Unusable, Wanted
from edge_agent.inference.sources.row_options import RawRow, RowReader, check_columns

if TYPE_CHECKING:
    from smbus2 import SMBus

GROUP = "edge_deploy.i2c"
# What a driver raises whose chip answers other than it expects; whatever else it may raise is a fault of its own too.
_FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class I2cDriver(Protocol):
    """One chip that has been set up. One thread uses it.

    An OSError of the bus may come out of any of them: the bus and the chip are then opened again, a little later.
    """

    @property
    def channels(self) -> tuple[str, ...]:
        """What the values are called, as `accel_x`; the same as long as it is open."""
        ...

    def read(self) -> Sequence[float]:
        """One value of each channel, measured now. NaN: this one is missing."""
        ...

    def close(self) -> None:
        """Put the chip to rest. The bus is not the driver's to close."""
        ...


# What a driver's entry point, or "package.module:function", is called with: bus, address, options.
OpenDriver = Callable[["SMBus", int, Mapping[str, Any]], I2cDriver]


class I2cRows:
    """One row each time it is asked. A chip that does not answer is a source error, and set up again afterwards."""

    def __init__(self, config: I2cSource, clock: Clock, *, open_bus: "Callable[[int], SMBus] | None" = None) -> None:
        self._config = config
        self._clock = clock
        self._open_bus = open_bus or _open_bus
        self._bus: SMBus | None = None
        self._driver: I2cDriver | None = None
        self._number = 0
        self._reader = RowReader(config)

    def __enter__(self) -> Self:
        open_driver = _load(self._config.driver)
        self._bus = self._open_bus(self._config.bus)
        try:
            self._driver = open_driver(self._bus, self._config.address, self._config.options)
            _check(self._config.driver, self._driver)
        except OSError as error:
            self._close_bus()
            raise self._silent(error) from error
        except _FAULTS as error:
            self._close_bus()
            raise self._failed(error) from error
        self._number = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._driver is not None:
            with suppress(OSError, *_FAULTS):  # a chip that is gone needs no rest
                self._driver.close()
            self._driver = None
        self._close_bus()

    def take(self, wanted: Wanted) -> Sample | Unusable:
        assert self._driver is not None, "it is taken from while it is open"
        self._number += 1
        captured_s, time_s = self._clock.now_s(), self._clock.monotonic_s()
        try:
            channels, values = self._driver.channels, tuple(self._driver.read())
        except OSError as error:
            raise self._silent(error) from error
        except _FAULTS as error:
            raise self._failed(error) from error
        if len(values) != len(channels):
            raise SourceError(
                f"the driver {self._config.driver} gave {len(values)} values for {len(channels)} channels "
                f"({', '.join(channels)})",
                hint="its read() must give one for each of its channels",
            )
        check_columns(self._config.columns or wanted.channels, channels, f"the driver {self._config.driver}")
        name = f"i2c-{self._config.bus}:0x{self._config.address:02x}:{self._number}"
        cells = dict(zip(channels, values, strict=True))
        return self._reader.read(RawRow(name, captured_s, cells, time_s, after_gap=self._number == 1), wanted)

    def _close_bus(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _silent(self, error: OSError) -> SourceError:
        bus, address = self._config.bus, self._config.address
        return SourceError(
            f"the chip at 0x{address:02x} of I2C bus {bus} does not answer: {error.strerror or error}",
            hint=f"`i2cdetect -y {bus}` (apt package i2c-tools) shows which addresses answer; check address and wiring",
        )

    def _failed(self, error: Exception) -> SourceError:
        return SourceError(
            f"the I2C driver {self._config.driver} failed: {type(error).__name__}: {error}",
            hint="see that it is for this chip, and its options",
        )


def _check(name: str, driver: object) -> None:
    lacking = [part for part in ("channels", "read", "close") if not hasattr(driver, part)]
    if lacking:
        raise TypeError(f"it gave a {type(driver).__name__}, which has no {', '.join(lacking)} ({name})")


def _load(driver: str) -> OpenDriver:
    module, colon, function = driver.partition(":")
    if not colon:
        try:
            return plugins.load(GROUP, driver)
        except PluginError as error:
            raise SourceError(str(error), hint=error.hint) from error
    try:
        found: OpenDriver = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, SyntaxError, ValueError, *_FAULTS) as error:
        raise SourceError(
            f"the I2C driver {driver} cannot be imported: {type(error).__name__}: {error}",
            hint="its module must be installed in the agent's environment, or lie in a folder of its PYTHONPATH",
        ) from error
    if not callable(found):
        raise SourceError(f"the I2C driver {driver} is no function", hint="give PACKAGE.MODULE:FUNCTION")
    return found


def _open_bus(number: int) -> "SMBus":
    try:
        from smbus2 import SMBus
    except ImportError as error:
        raise SourceError("a sensor on the I2C bus needs smbus2", hint="pip install 'edge-deploy[i2c]'") from error
    try:
        return SMBus(number)
    except OSError as error:
        if error.errno == errno.EACCES:
            hint = "the user of the service must be in the group i2c"
        else:
            hint = "enable I2C: `sudo raspi-config nonint do_i2c 0`, or dtparam=i2c_arm=on in /boot/firmware/config.txt"
        raise SourceError(
            f"I2C bus {number} (/dev/i2c-{number}) cannot be opened: {error.strerror or error}", hint=hint
        ) from error
