"""When a rollout is widened, when it is halted, and what it waits for."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.fleet import census
from converter.fleet.census import Census, Progress
from converter.fleet.devices import Device
from converter.fleet.plan import (
    Plan,
    Rule,
    next_move,
    parse_duration,
    parse_rule,
    parse_stages,
    share_of,
)
from edge_agent.errors import ConfigError
from edge_agent.link.messages import (
    AgentReport,
    HeldReport,
    OutcomeReport,
    ProblemReport,
    RejectionReport,
    ReleaseReport,
    Reported,
    StageReport,
)
from edge_agent.release.document import Lifts, Target
from edge_agent.release.rollout import Rollout, place_of
from tests.sim.releases import make_release

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD, NEW = make_release("1").target, make_release("2").target
IDLE = StageReport("birds", "stable", "idle", current=ReleaseReport(OLD.digest, "1"))
COMMITTED = replace(IDLE, current=ReleaseReport(NEW.digest, "2"))
FETCHING = replace(IDLE, phase="fetching", candidate=ReleaseReport(NEW.digest, "2"))
ROLLED_BACK = replace(
    IDLE,
    rejected=(RejectionReport(NEW.digest, "too_slow"),),
    last=OutcomeReport(NEW.digest, "rolled_back", "2", "too_slow", "p95 90 ms"),
)
REJECTED = replace(ROLLED_BACK, last=OutcomeReport(NEW.digest, "rejected", "2", "too_slow"))
HELD = replace(IDLE, held=HeldReport(NEW.digest, "2", "downgrade", "2 is older than 3, which serves"))


def device(name: str, stage: StageReport, *, online: bool = True, labels: tuple[str, ...] = ()) -> Device:
    pipelines = {"porch": {"main": stage}}
    return Device(name, online, Reported(AgentReport("0.1.0", "3.11"), labels=labels, pipelines=pipelines))


def given_to(rollout: Rollout, *, since: datetime = NOW) -> Target:
    return replace(NEW, rollout=replace(rollout, since=since.isoformat()))


def of_stages(*stages: StageReport, rollout: Rollout | None = None, since: datetime = NOW) -> Census:
    """Everybody is in the rollout, unless it is another."""
    devices = [device(f"pi-{number}", stage) for number, stage in enumerate(stages)]
    return census.take(given_to(rollout or Rollout(), since=since), devices)


# --- who is how far --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "progress", "detail"),
    [
        (COMMITTED, Progress.COMMITTED, ""),
        (FETCHING, Progress.UNDER_WAY, "fetching"),
        (IDLE, Progress.WAITING, ""),
        (ROLLED_BACK, Progress.ROLLED_BACK, "too_slow: p95 90 ms"),
        (REJECTED, Progress.REJECTED, "too_slow"),
        (replace(ROLLED_BACK, last=None), Progress.REJECTED, "too_slow"),
        (HELD, Progress.HELD, "downgrade: 2 is older than 3, which serves"),
        (replace(IDLE, problem=ProblemReport("expired", "too old")), Progress.HELD, "expired: too old"),
        (replace(IDLE, problem=ProblemReport("disk_full", "full")), Progress.WAITING, "disk_full: full"),
        # of an earlier document: the device has not heard this one yet
        (replace(HELD, held=HeldReport(NEW.digest, "2", "not_in_rollout", "…")), Progress.WAITING, ""),
        (replace(HELD, held=HeldReport(NEW.digest, "2", "halted", "…")), Progress.WAITING, ""),
        (replace(HELD, held=HeldReport(OLD.digest, "1", "downgrade", "…")), Progress.WAITING, ""),
    ],
)
def test_what_a_device_reports_is_how_far_it_is(stage: StageReport, progress: Progress, detail: str) -> None:
    (member,) = of_stages(stage).members

    assert (member.progress, member.detail) == (progress, detail)


def test_a_device_that_is_not_in_it_says_why() -> None:
    stage = replace(HELD, held=HeldReport(NEW.digest, "2", "not_in_rollout", "it is for 0 % of the devices"))
    (other,) = of_stages(stage, rollout=Rollout(percent=0)).others

    assert other.progress is Progress.HELD
    assert other.detail == "not_in_rollout: it is for 0 % of the devices"


def test_a_rejection_that_is_to_be_lifted_does_not_count_until_the_device_has_heard_of_it() -> None:
    target = replace(given_to(Rollout()), lifts=Lifts(7, (NEW.digest,)))
    before, after = ROLLED_BACK, replace(ROLLED_BACK, lifted=7)

    found = [census.take(target, [device("pi", stage)]).members[0].progress for stage in (before, after)]
    assert found == [Progress.WAITING, Progress.ROLLED_BACK]


def test_of_several_stages_the_worst_counts_and_the_device_once() -> None:
    pipelines = {"porch": {"main": COMMITTED}, "attic": {"main": REJECTED, "other": replace(IDLE, model="cats")}}
    found = Device("pi", online=True, reported=Reported(AgentReport("0.1.0", "3.11"), pipelines=pipelines))

    (member,) = census.take(given_to(Rollout()), [found]).members
    assert member.progress is Progress.REJECTED


def test_only_devices_that_follow_the_channel_count() -> None:
    others = [
        device("a", replace(IDLE, channel="beta")), device("b", replace(IDLE, model="cats")), Device("c", online=True),
    ]  # fmt: skip
    counted = census.take(given_to(Rollout()), others)

    assert (counted.members, counted.others) == ((), ())


def test_members_are_those_that_a_device_counts_itself_among() -> None:
    percent = 30
    devices = [device(f"pi-{number}", IDLE, labels=("lab",) if number == 0 else ()) for number in range(40)]
    counted = census.take(given_to(Rollout(percent=percent, canary_labels=("lab",))), devices)

    expected = {f"pi-{number}" for number in range(40) if number == 0 or place_of(f"pi-{number}", NEW.digest) < percent}
    assert {member.device for member in counted.members} == expected
    assert len(counted.others) == 40 - len(expected)


# --- what halts it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("failed>2%", Rule("failed", ">", 2, is_share=True)),
        (" rolled_back >= 1 ", Rule("rolled_back", ">=", 1, is_share=False)),
        ("offline>12.5 %", Rule("offline", ">", 12.5, is_share=True)),
    ],
)
def test_a_rule_is_a_word_a_comparison_and_a_number(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    "text", ["", "failed", "failed>", "failed<2%", "failed>-1", "broken>2%", "failed>101%", "failed>2%%", "failed=1"]
)
def test_what_is_no_rule_is_an_error_that_says_what_one_is(text: str) -> None:
    with pytest.raises(ConfigError, match=r"WORD>NUMBER.*failed, rejected, rolled_back, held, offline") as caught:
        parse_rule(text)
    assert "failed>2%" in str(caught.value.hint)


@given(st.text(max_size=20))
def test_whatever_is_typed_only_our_own_error_comes_out(text: str) -> None:
    for parse in (parse_rule, parse_stages, parse_duration):
        with suppress(ConfigError):
            assert parse(text) is not None


def test_a_share_is_of_the_devices_that_can_tell() -> None:
    devices = [
        device("a", ROLLED_BACK),
        device("b", COMMITTED, online=False),
        device("c", IDLE),
        device("d", IDLE, online=False),
    ]
    counted = census.take(given_to(Rollout()), devices)

    assert [len(share_of(counted, word).hit) for word in ("failed", "rejected", "held", "offline")] == [1, 0, 0, 2]
    assert [len(share_of(counted, word).among) for word in ("failed", "offline")] == [3, 4]


@pytest.mark.parametrize(
    ("rule", "halts"),
    [
        ("failed>25%", False), ("failed>=25%", True), ("failed>0", True), ("failed>1", False), ("failed>=1", True),
        ("rejected>0", False), ("rolled_back>0", True), ("offline>=25%", True), ("offline>25%", False),
        ("held>0", True),
    ],
)  # fmt: skip
def test_a_rule_compares_as_it_is_written(rule: str, halts: bool) -> None:  # noqa: FBT001
    stages = (ROLLED_BACK, COMMITTED, COMMITTED, HELD)
    devices = [device(f"pi-{number}", stage, online=number != 1) for number, stage in enumerate(stages)]
    verdict = parse_rule(rule).verdict(census.take(given_to(Rollout()), devices))

    assert (verdict is not None) is halts
    if halts:
        assert rule in str(verdict)


def test_of_no_devices_there_is_no_verdict() -> None:
    assert Rule("failed", ">=", 0, is_share=True).verdict(of_stages()) is None
    gone = census.take(given_to(Rollout()), [device("a", IDLE, online=False)])
    assert Rule("failed", ">=", 0, is_share=True).verdict(gone) is None


# --- stages and time ---------------------------------------------------------------------------------------------


def test_stages_are_rising_percents() -> None:
    assert parse_stages("1, 10,50,100") == (1, 10, 50, 100)
    for wrong in ("", "0,10", "10,10", "50,10", "1,101", "1.5", "a", "1,,2"):
        with pytest.raises(ConfigError, match="--stages"):
            parse_stages(wrong)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172800), ("1h30m", 5400), ("0s", 0)]
)
def test_a_time_is_written_with_its_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "30m1h", "-1h", "366d", "9" * 30 + "d"])
def test_a_time_without_one_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="--soak"):
        parse_duration(text)


PLAN = Plan((1, 10, 100), timedelta(hours=1), (parse_rule("failed>2%"),))
HOUR = timedelta(hours=1)


def test_a_stage_soaks_from_when_its_percentage_was_signed() -> None:
    counted = of_stages(COMMITTED, COMMITTED, rollout=Rollout(percent=100))
    almost = next_move(counted, PLAN, NOW + timedelta(minutes=59))

    assert (almost.kind, almost.wait_s) == ("wait", 60)
    assert almost.why == "2 devices: 2 committed; it soaks until 2026-11-21 13:00:00 UTC"
    assert next_move(counted, PLAN, NOW).why == almost.why, "the same sentence is not said twice"
    assert next_move(counted, PLAN, NOW + HOUR).kind == "finished"


def test_after_the_soak_it_is_widened_to_the_next_stage() -> None:
    rollout = Rollout(percent=1, canary_devices=("pi-0",))
    move = next_move(of_stages(COMMITTED, rollout=rollout), PLAN, NOW + HOUR)
    between = next_move(of_stages(COMMITTED, rollout=replace(rollout, percent=5)), PLAN, NOW + HOUR)

    assert (move.kind, move.percent) == ("widen", 10)
    assert (between.kind, between.percent) == ("widen", 10)


def test_a_device_that_is_online_and_still_at_it_is_waited_for_and_one_that_is_offline_is_not() -> None:
    target = given_to(Rollout())
    at_it = census.take(target, [device("a", COMMITTED), device("b", FETCHING)])
    away = census.take(target, [device("a", COMMITTED), device("b", FETCHING, online=False)])

    move = next_move(at_it, PLAN, NOW + 2 * HOUR)
    assert (move.kind, "waiting for b (fetching)" in move.why) == ("wait", True)
    assert next_move(away, PLAN, NOW + 2 * HOUR).kind == "finished"


@pytest.mark.parametrize("stage", [HELD, replace(IDLE, problem=ProblemReport("signature", "by nobody"))])
def test_a_stage_in_which_no_device_has_tried_it_is_not_passed(stage: StageReport) -> None:
    move = next_move(of_stages(stage), PLAN, NOW + 99 * HOUR)

    assert (move.kind, "nothing to judge by" in move.why) == ("wait", True)
    gone = census.take(given_to(Rollout()), [device("a", IDLE, online=False)])
    assert next_move(gone, PLAN, NOW + 99 * HOUR).kind == "wait"


def test_a_stage_that_hits_no_device_is_passed_at_once_and_says_so() -> None:
    move = next_move(of_stages(IDLE, rollout=Rollout(percent=0)), PLAN, NOW)

    assert (move.kind, move.percent) == ("widen", 1)
    assert move.why == "no known device is in it at 0 %"


def test_too_many_failures_halt_it_at_once_also_at_the_last_stage_and_while_it_is_paused() -> None:
    counted = of_stages(COMMITTED, ROLLED_BACK)
    move = next_move(counted, PLAN, NOW)
    assert move.kind == "halt"
    assert move.why == "failed>2%: 1 of 2 devices (50.0 %) failed: pi-1 (too_slow: p95 90 ms)"

    assert next_move(of_stages(ROLLED_BACK, rollout=Rollout(state="paused")), PLAN, NOW).kind == "halt"


def test_what_is_paused_or_halted_is_not_widened() -> None:
    for state, kind in (("paused", "paused"), ("halted", "halted")):
        rollout = Rollout(percent=100, state="paused" if state == "paused" else "halted")
        assert next_move(of_stages(COMMITTED, rollout=rollout), PLAN, NOW + HOUR).kind == kind


def test_a_document_that_does_not_tell_since_when_is_as_old_as_its_release() -> None:
    counted = census.take(replace(NEW, created=(NOW - HOUR).isoformat()), [device("a", COMMITTED)])
    assert next_move(counted, PLAN, NOW).kind == "finished"
    garbled = census.take(replace(NEW, created="yesterday"), [device("a", COMMITTED)])
    assert next_move(garbled, PLAN, NOW + 99 * HOUR).kind == "wait"
