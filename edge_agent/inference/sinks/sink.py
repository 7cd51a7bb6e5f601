"""The port of everything that results go to.

A sink never stops inference: what it cannot write is dropped, counted, and told as its `problem`. Nor may it keep the
supervisor's loop waiting: what takes long is done on a thread of its own (`backlog`).
"""

from typing import Protocol

from edge_agent.inference.ipc import Result


class Sink(Protocol):
    """Takes every result of a pipeline, in order, on one thread, and raises nothing."""

    def take(self, result: Result) -> None: ...
    @property
    def dropped(self) -> int:
        """Results lost since the start, because they could not be written."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the last one could not be written; None when it could."""
        ...

    def flush(self) -> None:
        """The source has ended: write what was held back. Does not wait for it."""
        ...

    def close(self) -> None:
        """Write what is left, for a few seconds at most, and let go of everything."""
        ...
