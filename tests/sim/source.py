"""A source that gives what the test says, when the test says it."""

from collections.abc import Iterable
from threading import Semaphore
from types import TracebackType
from typing import Self

from PIL import Image

from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Sample, Sound, Unusable, Wanted

Item = Frame | Sample | Sound | Unusable | SourceError


class SimSource:
    """Gives `script` in order: pictures by their names, items as they are, errors raised; then None.

    With a gate each item but the None waits for one release of it.
    """

    def __init__(self, script: Iterable[Item | str], gate: Semaphore | None = None) -> None:
        self._script = [picture(item) if isinstance(item, str) else item for item in script]
        self._gate = gate
        self.taken = 0
        self.opened = 0
        self.asked_for: list[tuple[str, ...]] = []  # the channels of each call

    def take(self, wanted: Wanted) -> Frame | Sample | Sound | Unusable | None:
        if self.taken == len(self._script):
            return None
        if self._gate is not None:
            self._gate.acquire()
        self.asked_for.append(wanted.channels)
        item = self._script[self.taken]
        self.taken += 1
        if isinstance(item, SourceError):
            raise item
        return item

    def __enter__(self) -> Self:
        self.opened += 1
        self.taken = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def picture(name: str, *, captured_s: float = 1_750_000_000.0) -> Frame:
    """A small picture, the darkness of which says nothing."""
    return Frame(name, captured_s, Image.new("L", (8, 8), 100))


def sample(number: int, *values: float, channels: tuple[str, ...] = ()) -> Sample:
    return Sample(str(number), 1_750_000_000.0 + number, channels, values)
