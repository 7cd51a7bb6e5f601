"""A V4L2 camera that gives what the test says: the port behind `camera`, without a kernel."""

from collections import deque
from collections.abc import Iterable

from edge_agent.errors import SourceError
from edge_agent.inference.sources.v4l2 import Asked, Grabbed, PixelFormat
from tests.sim.clock import FakeClock


class SimCamera:
    """Each grab gives the next of `script`: bytes, None for a wait in vain, an error; then it has been unplugged."""

    def __init__(
        self, pixel_format: PixelFormat, script: Iterable[bytes | Grabbed | SourceError | None], clock: FakeClock
    ) -> None:
        self.pixel_format = pixel_format
        self._script = deque(script)
        self._clock = clock
        self.asked: list[tuple[str, Asked]] = []
        self.open = False

    def __call__(self, path: str, asked: Asked) -> "SimCamera":
        self.asked.append((path, asked))
        self.open = True
        return self

    def grab(self, timeout_s: float) -> Grabbed | None:
        assert self.open
        item = self._script.popleft() if self._script else SourceError("the camera has been unplugged")
        if item is None:
            self._clock.advance(timeout_s)
            return None
        if isinstance(item, SourceError):
            raise item
        return item if isinstance(item, Grabbed) else Grabbed(item, self._clock.monotonic_s())

    def close(self) -> None:
        self.open = False
