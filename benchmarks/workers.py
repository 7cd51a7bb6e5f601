"""Real worker processes, measured from outside: what the benchmarks of speed and memory share."""

import time
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from edge_agent.config.sources import SourceConfig
from edge_agent.inference.ipc import Load, Order, Result, Serving, StageStart, Start, Word
from edge_agent.inference.process import WorkerProcess, read_pss_bytes

DIGESTS = ("0" * 64, "1" * 64)
_PATIENCE_S = 60.0


class MeasuredWorker:
    """One pipeline's worker that serves a release from the start; the time of each result is kept."""

    def __init__(self, source: SourceConfig, release: Path, *, threads: int = 1) -> None:
        self._results: SimpleQueue[tuple[float, Result]] = SimpleQueue()
        self._serving: SimpleQueue[Serving] = SimpleQueue()
        stage = StageStart(str(release), DIGESTS[0], threads)
        self._process = WorkerProcess(Start("bench", source, {"main": stage}), self._hear, lambda _: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    @property
    def pss_bytes(self) -> int:
        size = read_pss_bytes(self._process.pid)
        assert size is not None, "this needs Linux"
        return size

    def take(self, count: int) -> list[tuple[float, Result]]:
        """The next results, each with the time it arrived, s."""
        return [self._results.get(timeout=_PATIENCE_S) for _ in range(count)]

    def fps(self, frames: int, *, warm_up: int = 30) -> float:
        """Results a second over the next `frames`."""
        times_s = [arrived_s for arrived_s, _ in self.take(warm_up + frames)]
        return frames / (times_s[-1] - times_s[warm_up - 1])

    def waiting(self) -> list[tuple[float, Result]]:
        """All that have arrived and not been taken."""
        return [self._results.get() for _ in range(self._results.qsize())]

    def swap(self, release: Path, digest: str) -> None:
        """Have it load another release and wait until that answers."""
        self.send(Load("main", str(release), digest))
        while self._serving.get(timeout=_PATIENCE_S).digest != digest:
            pass

    def send(self, order: Order) -> None:
        self._process.send(order)

    def _hear(self, word: Word) -> None:
        if isinstance(word, Result):
            self._results.put((time.monotonic(), word))
        elif isinstance(word, Serving):
            self._serving.put(word)
