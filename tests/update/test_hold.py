"""Quiet hours and turns: nothing is fetched before its time, it is said why, and a clock may jump as it likes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edge_agent.config.quiet import QuietHours
from edge_agent.config.update import UpdateConfig
from edge_agent.errors import Reason
from edge_agent.update.hold import Hold, share_of
from edge_agent.update.machine import Fetching
from edge_agent.update.status import Problem
from tests.sim.clock import FakeClock
from tests.sim.device import SimDevice
from tests.sim.releases import SimTransport, make_release, noise

OLD, NEW = make_release("1"), make_release("2", noise(500_000, "new"))
NIGHT = QuietHours.parse("22:00-06:00")


class WallClock(FakeClock):
    """Its wall time can be set."""

    def __init__(self, at: str = "2026-01-01T12:00") -> None:
        super().__init__(_seconds(at))

    def set(self, at: str) -> None:
        self._began_s = _seconds(at) - self._passed_s


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()


def _utc(now_s: float) -> datetime:
    return datetime.fromtimestamp(now_s, UTC)


def quiet_at(span: str, at: str) -> bool:
    return Hold("porch", WallClock(at), quiet=QuietHours.parse(span), local=_utc)(NEW.target) is not None


@pytest.mark.parametrize(
    ("span", "at", "quiet"),
    [
        ("22:00-06:00", "2026-01-01T21:59", False),
        ("22:00-06:00", "2026-01-01T22:00", True),
        ("22:00-06:00", "2026-01-02T00:00", True),
        ("22:00-06:00", "2026-01-02T05:59", True),
        ("22:00-06:00", "2026-01-02T06:00", False),
        ("08:00-18:30", "2026-01-01T18:29", True),
        ("08:00-18:30", "2026-01-01T18:30", False),
        ("08:00-18:30", "2026-01-01T07:59", False),
        ("00:00-23:59", "2026-01-01T23:59", False),
    ],
)
def test_quiet_hours_hold_from_their_first_minute_to_before_their_last(span: str, at: str, quiet: bool) -> None:  # noqa: FBT001
    assert quiet_at(span, at) is quiet


@pytest.mark.parametrize("text", ["22-06", "22:00-22:00", "24:00-06:00", "22:00 06:00", "22:60-06:00", " 22:00-06:00"])
def test_quiet_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quiet_hours"):
        UpdateConfig(quiet_hours=text)


def test_each_device_has_its_place_for_each_release_and_they_are_spread_evenly() -> None:
    shares = [share_of(f"device-{number}", NEW.digest) for number in range(1000)]

    assert share_of("device-1", NEW.digest) == shares[1]
    assert share_of("device-1", OLD.digest) != shares[1]
    tenths = [sum(tenth / 10 <= share < (tenth + 1) / 10 for share in shares) for tenth in range(10)]
    assert min(tenths) > 60
    assert max(tenths) < 140


def test_a_fetch_begins_at_the_devices_own_moment_after_the_release_was_signed() -> None:
    target = replace(NEW.target, created="2026-01-01T12:00:00+00:00")
    clock = WallClock("2026-01-01T12:00")
    hold = Hold("porch", clock, spread_s=1000, local=_utc)
    wait_s = share_of("porch", NEW.digest) * 1000

    problem = hold(target)
    assert problem is not None
    assert problem.reason is Reason.POSTPONED
    assert f"{_utc(clock.now_s() + wait_s):%H:%M:%S}" in problem.detail
    clock.advance(wait_s - 1)
    assert hold(target) == problem  # the same words, or it would be reported each second
    assert Hold("porch", clock, spread_s=1000, local=_utc)(target) is not None
    clock.advance(2)
    assert hold(target) is None
    assert Hold("porch", clock, spread_s=1000, local=_utc)(target) is None  # a restart does not begin anew


@pytest.mark.parametrize("now", ["1970-01-01T00:10", "2099-01-01T00:00"])
def test_a_wrong_clock_costs_at_most_the_spread(now: str) -> None:
    clock = WallClock(now)
    hold = Hold("porch", clock, spread_s=1000, local=_utc)
    hold(NEW.target)
    clock.advance(1000)

    assert hold(NEW.target) is None


# --- the updater ------------------------------------------------------------------------------------------------------


def held_device(hold: Callable[[WallClock], Hold], at: str = "2026-01-01T12:00") -> tuple[SimDevice, WallClock]:
    """A device that has OLD; its time is the hold's."""
    device = SimDevice(SimTransport(OLD, NEW)).boot()
    device.run(OLD.target)
    device.transport.carried.clear()
    clock = WallClock(at)
    device.updater._parts = replace(device.updater._parts, hold=hold(clock))
    return device, clock


def quiet(clock: WallClock) -> Hold:
    return Hold("porch", clock, quiet=NIGHT, local=_utc)


def test_nothing_is_fetched_in_quiet_hours_and_it_is_said_and_nothing_is_written_meanwhile() -> None:
    device, clock = held_device(quiet, "2026-01-01T23:00")
    device.run(NEW.target)

    assert device.transport.carried == []
    assert device.server.serving == OLD.digest
    assert device.status.problem == Problem(Reason.POSTPONED, "waits for the end of quiet hours at 06:00")
    operations, reports = device.disk.operations, len(device.reports)
    device.run_for(300)
    assert (device.disk.operations, len(device.reports)) == (operations, reports)
    assert device.record.phase == Fetching(NEW.digest, 1)  # waiting is no failed attempt

    clock.set("2026-01-02T06:00")
    device.run_for(300)
    assert device.record.current == NEW.digest
    assert device.status.problem is None


def test_a_fetch_under_way_pauses_when_quiet_hours_begin_and_goes_on_without_fetching_anything_again() -> None:
    device, clock = held_device(quiet, "2026-01-01T21:59")
    device.transport.on_chunk = lambda digest: (
        clock.set("2026-01-01T22:00") if len(device.transport.carried) == 3 else None
    )
    device.run(NEW.target)
    before = list(device.transport.carried)

    assert len(before) == 4  # the one that was on its way is kept
    assert device.status.problem == Problem(Reason.POSTPONED, "waits for the end of quiet hours at 06:00")
    device.transport.on_chunk = lambda digest: None
    clock.set("2026-01-02T06:00")
    device.run_for(300)

    assert device.record.current == NEW.digest
    assert len(device.transport.carried) == len(set(device.transport.carried))


def test_while_a_fetch_goes_on_after_quiet_hours_nobody_is_told_that_it_waits() -> None:
    device, clock = held_device(quiet, "2026-01-01T23:00")
    device.run(NEW.target)
    clock.set("2026-01-02T06:00")
    told: list[Problem | None] = []
    device.transport.on_chunk = lambda digest: told.append(device.status.problem)
    device.run_for(5)

    assert told
    assert set(told) == {None}


def test_a_clock_that_jumps_is_followed_both_ways() -> None:
    device, clock = held_device(quiet, "1970-01-01T00:10")  # no network time yet
    device.run(NEW.target)
    assert device.transport.carried == []

    clock.set("2026-01-01T12:00")
    device.transport.on_chunk = lambda digest: (
        clock.set("2026-01-01T03:00") if len(device.transport.carried) == 2 else None
    )
    device.run_for(5)
    assert len(device.transport.carried) == 3
    assert device.status.problem is not None

    device.transport.on_chunk = lambda digest: None
    clock.set("2026-01-01T12:00")
    device.run_for(300)
    assert device.record.current == NEW.digest


def test_quiet_hours_keep_nobody_from_rolling_back_or_from_wanting_something_else() -> None:
    device, _ = held_device(quiet, "2026-01-01T23:00")
    device.run(NEW.target)
    device.run(OLD.target)

    assert device.record.candidate is None
    assert device.record.current == device.server.serving == OLD.digest
    assert device.status.problem is None
