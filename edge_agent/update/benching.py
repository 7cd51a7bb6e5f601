"""A release that is only to be measured here: fetched and proved like any other, then told and removed, never served.

Asked by a signed document on the bench channel of a model that this device serves, for devices that it names. What is
fetched, what a proof is, and what fills the disk are the updater's own parts; while an update is under way, or
fetching is put off, a bench waits. The last answer is kept: the same question, which a broker repeats with each
connection, is answered from the disk.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Literal

from edge_agent import schema
from edge_agent.clock import Clock
from edge_agent.disk import Disk
from edge_agent.errors import FetchError, Reason, RejectionError, StorageError, WorkerCrashedError
from edge_agent.release.document import Target
from edge_agent.release.manifest import Manifest
from edge_agent.release.rollout import belongs
from edge_agent.update.eligibility import Device
from edge_agent.update.fetch import check_named
from edge_agent.update.parts import Fetch
from edge_agent.update.probe import ProbeReport
from edge_agent.update.status import Problem
from edge_agent.update.store import ReleaseStore

ANSWER_FILE = "bench.json"
_PATIENCE_S = 300.0  # for an update to end, for chunks to arrive
_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """How a release did on this device."""

    digest: str
    model: str
    version: str
    outcome: Literal["measured", "refused", "failed"]  # refused: it would never serve here; failed: not now
    measured: ProbeReport | None = None
    reason: str | None = None
    detail: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports of a `Bencher`."""

    disk: Disk
    store: ReleaseStore
    fetch: Fetch
    probe: Callable[[Path, Manifest], ProbeReport]
    clock: Clock
    device: Device
    is_updating: Callable[[], bool]
    hold: Callable[[Target], Problem | None]
    keep: Callable[[], Collection[str]]  # as the updaters', with `Bencher.digests` in it
    tell: Callable[[Answer], None]  # on the bencher's thread; must not raise


class Bencher:
    """One bench at a time, the newest that was asked for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._asked: Target | None = None
        self._busy: Target | None = None
        self._changing = Lock()  # of what is asked and what is busy, together
        self._wake = Event()

    # --- for any thread -----------------------------------------------------------------------------------

    @property
    def digests(self) -> frozenset[str]:
        """Every release that is needed on the disk for a bench."""
        with self._changing:
            return frozenset(target.digest for target in (self._asked, self._busy) if target is not None)

    def desire(self, target: Target) -> None:
        """A document on the bench channel is believed. What it asks of others is none of our business."""
        if not belongs(target.rollout, target.digest, self._parts.device.id, self._parts.device.labels):
            return
        with self._changing:
            if self._busy is None or self._busy.digest != target.digest:  # a broker says it again with each connection
                self._asked = target
        self._wake.set()

    def wake(self) -> None:
        """Have `run` look at its `stop` at once."""
        self._wake.set()

    # --- the thread ---------------------------------------------------------------------------------------

    def run(self, stop: Event) -> None:
        while not stop.is_set():
            self._wake.clear()
            with self._changing:
                target = self._busy = self._asked
                self._asked = None
            if target is None:
                self._wake.wait()
                continue
            answer = self._remembered(target) or self._bench(target, stop)
            self._tidy(target)
            if answer is not None:
                self._parts.tell(answer)

    def _bench(self, target: Target, stop: Event) -> Answer | None:
        """None: the agent stops, or something newer is asked for."""
        until_s = self._parts.clock.monotonic_s() + _PATIENCE_S

        def over() -> bool:
            return stop.is_set() or self._asked is not None

        def late() -> bool:
            return over() or self._parts.clock.monotonic_s() > until_s

        while self._parts.is_updating() or self._parts.hold(target) is not None:
            if over():
                return None
            if late():
                return self._failed(target, self._postponed(target))
            self._parts.clock.wait(self._wake, _POLL_S)
        try:
            answer = self._measure(target, late)
        except RejectionError as error:
            answer = _answer(target, "refused", reason=error.reason, detail=str(error), hint=error.hint)
        except (FetchError, StorageError, WorkerCrashedError) as error:
            answer = self._failed(target, Problem.of(error))
        if over():
            return None
        if answer.outcome != "failed":
            self._remember(answer)
        return answer

    def _measure(self, target: Target, late: Callable[[], bool]) -> Answer:
        troubles: list[Problem] = []

        def trouble(reason: Reason, detail: str) -> None:
            troubles.append(Problem(reason, detail))

        parts = self._parts
        if parts.fetch(target, cancelled=late, trouble=trouble) is None:
            last = troubles[-1] if troubles else Problem(Reason.MISSING_CHUNK, "its chunks did not arrive in time")
            return self._failed(target, last)
        manifest = parts.store.manifest(target.digest)
        check_named(target, manifest)
        measured = parts.probe(parts.store.directory(target.digest), manifest)
        return _answer(target, "measured", measured=measured)

    def _postponed(self, target: Target) -> Problem:
        return self._parts.hold(target) or Problem(Reason.POSTPONED, "an update is under way", "ask again later")

    def _failed(self, target: Target, problem: Problem) -> Answer:
        return _answer(target, "failed", reason=problem.reason, detail=problem.detail, hint=problem.hint)

    def _tidy(self, target: Target) -> None:
        """Remove what was fetched, unless a stage has it too."""
        parts = self._parts
        with self._changing:
            self._busy = None
        if target.digest not in parts.keep():
            try:
                parts.store.sweep(parts.keep)
            except StorageError:
                return  # the next update sweeps

    def _remember(self, answer: Answer) -> None:
        try:
            self._parts.disk.write_atomic(ANSWER_FILE, json.dumps(schema.dump(answer)).encode())
        except StorageError:
            return  # it is measured again when it is asked again

    def _remembered(self, target: Target) -> Answer | None:
        disk = self._parts.disk
        try:
            kept = schema.parse(Answer, json.loads(disk.read(ANSWER_FILE)), strict=False)
        except (ValueError, RecursionError, schema.SchemaError, StorageError):  # none, or a failing disk's
            return None
        return kept if kept.digest == target.digest else None


def _answer(  # the fields of an answer
    target: Target,
    outcome: Literal["measured", "refused", "failed"],
    *,
    measured: ProbeReport | None = None,
    reason: Reason | None = None,
    detail: str | None = None,
    hint: str | None = None,
) -> Answer:
    return Answer(
        target.digest,
        target.model,
        target.version,
        outcome,
        measured,
        reason.value if reason is not None else None,
        detail,
        hint,
    )
