"""A sensor that Linux drives itself (Industrial I/O), read from sysfs at the pace of the source.

The kernel's Documentation/ABI/testing/sysfs-bus-iio: `in_accel_x_raw` is a raw value, and (raw + offset) x scale has
the unit that the ABI gives its type, whatever the chip: accel m/s^2, anglvel rad/s, magn Gauss, temp milli degrees
Celsius, humidityrelative milli percent, pressure kilopascal, voltage millivolts, current milliamps, illuminance lux.
`in_temp_input` has been worked out by the driver. Nothing is converted here: a model is trained on these units.
"""

import difflib
import errno
import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.row_sources import IioSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Sample, Unusable, Wanted
from edge_agent.inference.sources.row_options import RawRow, RowReader, check_columns
from edge_agent.transform.rows import bare_name, parse_number

_CHANNEL = re.compile(r"in_(?P<name>.+)_(?P<kind>raw|input)")
# A reading that fails now and may work the next time, as of a DHT11 every few seconds: a missing value.
_PASSING = {errno.EAGAIN, errno.EIO, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EINVAL, errno.ENODATA}
_MAX_PASSING = 10  # rows in a row without a single value


class IioDevice:
    """One row of all channels that are wanted, each time it is asked. A channel's name is what stands between in_ and
    _raw: `accel_x`.
    """

    def __init__(self, config: IioSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        self._number = 0
        self._without = 0  # rows in a row that had no value
        self._reader = RowReader(config)

    def __enter__(self) -> Self:
        directory = _find(self._config.root, self._config.device)
        self._channels = _channels(directory)
        if not self._channels:
            raise SourceError(
                f"{self._config.device} ({directory}) has no channel that can be read by itself (in_*_raw, in_*_input)",
                hint="it may only give values through its buffer, or be an output",
            )
        self._number = self._without = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channels = {}

    def take(self, wanted: Wanted) -> Sample | Unusable:
        self._number += 1
        device = self._config.device
        columns = self._config.columns or wanted.channels
        check_columns(columns, self._channels, device)
        captured_s, time_s = self._clock.now_s(), self._clock.monotonic_s()
        # Only what is asked for is read: each channel costs a transfer on a slow bus.
        asked = {bare_name(column) for column in columns} or set(self._channels)
        cells = {name: self._value(channel) for name, channel in self._channels.items() if name in asked}
        self._without = 0 if any(value is not None for value in cells.values()) else self._without + 1
        if self._without >= _MAX_PASSING:
            raise SourceError(
                f"{device} could not be read {self._without} times in a row",
                hint="check the wiring of the sensor; `dmesg` may say more",
            )
        row = RawRow(f"{device}:{self._number}", captured_s, cells, time_s, after_gap=self._number == 1)
        return self._reader.read(row, wanted)

    def _value(self, channel: "_Channel") -> float | None:
        try:
            return channel.read()
        except OSError as error:
            if error.errno in _PASSING:
                return None
            device = self._config.device
            if error.errno == errno.EBUSY:
                hint = "its buffer is in use by another program, and then the channels cannot be read one by one"
            else:
                hint = "is it plugged in, and its driver loaded?"
            raise SourceError(f"{device} cannot be read: {error.strerror or error}", hint=hint) from error


@dataclass(frozen=True, slots=True)
class _Channel:
    path: Path
    offset: float = 0.0
    scale: float = 1.0

    def read(self) -> float | None:
        value = parse_number(self.path.read_text(encoding="ascii", errors="replace").strip())
        return None if value is None else (value + self.offset) * self.scale


def _find(root: Path, device: str) -> Path:
    """The directory of a device by its own name, the one its driver gives it, or its label."""
    found: dict[Path, set[str]] = {}
    try:
        for directory in sorted(root.iterdir()):
            if directory.name.startswith("iio:device"):
                found[directory] = {directory.name, _text(directory / "name"), _text(directory / "label")} - {""}
    except OSError as error:
        raise SourceError(
            f"there are no IIO devices here: {root}: {error.strerror or error}",
            hint="load the sensor's driver, on a Pi by a dtoverlay= line in /boot/firmware/config.txt",
        ) from error
    matching = [directory for directory, names in found.items() if device in names]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise SourceError(
            f"{len(matching)} IIO devices are called {device}: {', '.join(each.name for each in matching)}",
            hint=f'name one of them: device = "{matching[0].name}"',
        )
    there = [", ".join(sorted(names)) for names in found.values()]
    near = difflib.get_close_matches(device, {name for names in found.values() for name in names}, n=1, cutoff=0.5)
    raise SourceError(
        f"there is no IIO device {device}{f'; did you mean {near[0]}?' if near else ''} "
        f"Found: {'; '.join(there) or 'none'}",
        hint="is it plugged in, and its driver loaded?",
    )


def _channels(directory: Path) -> dict[str, _Channel]:
    """Every channel that can be read by itself. Where a driver gives both, the value it has worked out comes first."""
    try:
        files = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise SourceError(f"{directory}: {error.strerror or error}", hint="is it plugged in?") from error
    channels: dict[str, _Channel] = {}
    for match in filter(None, map(_CHANNEL.fullmatch, files)):  # _input sorts before _raw
        name, path = match["name"], directory / match[0]
        if name in channels or name == "rot_quaternion":  # four values at once
            continue
        if match["kind"] == "input":
            channels[name] = _Channel(path)
        else:
            offset, scale = _shared(directory, name, "offset"), _shared(directory, name, "scale")
            channels[name] = _Channel(path, 0.0 if offset is None else offset, 1.0 if scale is None else scale)
    return channels


def _shared(directory: Path, channel: str, what: str) -> float | None:
    """A channel's own attribute, or that of all of its kind: in_voltage0_scale, in_voltage-voltage_scale,
    in_accel_peak_scale, in_accel_scale, in_scale, scale.
    """
    kind = re.match(r"[a-z]*", channel)
    assert kind is not None, "it matches nothing at the worst"
    without_numbers = re.sub(r"\d+", "", channel)
    modifier = channel.rpartition("_")[2]
    names = (f"in_{channel}_", f"in_{without_numbers}_", f"in_{kind[0]}_{modifier}_", f"in_{kind[0]}_", "in_", "")
    return next(
        (value for name in names if (value := parse_number(_text(directory / f"{name}{what}"))) is not None), None
    )


def _text(path: Path) -> str:
    """What a small file says; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
