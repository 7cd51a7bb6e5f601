"""Updates one stage of a pipeline: does what `machine.next_step` says, remembers it, asks again.

The order of things in a turn: what was decided is remembered, the operator is answered, the committed release serves,
and only then does an update go on. So an update never delays serving, and dying anywhere costs time, never truth.
The work itself is done by the parts that are handed in; what an error means is said by its class.
"""

from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Event

from edge_agent.errors import (
    EdgeError,
    FetchError,
    InputError,
    ModelError,
    Reason,
    RejectionError,
    StorageError,
    WorkerCrashedError,
)
from edge_agent.release.document import Target, target_path
from edge_agent.update import machine
from edge_agent.update.back_off import BackOff
from edge_agent.update.eligibility import Decision, decide
from edge_agent.update.fetch import FetchReport, check_named
from edge_agent.update.initial import Initial
from edge_agent.update.machine import Fetching, Idle, Record, Staged, Trial
from edge_agent.update.parts import Parts
from edge_agent.update.proof import Proof
from edge_agent.update.requests import Requests
from edge_agent.update.serving import Serving
from edge_agent.update.status import Problem, Status, Versions
from edge_agent.update.trial import Continue, Failed, Passed

_STOP_POLL_S = 1.0
_SEED = "'edgectl seed' the artifact: it gives the broker what it lacks"
_HINTS = {
    Reason.MISSING_CHUNK: _SEED,
    Reason.CORRUPT_CHUNK: _SEED,
    Reason.WEB_SOURCE: "look at the web server that the release names; [update] ca_file names its authority",
}


class HeldError(Exception):
    """A fetch has to wait: nothing has failed, so nothing is counted and nothing is written."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Updater:
    """One stage's updater. `desire`, `roll_back`, `wake` and `digests` are for any thread, the rest for the one.

    Raises:
        StorageError: the record can neither be read nor set aside.
    """

    def __init__(self, parts: Parts, *, initial: Path | None = None) -> None:
        self._parts = parts
        self._initial = Initial(initial, parts.store)
        found = parts.journal.read()
        self._foreign = parts.journal.foreign  # a newer agent's record: nothing is written, so nothing is taken
        self._record = machine.reconsider(found)
        self._desired: Target | None = None
        self._desire_changed = False
        self._requests = Requests()
        self._wake = Event()
        self._stop = Event()
        self._decided: Record | None = None  # by a trial, not yet remembered
        self._checked = False
        self._settled = False
        # A record that is new may have been removed or lost: then what is installed may be wanted yet.
        self._sweep_due = found != Record()
        self._serving = Serving(parts.server, parts.store, parts.clock)
        self._proof = Proof(parts, self._serving)
        self._back_off = BackOff(parts.clock)
        self._problem = Problem.of_lost_record(parts.journal)
        self._standing_problem = Problem.of_foreign_record(self._foreign) if self._foreign is not None else None
        self._crash = ""
        self._versions = Versions(parts.store)
        self._fetched: FetchReport | None = None
        self._reported: Status | None = None

    # --- for any thread -----------------------------------------------------------------------------------

    @property
    def digests(self) -> frozenset[str]:
        """Every release this stage needs on the disk: what its record names, and what it is to have next."""
        record, desired = self._record, self._desired
        wanted = desired is not None and not record.refuses(desired.digest)
        foreign = self._foreign.digests if self._foreign is not None else frozenset()
        return record.digests | foreign | ({desired.digest} if desired and wanted else frozenset())

    @property
    def is_updating(self) -> bool:
        """Whether a candidate is fetched, proved or on trial."""
        return self._record.candidate is not None

    def desire(self, target: Target | None) -> None:
        """Say what the fleet wants. Saying it again changes nothing; None: nobody has said anything."""
        before, self._desired = self._desired, target
        if before != target:
            self._desire_changed = True
            self._wake.set()

    def roll_back(self) -> "Future[Record]":
        """Give up the trial, or else the committed release, for the release before it.

        The future gives the record once that one serves, or InputError where there is none.
        """
        request = self._requests.ask()
        self._wake.set()
        return request

    def wake(self) -> None:
        """Have `run` look at its `stop` at once."""
        self._wake.set()

    # --- the thread ---------------------------------------------------------------------------------------

    def run(self, stop: Event) -> None:
        """Go on until `stop` is set (noticed within a second, or at `wake`)."""
        self._stop = stop
        while not stop.is_set():
            self._wake.clear()  # before looking: what comes while we look wakes us again
            pause_s = self._turn()
            if pause_s > 0:
                self._parts.clock.wait(self._wake, min(pause_s, _STOP_POLL_S))
        with suppress(StorageError):
            self._remember_decided()
        self._requests.refuse_all("the agent is stopping")

    def run_to_rest(self) -> None:
        """Go on until there is nothing to do now: all is done, or waits to be tried again later."""
        while self._turn() <= 0:
            pass

    def _turn(self) -> float:
        """One step; returns for how many seconds there is nothing to do."""
        self._report()
        if self._desire_changed:
            self._desire_changed = False
            self._back_off.reset()
        elif self._back_off.pause_s > 0 and not self._requests and not self._serving.is_due:
            return self._back_off.pause_s
        try:
            done = self._step()
        except HeldError as held:
            self._problem = held.problem
            self._report()
            return _STOP_POLL_S
        except (FetchError, StorageError, WorkerCrashedError) as error:
            self._problem = Problem.of(error)
            self._back_off.failed()
            self._report()
            return self._back_off.pause_s
        self._back_off.reset()
        self._problem = None
        self._report()
        return 0.0 if done else self._serving.pause_s

    def _step(self) -> bool:
        """Whether there was anything to do."""
        self._remember_decided()
        self._answer_requests()
        self._obey()
        self._check_installed()
        self._serve_committed()
        self._tidy()
        match self._next_step():
            case machine.Wait():
                return False
            case machine.Begin(digest):
                self._remember(machine.fetch(self._record, digest))
            case machine.Fetch(digest):
                self._fetch(digest)
            case machine.Activate(digest):
                self._prove(digest)
            case machine.Judge(digest):
                self._judge(digest)
            case machine.GiveUp(_, reason):
                self._remember(machine.reject(self._record, reason, self._crash or "the agent ended in every trial"))
            case machine.Withdraw():
                self._remember(machine.withdraw(self._record))
        return True

    def _next_step(self) -> machine.Step:
        """Towards what the fleet gives this device, else the initial artifact while nothing is installed."""
        if self._foreign is not None:
            return machine.Wait()
        aim = self._decision().aim
        wanted = aim.digest if aim is not None else self._initial.digest if self._record.current is None else None
        return machine.next_step(self._record, wanted, held=wanted is None and self._desired is not None)

    def _decision(self) -> Decision:
        """What this device makes of the fleet's word now."""
        desired, current = self._desired, self._record.current
        if desired is None:
            return Decision(None)
        named = self._versions.named(current) if current is not None else None
        return decide(desired, self._parts.device, self._record, named)

    def _obey(self) -> None:
        """Carry out the signed order to lift rejections, once."""
        if self._desired is None or self._foreign is not None:
            return
        topic, lifts = target_path(self._desired.model, self._desired.channel), self._desired.lifts
        if lifts.number > self._record.lifted_for(topic):
            self._remember(machine.lift(self._record, topic, lifts.number, lifts.digests))

    # --- steps of an update -------------------------------------------------------------------------------

    def _fetch(self, digest: str) -> None:
        try:
            if not self._install(digest):
                return
        except RejectionError as error:
            self._remember(machine.reject(self._record, error.reason, str(error)))
            return
        except (FetchError, StorageError):
            with suppress(StorageError):
                self._remember(machine.retry(self._record))
            raise
        self._remember(machine.stage(self._record))

    def _install(self, digest: str) -> bool:
        """Whether the store now holds the release; not, when something else has become more urgent."""
        store, target = self._parts.store, self._decision().aim
        if target is not None and target.digest == digest:
            self._check_held(target)
            held = self._parts.hold
            fetched = self._parts.fetch(
                target,
                cancelled=lambda: self._is_urgent(digest) or held(target) is not None,
                trouble=self._trouble,
            )
            if fetched is None:
                return False
            self._fetched = fetched
            check_named(target, store.manifest(digest))
            return True
        return self._initial.install(digest)  # or something else has been desired since the step was chosen

    def _check_held(self, target: Target) -> None:
        """Raise HeldError where the fetch may not go on now; else take back that it could not."""
        problem = self._parts.hold(target)
        if problem is not None:
            raise HeldError(problem)
        if self._problem is not None and self._problem.reason is Reason.POSTPONED:
            self._problem = None
            self._report()

    def _prove(self, digest: str) -> None:
        store = self._parts.store
        try:
            if not self._proof.before_trial(digest, self._record.current, lambda: self._is_urgent(digest)):
                return
        except RejectionError as error:
            if not store.is_sound(digest):  # its bytes have changed since: no fault of the release
                self._remember(machine.refetch(self._record))
                return
            self._remember(machine.reject(self._record, error.reason, str(error)))
        else:
            if isinstance(self._next_step(), machine.Activate):  # a halt may have come during the probe
                self._remember(machine.activate(self._record))

    def _judge(self, digest: str) -> None:
        """Serve the candidate and watch it. What comes of it is decided once, however long remembering it takes."""
        self._remember(machine.started(self._record))  # before it is loaded, or its crash would not be counted
        try:
            verdict = self._proof.on_trial(digest, self._record.current, lambda: self._is_urgent(digest))
        except RejectionError as error:
            if not self._parts.store.is_sound(digest):
                self._decided = machine.withdraw(self._record)  # and what is desired is fetched again
                return
            verdict = Failed(error.reason, str(error))
        except WorkerCrashedError as error:
            self._serving.crashed()
            if self._stop.is_set():  # the worker was ended with us
                self._decided = machine.stopped(self._record)
                return
            self._crash = f"it crashed in {machine.MAX_TRIAL_STARTS} trials: {error}"
            return
        match verdict:
            case Passed(detail):
                self._decided = machine.commit(self._record, detail)
            case Failed(reason, detail):
                self._decided = machine.reject(self._record, reason, detail)
            case Continue() if self._stop.is_set():
                self._decided = machine.stopped(self._record)

    def _is_urgent(self, digest: str) -> bool:
        """Whether something has come up that matters more than going on with `digest`."""
        asked = bool(self._requests) or self._serving.is_due
        return self._stop.is_set() or asked or self._is_given_up(digest)

    def _is_given_up(self, digest: str) -> bool:
        match self._next_step():
            case machine.Withdraw() | machine.Begin():
                return True
            case machine.Fetch(goes_on) | machine.Activate(goes_on) | machine.Judge(goes_on):
                return goes_on != digest
            case machine.Wait() | machine.GiveUp():
                return False

    def _trouble(self, reason: Reason, detail: str) -> None:
        self._problem = Problem(reason, detail, _HINTS.get(reason))
        self._report()

    # --- what serves --------------------------------------------------------------------------------------

    def _check_installed(self) -> None:
        """Once after the start: what has rotten since it was verified neither serves nor goes on trial."""
        if self._checked:
            return
        is_sound = self._parts.store.is_sound
        while self._record.current is not None and not is_sound(self._record.current):
            detail = "its bytes on the disk have changed"
            self._remember(machine.fall_back(self._record, Reason.ROTTEN, detail))
        match self._record.phase:
            case Staged(digest) if not is_sound(digest):
                self._remember(machine.refetch(self._record))
            case Trial(digest) if not is_sound(digest):
                self._remember(machine.withdraw(self._record))
        self._checked = True

    def _serve_committed(self) -> None:
        while (fallen_back := self._serving.serve_committed(self._record)) is not None:
            self._remember(fallen_back)

    def _answer_requests(self) -> None:
        while (request := self._requests.next()) is not None:
            try:
                if self._foreign is not None:
                    raise self._foreign
                record = machine.roll_back(self._record, self._parts.store.is_sound)
                self._serve_again(record.current)
                self._remember(record)
                self._serve_committed()
            except EdgeError as error:
                request.set_exception(error)
            else:
                request.set_result(self._record)

    def _serve_again(self, digest: str | None) -> None:
        """Before a roll back is remembered: to what cannot serve nobody goes back."""
        try:
            self._serving.serve(digest)
        except (ModelError, WorkerCrashedError) as error:
            raise InputError(
                f"the earlier release cannot serve, so nothing has changed: {error}",
                hint="push the release you want instead",
            ) from error

    # --- remembering and telling --------------------------------------------------------------------------

    def _remember(self, record: Record) -> None:
        if self._foreign is None:  # else only until the end of this process: a fall back, found again by the next one
            self._parts.journal.write(record)
        dropped = self._record.digests - record.digests
        self._record = record
        self._settled = True
        # While one is fetched, what has just been given up may have chunks of it.
        if isinstance(record.phase, Idle) or (dropped and not isinstance(record.phase, Fetching)):
            self._sweep_due = True
        self._report()

    def _remember_decided(self) -> None:
        if self._decided is not None:
            self._remember(self._decided)
            self._decided = None

    def _tidy(self) -> None:
        """Remove what no stage needs any more, once the record that says so is sure to survive."""
        if not self._settled:
            self._parts.journal.settle()
            self._settled = True
        if self._sweep_due:
            self._parts.store.sweep(self._parts.keep)
            self._sweep_due = False

    def _report(self) -> None:
        status = Status(
            record=self._record,
            desired=self._desired,
            problem=self._problem or self._serving.problem or self._standing_problem,
            held=self._decision().held,
            versions=self._versions.known(self._record, self._desired),
            probe=self._proof.probed,
            fetched=self._fetched,
        )
        if status != self._reported:
            self._reported = status
            self._parts.report(status)
