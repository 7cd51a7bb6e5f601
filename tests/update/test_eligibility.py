"""What a device takes of its channel's word, and what it says when it does not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from edge_agent.errors import Reason
from edge_agent.release.document import Target
from edge_agent.release.rollout import Rollout, place_of
from edge_agent.update import machine
from edge_agent.update.eligibility import Decision, Device, HoldReason, Named, decide
from edge_agent.update.machine import Fetching, Idle, Phase, Record, Rejection, Staged, Trial
from tests.sim.releases import make_release

OLD, NEW, NEXT = (make_release(version).target for version in ("1", "2", "3"))
PORCH = Device("porch-pi", ("porch",))
SERVING_OLD, NAMED_OLD = Record(OLD.digest), Named("birds", "1")
NOBODY, HALTED = Rollout(percent=0), Rollout(state="halted")


def given_to(target: Target, rollout: Rollout) -> Target:
    return replace(target, rollout=rollout)


def reason_of(decision: Decision) -> HoldReason | None:
    return decision.held.reason if decision.held else None


def test_a_release_for_everybody_is_taken() -> None:
    assert decide(NEW, PORCH, SERVING_OLD, NAMED_OLD) == Decision(NEW)


def test_at_each_percentage_it_is_taken_where_the_place_is_below_it() -> None:
    place = place_of(PORCH.id, NEW.digest)
    inside, outside = Rollout(percent=place + 1), Rollout(percent=place)

    assert decide(given_to(NEW, inside), PORCH, SERVING_OLD, NAMED_OLD).held is None
    decision = decide(given_to(NEW, outside), PORCH, SERVING_OLD, NAMED_OLD)
    assert (decision.aim, reason_of(decision)) == (None, HoldReason.NOT_IN_ROLLOUT)
    assert decision.held is not None
    assert (decision.held.digest, decision.held.version) == (NEW.digest, "2")
    assert decision.held.detail == f"it is for {place} % of the devices; this one's place is {place}"


@pytest.mark.parametrize("canary", [{"canary_devices": ("porch-pi",)}, {"canary_labels": ("porch",)}])
def test_a_canary_takes_it_at_no_percentage_but_not_when_it_is_halted(canary: dict[str, tuple[str, ...]]) -> None:
    rollout = Rollout(percent=0, canary_devices=canary.get("canary_devices", ()),
                      canary_labels=canary.get("canary_labels", ()))  # fmt: skip

    assert decide(given_to(NEW, rollout), PORCH, SERVING_OLD, NAMED_OLD).held is None
    halted = given_to(NEW, replace(rollout, state="halted"))
    assert reason_of(decide(halted, PORCH, SERVING_OLD, NAMED_OLD)) is HoldReason.HALTED


def test_a_pause_changes_nothing_for_a_device() -> None:
    paused = given_to(NEW, Rollout(percent=100, state="paused"))

    assert decide(paused, PORCH, SERVING_OLD, NAMED_OLD) == Decision(paused)


@pytest.mark.parametrize(
    ("phase", "goes_on"),
    [
        (Idle(), False),
        (Fetching(NEW.digest, 2), False),
        (Staged(NEW.digest), False),
        (Trial(NEW.digest), True),
        (Trial(NEW.digest, 2), True),
        (Trial(NEXT.digest, 1), False),
    ],
)
@pytest.mark.parametrize(("rollout", "reason"), [(HALTED, HoldReason.HALTED), (NOBODY, HoldReason.NOT_IN_ROLLOUT)])
def test_a_halt_ends_what_has_not_begun_its_trial(
    phase: Phase, rollout: Rollout, reason: HoldReason, *, goes_on: bool
) -> None:
    record = Record(OLD.digest, None, phase)
    decision = decide(given_to(NEW, rollout), PORCH, record, NAMED_OLD)

    assert reason_of(decision) is (None if goes_on else reason)
    assert (decision.aim is not None) is goes_on


@pytest.mark.parametrize("rollout", [HALTED, NOBODY])
def test_a_device_that_has_the_release_keeps_it(rollout: Rollout) -> None:
    target = given_to(NEW, rollout)

    assert decide(target, PORCH, Record(NEW.digest, OLD.digest), Named("birds", "2")) == Decision(target)


def test_an_older_version_is_taken_by_order_only_and_says_so() -> None:
    serving = Record(NEW.digest, OLD.digest)
    decision = decide(OLD, PORCH, serving, Named("birds", "2"))

    assert (decision.aim, reason_of(decision)) == (None, HoldReason.DOWNGRADE)
    assert decision.held is not None
    assert "1 is older than 2, which serves" in decision.held.detail
    assert "edgectl release revert" in decision.held.detail
    assert decide(replace(OLD, downgrade=True), PORCH, serving, Named("birds", "2")).held is None


@pytest.mark.parametrize(
    "current",
    [
        Named("birds", "1"),  # the same version with another digest is a new release
        Named("cats", "2"),  # the stage followed another model before
        Named("birds", "nightly"),
        None,  # its manifest cannot be read any more
    ],
)
def test_what_is_not_older_is_taken(current: Named | None) -> None:
    assert decide(OLD, PORCH, Record(NEW.digest), current) == Decision(OLD)


def test_a_rejected_release_is_not_taken_and_says_why_whatever_the_rollout() -> None:
    record = Record(OLD.digest, None, Idle(), (Rejection(NEW.digest, Reason.TOO_SLOW),))
    for target in (NEW, given_to(NEW, HALTED), replace(NEW, downgrade=True)):
        decision = decide(target, PORCH, record, NAMED_OLD)

        assert (decision.aim, reason_of(decision)) == (None, HoldReason.REJECTED_BEFORE)
        assert decision.held is not None
        assert "too_slow" in decision.held.detail


# --- the word before -----------------------------------------------------------------------------------------


def test_a_new_device_outside_of_the_rollout_takes_the_release_before() -> None:
    target = replace(NEXT, rollout=NOBODY, previous=(NEW, OLD))
    decision = decide(target, PORCH, Record(), None)

    assert decision.aim == NEW
    assert reason_of(decision) is HoldReason.NOT_IN_ROLLOUT


def test_what_is_under_way_goes_on_when_the_next_release_is_not_for_this_device() -> None:
    target = replace(NEXT, rollout=NOBODY, previous=(NEW,))
    for phase in (Fetching(NEW.digest), Staged(NEW.digest), Trial(NEW.digest, 1)):
        assert decide(target, PORCH, Record(OLD.digest, None, phase), NAMED_OLD).aim == NEW


def test_the_word_before_counts_with_its_own_rollout_as_it_stood() -> None:
    record = Record()
    halted = replace(NEXT, rollout=NOBODY, previous=(given_to(NEW, HALTED), OLD))
    narrow = replace(NEXT, rollout=HALTED, previous=(given_to(NEW, NOBODY), given_to(OLD, NOBODY)))

    assert decide(halted, PORCH, record, None).aim == OLD
    assert decide(narrow, PORCH, record, None).aim is None


def test_a_revert_is_followed_also_where_the_release_after_it_is_not_given_yet() -> None:
    reverted = given_to(NEW, HALTED)
    target = replace(NEXT, rollout=NOBODY, previous=(replace(OLD, downgrade=True), reverted))

    assert decide(target, PORCH, Record(NEW.digest), Named("birds", "2")).aim == replace(OLD, downgrade=True)


def test_a_rejected_or_older_release_is_no_reason_to_take_the_one_before() -> None:
    target = replace(NEXT, previous=(NEW,))
    record = Record(OLD.digest, None, Idle(), (Rejection(NEXT.digest, Reason.TOO_SLOW),))

    assert decide(target, PORCH, record, NAMED_OLD).aim is None
    assert decide(replace(OLD, previous=(NEW,)), PORCH, Record(NEXT.digest), Named("birds", "3")).aim is None


@given(
    percent=st.integers(0, 100),
    wider=st.integers(0, 100),
    device=st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True),
    state=st.sampled_from(["active", "paused"]),
)
def test_whoever_takes_it_takes_it_when_it_is_wider(percent: int, wider: int, device: str, state: str) -> None:
    narrow, wide = sorted((percent, wider))
    who = Device(device)
    if decide(given_to(NEW, Rollout(percent=narrow)), who, SERVING_OLD, NAMED_OLD).held is None:
        again = given_to(NEW, Rollout(percent=wide, state="paused" if state == "paused" else "active"))
        assert decide(again, who, SERVING_OLD, NAMED_OLD).held is None


# --- whatever is published, in whatever order ----------------------------------------------------------------------

RELEASES = [make_release(version).target for version in ("1", "2", "3")]
_ROLLOUTS = st.builds(
    Rollout,
    percent=st.sampled_from([0, 10, 50, 100]),
    canary_labels=st.sampled_from([(), ("porch",)]),
    state=st.sampled_from(["active", "paused", "halted"]),
)


class Channel(RuleBasedStateMachine):
    """One device under a publisher who says anything at any time: nothing begins that is not given to it then."""

    def __init__(self) -> None:
        super().__init__()
        self.target: Target | None = None
        self.record = Record()
        self.number = 0

    @rule(release=st.sampled_from(RELEASES), rollout=_ROLLOUTS, downgrade=st.booleans())
    def publish(self, release: Target, rollout: Rollout, *, downgrade: bool) -> None:
        before = (self.target, *self.target.previous) if self.target else ()
        kept = tuple(replace(each, previous=()) for each in before if each.digest != release.digest)
        self.target = replace(release, rollout=rollout, downgrade=downgrade, previous=kept[:3])

    @precondition(lambda self: self.target)
    @rule(rollout=_ROLLOUTS)
    def change_the_rollout(self, rollout: Rollout) -> None:
        assert self.target is not None
        self.target = replace(self.target, rollout=rollout)

    @precondition(lambda self: self.target)
    @rule(luck=st.sampled_from(["well", "badly"]))
    def take_a_step(self, luck: str) -> None:
        assert self.target is not None
        record, decision = self.record, self._decide()
        aim = decision.aim
        match machine.next_step(record, aim.digest if aim else None, held=aim is None):
            case machine.Begin(digest):
                self.record = machine.fetch(record, digest)
            case machine.Fetch():
                self.record = machine.stage(record) if luck == "well" else machine.retry(record)
            case machine.Activate(digest):
                self.record = machine.activate(record)
                given = next(each for each in (self.target, *self.target.previous) if each.digest == digest)
                assert given.rollout.state != "halted", "a trial has begun in spite of the halt"
                assert given.rollout.percent or given.rollout.canary_labels
                assert given.downgrade or not self._is_older_than_current(given)
            case machine.Judge():
                started = machine.started(record)
                reason = Reason.TRIAL_ERRORS
                self.record = machine.commit(started) if luck == "well" else machine.reject(started, reason)
            case machine.GiveUp(_, reason):
                self.record = machine.reject(record, reason)
            case machine.Withdraw():
                self.record = machine.withdraw(record)

    @precondition(lambda self: self.target)
    @rule()
    def come_to_rest(self) -> None:
        for _ in range(12):
            self.take_a_step("well")
        decision = self._decide()
        assert isinstance(self.record.phase, Idle)
        if decision.aim is not None:
            assert self.record.current == decision.aim.digest
        if self.target is not None and self.record.current != self.target.digest:
            assert decision.held is not None, "it says why"

    def _decide(self) -> Decision:
        assert self.target is not None
        named = next((Named("birds", each.version) for each in RELEASES if each.digest == self.record.current), None)
        return decide(self.target, PORCH, self.record, named)

    def _is_older_than_current(self, target: Target) -> bool:
        current = next((each for each in RELEASES if each.digest == self.record.current), None)
        return current is not None and int(target.version) < int(current.version)


TestChannel = Channel.TestCase
