"""The update machine: what may follow what, and what to do next.

Pure: no clock, no disk, no network. `next_step` is asked after every step and after every start, so recovering from
a power cut is not a special case: it is the same question with an older record. Doing the steps is left to
`updater`; keeping the record, to `journal`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, assert_never

from edge_agent.errors import InputError, Reason

MAX_TRIAL_STARTS = 3
MAX_REJECTED = 32  # digests remembered; the oldest go first
MAX_LIFTED = 32  # release topics whose orders are remembered; those not heard of for longest go first
ANY_TOPIC = ""  # of an order whose topic was not remembered


@dataclass(frozen=True, slots=True)
class Idle:
    """Serving `current` (or nothing yet); nothing under way."""

    kind: Literal["idle"] = "idle"


@dataclass(frozen=True, slots=True)
class Fetching:
    """Bytes are arriving in staging; nothing that runs has changed."""

    digest: str
    attempt: int = 1
    kind: Literal["fetching"] = "fetching"


@dataclass(frozen=True, slots=True)
class Staged:
    """Verified and installed beside `current`; not yet serving."""

    digest: str
    kind: Literal["staged"] = "staged"


@dataclass(frozen=True, slots=True)
class Trial:
    """Serving, on trial. Not committed: the next start may undo it."""

    digest: str
    starts: int = 0
    kind: Literal["trial"] = "trial"


Phase = Idle | Fetching | Staged | Trial


@dataclass(frozen=True, slots=True)
class Rejection:
    """A release this device will not take again, or, for a `MENDABLE` reason, not before its agent starts again."""

    digest: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last update ended."""

    digest: str
    result: Literal["committed", "rejected", "rolled_back", "withdrawn"]
    reason: Reason | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Lifted:
    """The last order to lift rejections that was carried out for a release topic, which numbers them."""

    topic: str  # `model/channel`, or ANY_TOPIC
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """All that the agent remembers of one stage of a pipeline across a power cut."""

    current: str | None = None
    previous: str | None = None
    phase: Phase = field(default_factory=Idle)
    rejected: tuple[Rejection, ...] = ()
    last: Outcome | None = None
    lifted: tuple[Lifted, ...] = ()  # each topic once

    @property
    def serving(self) -> str | None:
        """What is to run now: the candidate while on trial, else `current`."""
        return self.phase.digest if isinstance(self.phase, Trial) else self.current

    @property
    def candidate(self) -> str | None:
        return None if isinstance(self.phase, Idle) else self.phase.digest

    def refuses(self, digest: str) -> bool:
        return any(rejection.digest == digest for rejection in self.rejected)

    def lifted_for(self, topic: str) -> int:
        """The number of the last order of `topic` that was carried out here; 0 where there was none."""
        numbers = {each.topic: each.number for each in self.lifted}
        return numbers.get(topic, numbers.get(ANY_TOPIC, 0))

    @property
    def digests(self) -> frozenset[str]:
        """Every release this record still needs on the disk."""
        return frozenset(digest for digest in (self.current, self.previous, self.candidate) if digest)


class IllegalTransitionError(RuntimeError):
    """A bug in the agent, never a condition of the world."""


MENDABLE = frozenset({Reason.INCOMPATIBLE, Reason.MISSING_DELEGATE})
"""Reasons that may lie in the device: its settings, what is plugged in, the age of its agent."""


# --- transitions: each names the only phases it may leave ---------------------------------------------------


def fetch(record: Record, digest: str) -> Record:
    """Begin to get `digest`, giving up whatever candidate there was before its trial."""
    _leave(record, Idle, Fetching, Staged)
    return replace(record, phase=Fetching(digest))


def retry(record: Record) -> Record:
    """The network or the disk failed: the same candidate, one attempt later."""
    phase = _leave_one(record, Fetching)
    return replace(record, phase=Fetching(phase.digest, phase.attempt + 1))


def stage(record: Record) -> Record:
    """All its bytes are on the disk, synced and verified."""
    phase = _leave_one(record, Fetching)
    return replace(record, phase=Staged(phase.digest))


def activate(record: Record) -> Record:
    """It has passed the probe, and its shadow where there is one, and may serve, on trial."""
    phase = _leave_one(record, Staged)
    return replace(record, phase=Trial(phase.digest))


def started(record: Record) -> Record:
    """A worker is about to load the candidate: remembered before it does, or a crash would not be counted."""
    phase = _leave_one(record, Trial)
    return replace(record, phase=Trial(phase.digest, phase.starts + 1))


def stopped(record: Record) -> Record:
    """The agent ends in good order during the trial: this start was no crash and does not count."""
    phase = _leave_one(record, Trial)
    return replace(record, phase=Trial(phase.digest, max(0, phase.starts - 1)))


def commit(record: Record, detail: str | None = None) -> Record:
    """The trial went well: the candidate is kept, what it replaces becomes `previous`."""
    phase = _leave_one(record, Trial)
    outcome = Outcome(phase.digest, "committed", detail=detail)
    return replace(record, current=phase.digest, previous=record.current, phase=Idle(), last=outcome)


def reject(record: Record, reason: Reason, detail: str | None = None) -> Record:
    """The candidate will never do. One that was already serving is rolled back by this: `current` serves again."""
    digest = _leave_candidate(record)
    result: Literal["rolled_back", "rejected"] = "rolled_back" if isinstance(record.phase, Trial) else "rejected"
    return replace(
        record,
        previous=None if record.previous == digest else record.previous,  # nobody may fall back to it either
        phase=Idle(),
        rejected=_remember(record.rejected, Rejection(digest, reason)),
        last=Outcome(digest, result, reason, detail),
    )


def withdraw(record: Record) -> Record:
    """The fleet no longer wants the candidate. It may want it again later."""
    digest = _leave_candidate(record)
    return replace(record, phase=Idle(), last=Outcome(digest, "withdrawn"))


def refetch(record: Record) -> Record:
    """The staged bytes have rotten: get them again. No fault of the release."""
    phase = _leave_one(record, Staged)
    return replace(record, phase=Fetching(phase.digest))


def fall_back(record: Record, reason: Reason, detail: str | None = None) -> Record:
    """`current` is unusable or unwanted: serve `previous` again, where there is one, and do not take it again.

    A rotten `current` may be taken again: its bytes failed, not the release. A candidate goes on, unless it is
    `previous` itself, which then needs no trial any more.
    """
    if record.current is None:
        raise IllegalTransitionError("nothing is installed, so there is nothing to fall back from")
    rejected = record.rejected
    if reason is not Reason.ROTTEN:
        rejected = _remember(rejected, Rejection(record.current, reason))
    return replace(
        record,
        current=record.previous,
        previous=None,
        phase=Idle() if record.candidate == record.previous else record.phase,
        rejected=rejected,
        last=Outcome(record.current, "rolled_back", reason, detail),
    )


def reconsider(record: Record) -> Record:
    """The agent has started, perhaps mended: what was refused for a reason of the device's own may be tried again."""
    rejected = tuple(rejection for rejection in record.rejected if rejection.reason not in MENDABLE)
    return replace(record, rejected=rejected)


def lift(record: Record, topic: str, number: int, digests: Collection[str]) -> Record:
    """A signed order on `topic`: forget these rejections. Remembered, so that each is carried out once and no more."""
    others = tuple(each for each in record.lifted if each.topic != topic)
    done = Lifted(topic, max(number, record.lifted_for(topic)))
    rejected = tuple(rejection for rejection in record.rejected if rejection.digest not in digests)
    return replace(record, rejected=rejected, lifted=(*others, done)[-MAX_LIFTED:])


def roll_back(record: Record, is_sound: Callable[[str], bool]) -> Record:
    """The operator's word: the trial ends, or else `previous` serves again. What served is not taken again.

    `is_sound` says whether a release is whole on the disk.

    Raises:
        InputError: there is no sound release to go back to.
    """
    if isinstance(record.phase, Trial):
        return reject(record, Reason.OPERATOR)
    if record.previous is None:
        raise InputError("there is no earlier release to roll back to", hint="push the release you want instead")
    if not is_sound(record.previous):
        raise InputError("the earlier release has rotten on the disk", hint="push the release you want instead")
    return fall_back(record, Reason.OPERATOR)


PhaseT = TypeVar("PhaseT", Fetching, Staged, Trial)


def _leave(record: Record, *allowed: type[Phase]) -> None:
    if not isinstance(record.phase, allowed):
        names = ", ".join(kind.__name__ for kind in allowed)
        raise IllegalTransitionError(f"in {type(record.phase).__name__}, expected {names}")


def _leave_one(record: Record, allowed: type[PhaseT]) -> PhaseT:
    if not isinstance(record.phase, allowed):
        raise IllegalTransitionError(f"in {type(record.phase).__name__}, expected {allowed.__name__}")
    return record.phase


def _leave_candidate(record: Record) -> str:
    if isinstance(record.phase, Idle):
        raise IllegalTransitionError("in Idle, expected a candidate")
    return record.phase.digest


def _remember(rejected: tuple[Rejection, ...], new: Rejection) -> tuple[Rejection, ...]:
    others = tuple(rejection for rejection in rejected if rejection.digest != new.digest)
    return (*others, new)[-MAX_REJECTED:]


# --- the one question ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something else is desired."""


@dataclass(frozen=True, slots=True)
class Begin:
    digest: str


@dataclass(frozen=True, slots=True)
class Fetch:
    digest: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Activate:
    """Probe it, run it in shadow where the device does that, then let it serve on trial."""

    digest: str


@dataclass(frozen=True, slots=True)
class Judge:
    """Serve it and watch its live frames."""

    digest: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    digest: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Withdraw:
    digest: str


Step = Wait | Begin | Fetch | Activate | Judge | GiveUp | Withdraw


def next_step(record: Record, desired: str | None, *, held: bool = False) -> Step:
    """What to do now. `desired` None means that nobody has said anything: what is under way goes on.

    `held`: something was said, and none of it is for this device (see `eligibility`).
    """
    candidate = record.candidate
    if candidate is None:
        unwanted = held or desired == record.current or (desired is not None and record.refuses(desired))
        return Wait() if unwanted or desired is None else Begin(desired)
    if held or (desired is not None and desired != candidate):
        gone = held or desired == record.current or isinstance(record.phase, Trial)
        return Withdraw(candidate) if gone or desired is None or record.refuses(desired) else Begin(desired)
    match record.phase:
        case Idle():
            return Wait()
        case Fetching(digest, attempt):
            return Wait() if desired is None else Fetch(digest, attempt)
        case Staged(digest):
            return Activate(digest)
        case Trial(digest, starts):
            return GiveUp(digest, Reason.CRASH_LOOP) if starts >= MAX_TRIAL_STARTS else Judge(digest)
        case _:
            assert_never(record.phase)
