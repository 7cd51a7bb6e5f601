"""libgpiod 2 without a chip: as much of its Python API as we use, with its manners.

A line that is taken is refused with EBUSY, a chip that is not there with ENOENT, and levels are those of the pin: with
`active_low` an active line is at 0. Installed as `gpiod` and `gpiod.line` by `install`.
"""

import enum
import errno
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Condition
from types import ModuleType, SimpleNamespace

import pytest


class Direction(enum.Enum):
    AS_IS = 1
    INPUT = 2
    OUTPUT = 3


class Value(enum.Enum):
    INACTIVE = 0
    ACTIVE = 1


@dataclass
class LineSettings:
    direction: Direction = Direction.AS_IS
    active_low: bool = False
    output_value: Value = Value.INACTIVE


class FakeChips:
    """What there is: chips by path. `levels` is every level a pin has had, in order, and None when it was let go."""

    def __init__(self, *paths: str) -> None:
        self.paths = set(paths)
        self.levels: list[int | None] = []
        self.requests = 0
        self.taken: set[tuple[str, int]] = set()
        self.broken = False
        self._changed = Condition()

    def wait_for(self, *levels: int | None) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.levels == list(levels), 20), self.levels

    def note(self, level: int | None) -> None:
        with self._changed:
            self.levels.append(level)
            self._changed.notify_all()

    def request_lines(self, path: str, *, consumer: str, config: Mapping[int, LineSettings]) -> "_Request":
        assert consumer
        if path not in self.paths:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        ((line, settings),) = config.items()
        if (path, line) in self.taken:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        assert settings.direction is Direction.OUTPUT, "else it cannot be set"
        self.taken.add((path, line))
        self.requests += 1
        request = _Request(self, path, line, settings.active_low)
        request.set_value(line, settings.output_value)
        return request

    def install(self, patch: pytest.MonkeyPatch) -> None:
        module = ModuleType("gpiod")
        line = ModuleType("gpiod.line")
        vars(line).update(Direction=Direction, Value=Value)
        vars(module).update(LineSettings=LineSettings, request_lines=self.request_lines, line=line)
        patch.setitem(sys.modules, "gpiod", module)
        patch.setitem(sys.modules, "gpiod.line", line)


class _Request:
    def __init__(self, chips: FakeChips, path: str, line: int, active_low: bool) -> None:  # noqa: FBT001
        self._chips = chips
        self._line = SimpleNamespace(key=(path, line), offset=line, active_low=active_low)
        self._released = False

    def set_value(self, line: int, value: Value) -> None:
        assert not self._released, "gpiod raises RequestReleasedError"
        assert line == self._line.offset, "not requested"
        if self._chips.broken:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self._chips.note(int((value is Value.ACTIVE) != self._line.active_low))

    def release(self) -> None:
        self._released = True
        self._chips.taken.discard(self._line.key)
        self._chips.note(None)
