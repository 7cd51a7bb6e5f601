"""Keeps the committed release serving: what the server was last told, and what to do when it cannot.

Starting, feeding and restarting workers is left to the server; remembering a fall back, to `updater`.
"""

import math

from edge_agent.clock import Clock
from edge_agent.errors import ModelError, Reason, WorkerCrashedError
from edge_agent.inference.seen import Seen
from edge_agent.update import machine
from edge_agent.update.back_off import BackOff
from edge_agent.update.machine import Record, Trial
from edge_agent.update.status import Problem
from edge_agent.update.store import ReleaseStore
from edge_agent.update.watch import Server

_MAX_CRASHES = 3  # of the committed release in a row, before the one before it is tried
_UNKNOWN = "unknown"  # what the server serves, before it has said so and after it has crashed


class Serving:
    """What the server of one pipeline serves, as far as the updater knows. One thread's."""

    def __init__(self, server: Server, store: ReleaseStore, clock: Clock) -> None:
        self._server = server
        self._store = store
        self._served: str | None = _UNKNOWN
        self._failing: str | None = None  # the committed release that could not be served
        self._back_off = BackOff(clock)  # of it
        self._compared: Seen | None = None  # the committed release, before a trial
        self.problem: Problem | None = None  # why the committed release does not serve

    @property
    def pause_s(self) -> float:
        """How long until `serve_committed` has something to do by itself; infinite while all is well."""
        return self._back_off.pause_s if self.problem else math.inf

    @property
    def is_due(self) -> bool:
        """Whether the committed release is to be served (again) now, before anything else goes on."""
        return self._server.lost or (self.problem is not None and self._back_off.pause_s <= 0)

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

    def of_current(self, current: str | None) -> Seen | None:
        """What to compare a candidate with: what the committed release has done lately; None where there is none.

        A trial that is begun again, after a crash, is compared with what was known before.
        """
        if current is None:
            return None
        seen, before = self._server.seen(), self._compared
        if seen.digest != current:
            seen = Seen(current)
        if before is None or before.digest != current or seen.frames >= before.frames:
            self._compared = before = seen
        return before

    def crashed(self) -> None:
        """The worker is gone: whatever is to serve has to be served anew."""
        self._served = _UNKNOWN

    def serve_committed(self, record: Record) -> Record | None:
        """Have `current` served, unless it is already, or the candidate is on trial in its place.

        Gives the record that falls back to `previous`, to be remembered: because `current` has rotten, or once that
        serves because `current` will not.
        """
        if self._server.lost:
            self.crashed()
        on_trial = isinstance(record.phase, Trial) and self._served == record.phase.digest
        waiting = self.problem is not None and record.current == self._failing and self.pause_s > 0
        if on_trial or waiting or self._served == record.current:
            return None
        before = self._served
        try:
            self.serve(record.current)
        except (ModelError, WorkerCrashedError) as error:
            self._served = _UNKNOWN
            if record.current != self._failing:
                self._back_off.reset()
            self._back_off.failed()
            self._failing = record.current
            if record.current is not None and not self._store.is_sound(record.current):
                return machine.fall_back(record, Reason.ROTTEN, f"its bytes on the disk have changed: {error}")
            if self._is_hopeless(error) and self._serves_instead(record.previous):
                return machine.fall_back(record, Problem.of(error).reason, str(error))
            # Where the one before does not serve either it is not the release: memory may have been short.
            self.problem = Problem.of(error)
            if before not in (None, _UNKNOWN, *record.digests):
                self._end_other()
        return None

    def _end_other(self) -> None:
        """A worker goes on with what it has when it cannot load another: what was rejected is not to."""
        try:
            self._server.serve(None, None)
        except (ModelError, WorkerCrashedError):
            self.crashed()

    def _is_hopeless(self, error: ModelError | WorkerCrashedError) -> bool:
        return isinstance(error, ModelError) or self._back_off.failures >= _MAX_CRASHES

    def _serves_instead(self, previous: str | None) -> bool:
        if previous is None or not self._store.is_sound(previous):
            return False
        try:
            self.serve(previous)
        except (ModelError, WorkerCrashedError):
            self._served = _UNKNOWN
            return False
        return True
