"""Candidates in shadow: compared before any of their answers counts, and a device that has no room goes on without."""

import pytest

from edge_agent.errors import Reason, RejectionError, WorkerCrashedError
from edge_agent.inference.ipc import Shadowed
from edge_agent.release.manifest import Limits
from edge_agent.update.machine import Idle, Record, Staged
from edge_agent.update.shadow import ShadowPlan, judge_shadow, lacks_memory, read_available_bytes
from tests.sim.device import SimDevice
from tests.sim.releases import SimTransport, make_release

OLD, NEW, NEXT = make_release("1"), make_release("2"), make_release("3")
PLAN = ShadowPlan(0.5, 100, 60.0, lambda: None)


@pytest.fixture
def device() -> SimDevice:
    """Serving OLD; candidates run in shadow."""
    device = SimDevice(SimTransport(OLD, NEW, NEXT))
    device.shadow = PLAN
    device.boot().run(OLD.target)
    device.server.served.clear()
    return device


def _said(compared: int, agreed: int, *, over: bool = True, problem: str | None = None) -> Shadowed:
    return Shadowed("main", NEW.digest, compared, agreed, over, problem=problem)


def test_a_candidate_that_agrees_goes_on_trial_and_the_outcome_says_how_far_it_did(device: SimDevice) -> None:
    assert device.server.shadowed == []  # the first release had nothing to be compared with
    record = device.run(NEW.target)

    assert device.server.shadowed == [NEW.digest]
    assert device.server.served == [NEW.digest]
    assert record.last is not None
    assert str(record.last.detail).endswith("; in shadow 100 of 100 answers were the current release's")


def test_one_that_disagrees_is_rejected_and_never_serves(device: SimDevice) -> None:
    device.server.disagreeing.add(NEW.digest)
    record = device.run(NEW.target)

    assert record.current == OLD.digest
    assert record.last is not None
    assert (record.last.result, record.last.reason) == ("rejected", Reason.DISAGREES)
    assert record.refuses(NEW.digest)
    assert device.server.served == []


def test_one_that_crashes_in_shadow_is_rejected_and_never_serves(device: SimDevice) -> None:
    device.server.crashing_in_shadow.add(NEW.digest)
    record = device.run(NEW.target)

    assert record.last is not None
    assert (record.last.result, record.last.reason) == ("rejected", Reason.PROBE_CRASHED)
    assert device.server.served == []


def test_without_the_memory_for_both_there_is_none_and_the_outcome_says_so() -> None:
    device = SimDevice(SimTransport(OLD, NEW))
    device.shadow = ShadowPlan(0.5, 100, 60.0, lambda: 1_000_000)
    device.boot().run(OLD.target)
    record = device.run(NEW.target)

    assert device.server.shadowed == []
    assert record.current == NEW.digest
    assert record.last is not None
    assert "no shadow: it takes 32 MB of memory, 1 MB are available" in str(record.last.detail)


def test_a_worker_that_dies_meanwhile_says_nothing_of_the_candidate(device: SimDevice) -> None:
    def die() -> None:
        raise WorkerCrashedError("the worker ended with signal SIGKILL")

    device.server.before_shadow_word = die
    record = device.run(NEW.target)

    assert record.current == NEW.digest
    assert record.last is not None
    assert "not judged in shadow, 0 frames are compared: the worker ended" in str(record.last.detail)


def test_another_desire_ends_a_shadow_at_once(device: SimDevice) -> None:
    device.server.before_shadow_word = lambda: device.updater.desire(NEXT.target)
    record = device.run(NEW.target)

    assert record.current == NEXT.digest
    assert not record.refuses(NEW.digest)
    assert device.server.served == [NEXT.digest]


def test_a_shadow_that_was_cut_off_begins_anew(device: SimDevice) -> None:
    class CutError(BaseException):
        pass

    def cut() -> None:
        raise CutError

    device.server.before_shadow_word = cut
    with pytest.raises(CutError):
        device.run(NEW.target)
    device.lose_process()
    assert device.record == Record(OLD.digest, None, Staged(NEW.digest), (), device.record.last)
    device.boot().run(NEW.target)

    assert device.server.shadowed == [NEW.digest]
    assert device.record.current == NEW.digest
    assert device.record.phase == Idle()


def test_a_source_that_gives_nothing_ends_a_shadow_by_its_time(device: SimDevice) -> None:
    device.shadow = ShadowPlan(0.5, 10**9, 0.5, lambda: None)
    device.lose_process()
    device.boot().run(NEW.target)

    assert device.record.current == NEW.digest


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        (_said(100, 49), Limits()),
        (_said(100, 89), Limits(agreement=0.9)),
        (_said(15, 0, over=False), Limits()),  # beyond doubt, though not all frames are compared
    ],
)
def test_who_agrees_too_seldom_disagrees(said: Shadowed, limits: Limits) -> None:
    with pytest.raises(RejectionError) as caught:
        judge_shadow(said, limits)

    assert caught.value.reason is Reason.DISAGREES
    assert f"{said.agreed} of {said.compared} frames" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        (_said(100, 50), Limits()),
        (_said(100, 0), Limits(agreement=0.0)),
        (_said(9, 0, over=False), Limits()),  # too few to say
        (_said(20, 9, over=False), Limits()),  # chance may be the reason
        (_said(20, 9, problem="another release serves now"), Limits()),
    ],
)
def test_what_is_not_sure_is_left_to_the_trial(said: Shadowed, limits: Limits) -> None:
    assert judge_shadow(said, limits)


def test_memory_is_asked_of_the_kernel() -> None:
    available_bytes = read_available_bytes()
    assert available_bytes is not None
    assert available_bytes > 1_000_000
    assert lacks_memory(available_bytes * 2, ShadowPlan(0.5, 1, 1.0, read_available_bytes)) is not None
    assert lacks_memory(1, PLAN) is None
