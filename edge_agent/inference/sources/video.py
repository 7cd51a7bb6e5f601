"""A video file as a source. Reading it is left to `libav`, pacing to `capture`."""

from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.sources import VideoSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources.libav import Damage, Reader, Shot
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.transform.picture import View


class Video:
    """Every n-th picture, named by its number in the file (from 0). What is damaged is told, and read past."""

    def __init__(self, config: VideoSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._reader: Reader | None = None
        self._thinning = Thinning(clock)
        self._given = 0  # pictures of this pass

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def take(self, wanted: Wanted) -> Frame | Unusable | None:  # a picture has no columns
        found = self._next()
        if isinstance(found, Shot):
            self._given += 1
            return Frame(str(found.number), self._clock.now_s(), found.picture, View(found.rotate_deg))
        if isinstance(found, Damage):
            return Unusable(str(found.number), f"{self._config.path.name}, picture {found.number}: {found.detail}")
        if not self._given:
            raise SourceError(
                f"{self._config.path} holds no picture that can be decoded", hint="it may be cut off; copy it again"
            )
        if not self._config.repeat:
            return None
        self._close()
        self._open()
        return self.take(wanted)

    def _next(self) -> Shot | Damage | None:
        assert self._reader is not None, "a source is entered before anything is taken from it"
        found = self._reader.take(self._thinning)
        while isinstance(found, Nothing):
            found = self._reader.take(self._thinning)
        return found

    def _open(self) -> None:
        path = self._config.path
        self._reader = Reader(
            str(path),
            name=str(path),
            hint="check `path`; the service sees nothing below /home",
        )
        self._thinning = Thinning(self._clock, every_n=self._config.every_n)
        self._given = 0

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
