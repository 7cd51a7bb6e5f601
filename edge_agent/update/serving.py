"""Keeps the committed release serving: what the server was last told, and what to do when it cannot.

Starting, feeding and restarting workers is left to the server; remembering a fall back, to `updater`.
"""

import math
import random

from edge_agent.clock import Clock
from edge_agent.errors import ModelError, WorkerCrashedError
from edge_agent.update import machine
from edge_agent.update.machine import Record, Trial
from edge_agent.update.status import Problem
from edge_agent.update.store import ReleaseStore
from edge_agent.update.watch import Server

_MAX_CRASHES = 3  # of the committed release in a row, before the one before it is tried
_UNKNOWN = "unknown"  # what the server serves, before it has said so and after it has crashed
_FIRST_RETRY_S = 2.0
_LONGEST_RETRY_S = 300.0


class Serving:
    """What the server of one pipeline serves, as far as the updater knows. One thread's."""

    def __init__(self, server: Server, store: ReleaseStore, clock: Clock) -> None:
        self._server = server
        self._store = store
        self._clock = clock
        self._served: str | None = _UNKNOWN
        self._failing: str | None = None  # the committed release that could not be served
        self._failures = 0  # of it, in a row
        self._retry_at_s = -math.inf
        self.problem: Problem | None = None  # why the committed release does not serve

    @property
    def pause_s(self) -> float:
        """How long until `serve_committed` has something to do by itself; infinite while all is well."""
        return self._retry_at_s - self._clock.monotonic_s() if self.problem else math.inf

    def serve(self, digest: str | None) -> None:
        """Have this release served.

        Raises:
            ModelError: it cannot be loaded; what served before still does.
            WorkerCrashedError: the worker died of it.
        """
        try:
            self._server.serve(digest, None if digest is None else self._store.directory(digest))
        except WorkerCrashedError:
            self.crashed()
            raise
        self._served = digest
        self._failing = None
        self.problem = None

    def crashed(self) -> None:
        """The worker is gone: whatever is to serve has to be served anew."""
        self._served = _UNKNOWN

    def serve_committed(self, record: Record) -> Record | None:
        """Have `current` served, unless it is already, or the candidate is on trial in its place.

        Gives the record that falls back to `previous`, to be remembered, once that serves because `current` will not.
        """
        on_trial = isinstance(record.phase, Trial) and self._served == record.phase.digest
        waiting = self.problem is not None and record.current == self._failing and self.pause_s > 0
        if on_trial or waiting or self._served == record.current:
            return None
        try:
            self.serve(record.current)
        except (ModelError, WorkerCrashedError) as error:
            self._served = _UNKNOWN
            self._failures = self._failures + 1 if record.current == self._failing else 1
            self._failing = record.current
            if self._is_hopeless(error) and self._serves_instead(record.previous):
                return machine.fall_back(record, Problem.of(error).reason, str(error))
            # Where the one before does not serve either it is not the release: memory may have been short.
            self.problem = Problem.of(error)
            self._retry_at_s = self._clock.monotonic_s() + back_off_s(self._failures)
        return None

    def _is_hopeless(self, error: ModelError | WorkerCrashedError) -> bool:
        return isinstance(error, ModelError) or self._failures >= _MAX_CRASHES

    def _serves_instead(self, previous: str | None) -> bool:
        if previous is None or not self._store.is_sound(previous):
            return False
        try:
            self.serve(previous)
        except (ModelError, WorkerCrashedError):
            self._served = _UNKNOWN
            return False
        return True


def back_off_s(failures: int) -> float:
    """From 2 s to 5 min with full jitter: a fleet that failed together must not come back together."""
    longest_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
    return random.uniform(0.0, longest_s)  # noqa: S311  # no secret
