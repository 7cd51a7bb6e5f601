"""The update machine: which transitions there are, and where it always comes to rest."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.errors import InputError, Reason
from edge_agent.update import machine
from edge_agent.update.machine import (
    ANY_TOPIC,
    MAX_LIFTED,
    MAX_REJECTED,
    MAX_TRIAL_STARTS,
    Fetching,
    Idle,
    IllegalTransitionError,
    Lifted,
    Outcome,
    Phase,
    Record,
    Rejection,
    Staged,
    Trial,
    next_step,
)

OLD, NEW, OTHER = "old", "new", "other"
TOPIC = "birds/stable"
SERVING_OLD = Record(current=OLD)


def test_a_release_goes_from_desired_to_committed() -> None:
    record = SERVING_OLD
    assert next_step(record, NEW) == machine.Begin(NEW)
    record = machine.fetch(record, NEW)
    assert next_step(record, NEW) == machine.Fetch(NEW, 1)
    record = machine.stage(machine.retry(record))
    assert next_step(record, NEW) == machine.Activate(NEW)
    record = machine.activate(record)
    assert record.serving == NEW
    assert next_step(record, NEW) == machine.Judge(NEW)
    record = machine.commit(machine.started(record), "30 frames")

    assert record == Record(NEW, OLD, Idle(), (), Outcome(NEW, "committed", detail="30 frames"))
    assert next_step(record, NEW) == machine.Wait()


def test_a_rejected_release_is_not_begun_again() -> None:
    record = machine.reject(machine.fetch(SERVING_OLD, NEW), Reason.INTEGRITY, "bad bytes")

    assert record.serving == OLD
    assert record.last == Outcome(NEW, "rejected", Reason.INTEGRITY, "bad bytes")
    assert next_step(record, NEW) == machine.Wait()


def test_a_rejection_on_trial_is_a_roll_back() -> None:
    record = machine.reject(Record(OLD, None, Trial(NEW, 1)), Reason.TRIAL_ERRORS)

    assert record.last == Outcome(NEW, "rolled_back", Reason.TRIAL_ERRORS)
    assert record.serving == OLD


def test_what_is_rejected_is_no_longer_there_to_fall_back_to() -> None:
    record = machine.reject(Record(OLD, NEW, Trial(NEW)), Reason.TRIAL_ERRORS)

    assert record.previous is None


def test_an_order_lifts_the_rejections_it_names_and_its_number_is_remembered() -> None:
    rejected = (Rejection(NEW, Reason.TOO_SLOW), Rejection(OTHER, Reason.TOO_BIG))
    record = machine.lift(Record(OLD, None, Idle(), rejected), TOPIC, 7, (NEW, "unknown"))

    assert record == Record(OLD, None, Idle(), (Rejection(OTHER, Reason.TOO_BIG),), lifted=(Lifted(TOPIC, 7),))
    assert next_step(record, NEW) == machine.Begin(NEW)
    assert machine.lift(record, TOPIC, 5, ()).lifted == (Lifted(TOPIC, 7),)


def test_orders_are_remembered_by_topic_because_each_topic_numbers_its_own() -> None:
    record = machine.lift(machine.lift(Record(OLD), TOPIC, 7, ()), "birds/beta", 3, ())

    assert [record.lifted_for(topic) for topic in (TOPIC, "birds/beta", "birds/canary")] == [7, 3, 0]
    assert machine.lift(record, TOPIC, 8, ()).lifted == (Lifted("birds/beta", 3), Lifted(TOPIC, 8))


def test_an_order_whose_topic_was_not_remembered_stands_for_each_topic_that_has_none_of_its_own() -> None:
    record = machine.lift(Record(OLD, lifted=(Lifted(ANY_TOPIC, 7),)), TOPIC, 9, ())

    assert (record.lifted_for(TOPIC), record.lifted_for("birds/beta")) == (9, 7)


def test_the_topics_of_orders_do_not_pile_up() -> None:
    record = Record(OLD)
    for number in range(1, 3 * MAX_LIFTED):
        record = machine.lift(record, f"birds/{number}", number, ())

    assert len(record.lifted) == MAX_LIFTED
    assert record.lifted[-1] == Lifted(f"birds/{number}", number)


@pytest.mark.parametrize("phase", [Fetching(NEW), Staged(NEW), Trial(NEW)])
def test_where_nothing_desired_is_for_this_device_a_candidate_is_withdrawn(phase: Phase) -> None:
    assert next_step(SERVING_OLD, None, held=True) == machine.Wait()
    assert next_step(Record(OLD, None, phase), None, held=True) == machine.Withdraw(NEW)


def test_a_trial_that_crashes_again_and_again_is_given_up() -> None:
    record = Record(OLD, None, Trial(NEW))
    for _ in range(MAX_TRIAL_STARTS):
        assert next_step(record, NEW) == machine.Judge(NEW)
        record = machine.started(record)

    assert next_step(record, NEW) == machine.GiveUp(NEW, Reason.CRASH_LOOP)


def test_a_start_that_ended_in_good_order_does_not_count_as_a_crash() -> None:
    record = Record(OLD, None, Trial(NEW))
    for _ in range(10):
        record = machine.stopped(machine.started(record))

    assert next_step(record, NEW) == machine.Judge(NEW)


def test_another_desire_replaces_a_candidate_before_its_trial_and_ends_one_on_trial() -> None:
    assert next_step(Record(OLD, None, Fetching(NEW)), OTHER) == machine.Begin(OTHER)
    assert next_step(Record(OLD, None, Staged(NEW)), OTHER) == machine.Begin(OTHER)
    assert next_step(Record(OLD, None, Trial(NEW)), OTHER) == machine.Withdraw(NEW)
    assert next_step(Record(OLD, None, Fetching(NEW)), OLD) == machine.Withdraw(NEW)


def test_without_a_word_from_the_fleet_only_what_is_on_the_disk_goes_on() -> None:
    assert next_step(SERVING_OLD, None) == machine.Wait()
    assert next_step(Record(OLD, None, Fetching(NEW)), None) == machine.Wait()
    assert next_step(Record(OLD, None, Staged(NEW)), None) == machine.Activate(NEW)
    assert next_step(Record(OLD, None, Trial(NEW)), None) == machine.Judge(NEW)


def test_falling_back_rejects_what_was_current_unless_its_bytes_have_rotten() -> None:
    record = Record(NEW, OLD)

    assert machine.fall_back(record, Reason.OPERATOR).refuses(NEW)
    rotten = machine.fall_back(record, Reason.ROTTEN)
    assert rotten.current == OLD
    assert next_step(rotten, NEW) == machine.Begin(NEW)


def test_falling_back_leaves_a_candidate_alone_unless_it_is_what_is_fallen_back_to() -> None:
    assert machine.fall_back(Record(NEW, OLD, Staged(OTHER)), Reason.OPERATOR).phase == Staged(OTHER)
    assert machine.fall_back(Record(NEW, OLD, Staged(OLD)), Reason.OPERATOR).phase == Idle()


@pytest.mark.parametrize(
    ("transition", "phases"),
    [
        (lambda record: machine.fetch(record, OTHER), (Idle, Fetching, Staged)),
        (machine.retry, (Fetching,)),
        (machine.stage, (Fetching,)),
        (machine.refetch, (Staged,)),
        (machine.activate, (Staged,)),
        (machine.started, (Trial,)),
        (machine.stopped, (Trial,)),
        (machine.commit, (Trial,)),
        (lambda record: machine.reject(record, Reason.INTEGRITY), (Fetching, Staged, Trial)),
        (machine.withdraw, (Fetching, Staged, Trial)),
        (lambda record: machine.fall_back(record, Reason.OPERATOR), (Idle, Fetching, Staged, Trial)),
        (machine.reconsider, (Idle, Fetching, Staged, Trial)),
    ],
)
def test_a_transition_leaves_only_the_phases_it_is_for(
    transition: Callable[[Record], Record], phases: tuple[type, ...]
) -> None:
    for phase in (Idle(), Fetching(NEW), Staged(NEW), Trial(NEW)):
        record = Record(OLD, None, phase)
        if isinstance(phase, phases):
            transition(record)
        else:
            with pytest.raises(IllegalTransitionError):
                transition(record)


# --- the operator -------------------------------------------------------------------------------------------


def _sound(digest: str) -> bool:
    return digest in (OLD, NEW)


def test_the_operators_word_ends_a_trial_and_leaves_what_is_committed() -> None:
    record = machine.roll_back(Record(OLD, OTHER, Trial(NEW, 1)), _sound)

    assert (record.current, record.previous, record.phase) == (OLD, OTHER, Idle())
    assert record.last == Outcome(NEW, "rolled_back", Reason.OPERATOR)
    assert record.refuses(NEW)


@pytest.mark.parametrize("phase", [Idle(), Fetching(OTHER), Staged(OTHER)])
def test_the_operators_word_is_about_what_serves_and_not_about_what_is_on_its_way(phase: Phase) -> None:
    record = machine.roll_back(Record(NEW, OLD, phase), _sound)

    assert (record.current, record.previous, record.phase) == (OLD, None, phase)
    assert (record.refuses(NEW), record.refuses(OTHER)) == (True, False)


@pytest.mark.parametrize("record", [Record(), Record(OLD), Record(OLD, OTHER), Record(OLD, None, Fetching(NEW))])
def test_without_a_sound_release_to_go_back_to_the_operator_is_told(record: Record) -> None:
    with pytest.raises(InputError) as caught:
        machine.roll_back(record, _sound)
    assert caught.value.hint is not None


def test_a_start_forgets_only_what_may_lie_in_the_device() -> None:
    rejected = tuple(Rejection(str(reason), reason) for reason in Reason)

    kept = machine.reconsider(Record(OLD, None, Staged(NEW), rejected)).rejected

    assert {item.reason for item in rejected if item not in kept} == {Reason.INCOMPATIBLE, Reason.MISSING_DELEGATE}
    assert machine.reconsider(Record(OLD, None, Staged(NEW), rejected)).phase == Staged(NEW)


def test_with_nothing_installed_there_is_nothing_to_fall_back_from() -> None:
    with pytest.raises(IllegalTransitionError):
        machine.fall_back(Record(), Reason.ROTTEN)


@given(digests=st.lists(st.integers(0, 60).map(str), max_size=100))
def test_rejections_are_remembered_newest_last_and_bounded(digests: list[str]) -> None:
    record = SERVING_OLD
    for digest in digests:
        if not record.refuses(digest):
            record = machine.reject(machine.fetch(record, digest), Reason.INTEGRITY)

    assert len(record.rejected) <= MAX_REJECTED
    assert len({rejection.digest for rejection in record.rejected}) == len(record.rejected)


class Walk(RuleBasedStateMachine):
    """Whatever is desired and however its releases fare, the record stays one that can be served."""

    def __init__(self) -> None:
        super().__init__()
        self.record = Record()
        self.desired: str | None = None
        self.held = False

    @rule(desired=st.sampled_from([None, "a", "b", "c", "d"]))
    def desire(self, desired: str | None) -> None:
        self.desired, self.held = desired, False

    @rule()
    def hold(self) -> None:
        """Something was said, and nothing of it is for this device."""
        self.desired, self.held = None, True

    @rule(number=st.integers(1, 9), digests=st.sets(st.sampled_from(["a", "b", "c", "d"])))
    def lift(self, number: int, digests: set[str]) -> None:
        if number > self.record.lifted_for(TOPIC):
            self.record = machine.lift(self.record, TOPIC, number, digests)

    @rule(luck=st.sampled_from(["well", "badly", "crash", "later"]))
    def take_a_step(self, luck: str) -> None:
        record, reason = self.record, Reason.TRIAL_ERRORS
        match next_step(record, self.desired, held=self.held):
            case machine.Begin(digest):
                self.record = machine.fetch(record, digest)
            case machine.Fetch():
                later = machine.retry(record) if luck == "later" else machine.reject(record, reason)
                self.record = machine.stage(record) if luck == "well" else later
            case machine.Activate():
                self.record = machine.activate(record) if luck == "well" else machine.reject(record, reason)
            case machine.Judge():
                self.record = started = machine.started(record)
                if luck == "well":
                    self.record = machine.commit(started)
                elif luck == "badly":
                    self.record = machine.reject(started, reason)
            case machine.GiveUp(_, reason):
                self.record = machine.reject(record, reason)
            case machine.Withdraw():
                self.record = machine.withdraw(record)

    @rule(reason=st.sampled_from([Reason.OPERATOR, Reason.ROTTEN]))
    def fall_back(self, reason: Reason) -> None:
        if self.record.current is not None:
            self.record = machine.fall_back(self.record, reason)

    @rule()
    def come_to_rest(self) -> None:
        for _ in range(12):
            self.take_a_step("well")
        assert next_step(self.record, self.desired, held=self.held) == machine.Wait()
        assert not (self.held and self.record.candidate)
        if self.desired is not None:
            assert self.record.current == self.desired or self.record.refuses(self.desired)

    @invariant()
    def nothing_refused_is_served_or_kept_to_fall_back_to(self) -> None:
        for digest in (self.record.serving, self.record.current, self.record.previous, self.record.candidate):
            assert digest is None or Rejection(digest, Reason.TRIAL_ERRORS) not in self.record.rejected
            assert digest is None or not self.record.refuses(digest)

    @invariant()
    def current_previous_and_candidate_are_different_releases(self) -> None:
        record = self.record
        assert record.current is None or record.current not in (record.previous, record.candidate)


TestWalk = Walk.TestCase
