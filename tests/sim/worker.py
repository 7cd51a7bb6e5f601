"""Worker processes that are none: they serve at once what they are told to, and end when they are waited for."""

from collections.abc import Callable

import pytest

from edge_agent.inference.ipc import Load, Order, Serving, Start, Stop, Word


class FakeWorkers:
    """Stands for `WorkerProcess` in `server`. `calls`: the order to end, and the wait for it, of which pipeline."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.waited_s: list[float] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edge_agent.inference.server.WorkerProcess", self._start)

    def _start(self, start: Start, on_word: Callable[[Word], None], on_exit: Callable[[int], None]) -> "FakeWorker":
        return FakeWorker(self, start, on_word, on_exit)


class FakeWorker:
    pid = 1
    pss_bytes = None

    def __init__(
        self, workers: FakeWorkers, start: Start, on_word: Callable[[Word], None], on_exit: Callable[[int], None]
    ) -> None:
        self._workers = workers
        self._pipeline = start.pipeline
        self._on_word = on_word
        self._on_exit = on_exit
        for name, stage in start.stages.items():
            if stage.digest is not None:
                on_word(Serving(name, stage.digest))

    def send(self, order: Order) -> None:
        match order:
            case Load():
                self._on_word(Serving(order.stage, order.digest))
            case Stop():
                self._workers.calls.append(f"end {self._pipeline}")
            case _:
                raise AssertionError(order)

    def stop(self, timeout_s: float) -> int:
        self._workers.calls.append(f"wait for {self._pipeline}")
        self._workers.waited_s.append(timeout_s)
        self._on_exit(0)
        return 0

    def kill(self) -> None:
        raise AssertionError("it answers at once")
