"""What sinks have in common that work on a thread of their own: the loop hands over and goes on."""

from abc import ABC, abstractmethod
from threading import Thread
from typing import Generic, TypeVar

from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.backlog import Backlog

T = TypeVar("T")


class Aside(ABC, Generic[T]):
    """`_hand_over` puts items into a bounded backlog; `_work` runs on the thread until that is closed and empty.

    The thread starts with the first item. A subclass ends its `__init__` without starting anything.
    """

    def __init__(self, name: str, waiting: int, close_s: float) -> None:
        self._backlog: Backlog[T] = Backlog(waiting)
        self._close_s = close_s
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._started = False
        self._crowded_out = 0  # written by the loop
        self._failed = 0  # written by the thread
        self._problem: str | None = None

    def flush(self) -> None:
        self._backlog.hurry()

    def close(self) -> None:
        self._backlog.close()
        if self._started:
            self._thread.join(self._close_s)
        self._crowded_out += len(self._backlog)  # that it did not get to

    @property
    def dropped(self) -> int:
        return self._crowded_out + self._failed

    @property
    def problem(self) -> str | None:
        return self._problem

    @abstractmethod
    def _work(self) -> None: ...

    def _hand_over(self, item: T) -> None:
        if not self._started:
            self._started = True
            self._thread.start()
        if not self._backlog.put(item):
            self._crowded_out += 1

    def _lost(self, problem: str, results: int = 1) -> None:
        """Of the thread: so many could not be written."""
        self._failed += results
        self._problem = problem


class AsideSink(Aside[T]):
    """A sink that hands over each result."""

    def take(self, result: Result) -> None:
        self._hand_over(self._item(result))

    @abstractmethod
    def _item(self, result: Result) -> T:
        """What is to be handed over; made on the loop."""
