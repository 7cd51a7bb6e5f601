"""Roll backs that a person has asked for, on their way from any thread to the updater's.

What is done for one is left to `updater`.
"""

from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue

from edge_agent.errors import InputError
from edge_agent.update.machine import Record


class Requests:
    """A queue of futures, each for the record that comes of it."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Future[Record]] = SimpleQueue()

    def __bool__(self) -> bool:
        return not self._waiting.empty()

    def ask(self) -> "Future[Record]":
        request: Future[Record] = Future()
        self._waiting.put(request)
        return request

    def next(self) -> "Future[Record] | None":
        """One that nobody has given up waiting for."""
        with suppress(Empty):
            while True:
                request = self._waiting.get_nowait()
                if request.set_running_or_notify_cancel():
                    return request
        return None

    def refuse_all(self, why: str) -> None:
        """Answer whoever still waits with InputError."""
        while (request := self.next()) is not None:
            request.set_exception(InputError(why))
