"""One stage's updates from desire to commit, and every way they go wrong. The power cuts are in tests/power."""

from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from edge_agent.errors import InputError, Reason, StorageError, WorkerCrashedError
from edge_agent.release.document import Lifts
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.release.rollout import Rollout
from edge_agent.update.eligibility import HoldReason
from edge_agent.update.machine import Fetching, Idle, Lifted, Outcome, Record, Staged, Trial
from edge_agent.update.status import Status
from tests.link.test_https import FakeSource
from tests.sim.device import SimDevice
from tests.sim.releases import SimTransport, make_release

NOBODY, HALTED = Rollout(percent=0), Rollout(state="halted")
OLD, NEW, NEXT = make_release("1"), make_release("2"), make_release("3")


@pytest.fixture
def device() -> SimDevice:
    """Serving OLD."""
    device = SimDevice(SimTransport(OLD, NEW, NEXT)).boot()
    device.run(OLD.target)
    assert device.record.current == OLD.digest
    device.server.served.clear()
    device.reports.clear()
    return device


def _unchanged(device: SimDevice) -> bool:
    """Whether all that was is: OLD serves, and nothing else is installed."""
    return (
        device.server.serving == OLD.digest
        and device.record.current == OLD.digest
        and device.record.phase == Idle()
        and device.disk.entries("releases") == [(OLD.digest, True)]
        and device.disk.entries("staging") == []
    )


# --- the way it should go -----------------------------------------------------------------------------------


def test_a_desired_release_is_fetched_proved_tried_and_committed(device: SimDevice) -> None:
    record = device.run(NEW.target)

    assert record == Record(NEW.digest, OLD.digest, Idle(), (), record.last)
    assert record.last == Outcome(NEW.digest, "committed", detail="520 frames in 5.2 s, 0 failed")
    assert device.server.served == [NEW.digest]
    phases = dict.fromkeys(type(status.record.phase) for status in device.reports)
    assert list(phases) == [Idle, Fetching, Staged, Trial]


def test_the_status_names_versions_and_what_the_update_has_cost(device: SimDevice) -> None:
    device.run(NEW.target)

    status = device.status
    assert status.versions == {OLD.digest: "1", NEW.digest: "2"}
    assert status.desired == NEW.target
    assert status.problem is None
    assert status.probe is not None
    assert status.fetched is not None
    assert status.fetched.reused_bytes == len(b"crow\nowl\n")


def test_hearing_the_same_desire_again_changes_nothing(device: SimDevice) -> None:
    device.run(NEW.target)
    device.reports.clear()
    operations = device.disk.operations
    device.run(NEW.target)

    assert device.reports == []
    assert device.disk.operations == operations


def test_only_current_and_previous_stay_on_the_disk(device: SimDevice) -> None:
    for release in (NEW, NEXT):
        device.run(release.target)

    assert [name for name, _ in device.disk.entries("releases")] == sorted([NEW.digest, NEXT.digest])


def test_a_signed_downgrade_needs_no_network(device: SimDevice) -> None:
    device.run(NEW.target)
    device.transport.blobs.clear()
    record = device.run(replace(OLD.target, downgrade=True))

    assert (record.current, record.previous) == (OLD.digest, NEW.digest)


def test_after_a_start_the_committed_release_serves_before_anything_else(device: SimDevice) -> None:
    device.run(NEW.target)
    device.lose_process()
    device.boot()
    device.transport.on_chunk = lambda digest: (
        pytest.fail("fetched before it served") if not device.server.serving else None
    )
    device.run(NEXT.target)

    assert device.server.served == [NEW.digest, NEXT.digest]


def test_a_new_desire_during_a_fetch_is_followed_at_once(device: SimDevice) -> None:
    device.transport.on_chunk = lambda digest: (
        device.updater.desire(NEXT.target) if digest in NEW.chunk_digests else None
    )
    record = device.run(NEW.target)

    assert record.current == NEXT.digest
    assert record.previous == OLD.digest
    assert not record.refuses(NEW.digest)
    assert device.server.served == [NEXT.digest]


def test_a_new_desire_during_a_trial_ends_it(device: SimDevice) -> None:
    device.server.before_word = lambda: device.updater.desire(NEXT.target)
    record = device.run(NEW.target)

    assert (record.current, record.previous) == (NEXT.digest, OLD.digest)
    assert device.server.served == [NEW.digest, OLD.digest, NEXT.digest]


def test_a_device_that_hears_nothing_goes_on_serving(device: SimDevice) -> None:
    device.lose_process()
    device.desired = None
    device.boot().run()

    assert device.server.served == [OLD.digest]
    assert _unchanged(device)


# --- releases that will not do ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sickness", "result", "reason"),
    [
        ("unproven", "rejected", Reason.GOLDEN_MISMATCH),
        ("unloadable", "rolled_back", Reason.LOAD_FAILED),
        ("erring", "rolled_back", Reason.TRIAL_ERRORS),
        ("crashing", "rolled_back", Reason.CRASH_LOOP),
        ("crashing_later", "rolled_back", Reason.CRASH_LOOP),
    ],
)
def test_a_sick_release_is_given_up_and_the_old_one_serves(
    device: SimDevice, sickness: str, result: str, reason: Reason
) -> None:
    if sickness == "unproven":
        device.unproven.add(NEW.digest)
    else:
        getattr(device.server, sickness).add(NEW.digest)
    record = device.run(NEW.target)

    assert record.last is not None
    assert (record.last.digest, record.last.result, record.last.reason) == (NEW.digest, result, reason)
    assert record.last.detail
    assert record.refuses(NEW.digest)
    assert record.previous is None
    assert _unchanged(device)
    assert device.status.versions[NEW.digest] == "2"


def test_a_refused_release_is_not_tried_again_after_a_restart(device: SimDevice) -> None:
    device.unproven.add(NEW.digest)
    device.run(NEW.target)
    device.lose_process()
    device.unproven.clear()
    device.boot().run()

    assert device.server.served == [OLD.digest]
    assert _unchanged(device)


def test_what_was_refused_for_a_reason_of_the_devices_own_is_tried_once_more_at_each_start(device: SimDevice) -> None:
    device.unproven.add(NEW.digest)
    device.unproven_reason = Reason.MISSING_DELEGATE
    device.run(NEW.target)
    device.run(NEW.target)  # without a start, nothing is tried again
    device.lose_process()
    device.boot().run()
    assert device.record.refuses(NEW.digest)
    assert _unchanged(device)

    device.lose_process()
    device.unproven.clear()  # the operator has mended the settings
    record = device.boot().run()

    assert record.current == NEW.digest
    assert record.previous == OLD.digest
    assert record.rejected == ()


def test_a_corrupt_artifact_is_rejected_and_nothing_else_changes(device: SimDevice) -> None:
    record = device.run(replace(NEW.target, size_bytes=NEW.target.size_bytes + 1))

    assert record.last is not None
    assert record.last.reason is Reason.INTEGRITY
    assert device.server.served == []
    assert _unchanged(device)


def test_a_document_that_names_another_artifact_is_rejected(device: SimDevice) -> None:
    record = device.run(replace(NEW.target, version="9"))

    assert record.last is not None
    assert record.last.reason is Reason.WRONG_TARGET
    assert record.last.detail == "the signed document says birds 9, the artifact birds 2"
    assert _unchanged(device)


def test_a_release_that_crashes_only_once_is_kept(device: SimDevice) -> None:
    crashes = iter([True])

    def crash_once() -> None:
        if next(crashes, False):
            device.server.serving = None
            raise WorkerCrashedError("the worker ended with signal SIGKILL")

    device.server.before_word = crash_once
    record = device.run(NEW.target)

    assert record.current == NEW.digest
    assert device.server.served == [NEW.digest, OLD.digest, NEW.digest]


def test_a_source_that_has_ended_leaves_the_release_to_its_probe(device: SimDevice) -> None:
    device.server.source_ended = True
    record = device.run(NEW.target)

    assert record.last is not None
    assert record.last.result == "committed"
    assert "by its probe alone" in (record.last.detail or "")


# --- rollouts and orders ------------------------------------------------------------------------------------


def test_a_release_that_is_not_for_this_device_is_not_taken_and_that_is_reported(device: SimDevice) -> None:
    device.run(replace(NEW.target, rollout=NOBODY))

    assert device.status.held is not None
    assert (device.status.held.digest, device.status.held.reason) == (NEW.digest, HoldReason.NOT_IN_ROLLOUT)
    assert device.server.served == []
    assert _unchanged(device)

    assert device.run(NEW.target).current == NEW.digest
    assert device.status.held is None


def test_a_halt_stops_a_fetch_and_its_bytes_stay_for_when_it_goes_on(device: SimDevice) -> None:
    halted = replace(NEW.target, rollout=HALTED)
    device.transport.on_chunk = lambda digest: (
        device.updater.desire(halted) if len(device.transport.carried) == carried + 2 else None
    )
    carried = len(device.transport.carried)
    record = device.run(NEW.target)

    assert (record.current, record.phase) == (OLD.digest, Idle())
    assert record.last == Outcome(NEW.digest, "withdrawn")
    assert device.status.held is not None
    assert device.status.held.reason is HoldReason.HALTED
    assert device.server.served == []
    assert [name for name, _ in device.disk.entries("staging")] == [NEW.digest, f"{NEW.digest}.index"]

    came = device.transport.carried[carried:]
    device.transport.on_chunk = lambda digest: None
    assert device.run(NEW.target).current == NEW.digest
    assert not set(device.transport.carried[carried + len(came) :]) & set(came)


def test_a_halt_stops_what_is_staged_and_keeps_it_on_the_disk(device: SimDevice) -> None:
    device.unable_probes = 1
    device.run(NEW.target)
    assert device.record.phase == Staged(NEW.digest)
    record = device.run(replace(NEW.target, rollout=HALTED))

    assert (record.current, record.phase) == (OLD.digest, Idle())
    assert device.store.holds(NEW.digest)
    assert device.server.serving == OLD.digest

    device.transport.blobs.clear()
    assert device.run(NEW.target).current == NEW.digest


def test_a_halt_during_the_probe_keeps_it_from_its_trial(device: SimDevice) -> None:
    device.on_probe = lambda: device.updater.desire(replace(NEW.target, rollout=HALTED))
    record = device.run(NEW.target)

    assert (record.current, record.phase) == (OLD.digest, Idle())
    assert device.server.served == []


def test_a_trial_that_has_begun_ends_in_its_own_way_when_the_rollout_is_halted(device: SimDevice) -> None:
    device.server.before_word = lambda: device.updater.desire(replace(NEW.target, rollout=HALTED))
    record = device.run(NEW.target)

    assert (record.current, record.previous) == (NEW.digest, OLD.digest)
    assert device.server.served == [NEW.digest]
    assert device.status.held is None


def test_a_device_that_has_a_halted_release_keeps_it_over_a_restart(device: SimDevice) -> None:
    device.run(NEW.target)
    device.run(replace(NEW.target, rollout=HALTED))
    device.lose_process()
    device.boot().run()

    assert device.record.current == NEW.digest
    assert device.server.served == [NEW.digest]


def test_an_older_release_without_an_order_is_not_taken(device: SimDevice) -> None:
    device.run(NEW.target)
    record = device.run(OLD.target)

    assert (record.current, record.previous) == (NEW.digest, OLD.digest)
    assert device.status.held is not None
    assert device.status.held.reason is HoldReason.DOWNGRADE
    assert device.server.serving == NEW.digest


def test_a_device_with_nothing_installed_takes_the_release_before_a_rollout_that_it_is_not_in() -> None:
    fresh = SimDevice(SimTransport(OLD, NEW)).boot()
    record = fresh.run(replace(NEW.target, rollout=NOBODY, previous=(OLD.target,)))

    assert record.current == OLD.digest
    assert fresh.status.held is not None
    assert fresh.status.held.reason is HoldReason.NOT_IN_ROLLOUT
    assert fresh.status.versions == {OLD.digest: "1"}


def test_without_a_release_for_it_a_new_device_runs_what_it_was_set_up_with(tmp_path: Path) -> None:
    fresh = SimDevice(SimTransport(NEW), initial=OLD.write(tmp_path / "old.edge")).boot()
    record = fresh.run(replace(NEW.target, rollout=NOBODY))

    assert (record.current, record.phase) == (OLD.digest, Idle())


def test_a_signed_order_lifts_a_rejection_and_it_is_tried_again(device: SimDevice) -> None:
    device.unproven.add(NEW.digest)
    device.run(NEW.target)
    assert device.status.held is not None
    assert device.status.held.reason is HoldReason.REJECTED_BEFORE
    device.unproven.clear()
    record = device.run(replace(NEW.target, lifts=Lifts(7, (NEW.digest,))))

    assert (record.current, record.rejected, record.lifted) == (NEW.digest, (), (Lifted("birds/stable", 7),))
    assert device.status.held is None


def test_a_release_that_is_rejected_again_after_the_order_is_not_tried_in_a_loop(device: SimDevice) -> None:
    device.unproven.add(NEW.digest)
    device.run(NEW.target)
    order = replace(NEW.target, lifts=Lifts(7, (NEW.digest,)))
    probes = device.probes
    device.run(order)
    assert device.probes == probes + 1
    device.run(replace(order, rollout=Rollout(percent=50, canary_devices=("porch-pi",))))  # the order in a new document
    device.lose_process()
    device.boot().run()

    assert device.probes == probes + 1
    assert device.record.refuses(NEW.digest)
    assert _unchanged(device)

    device.unproven.clear()
    assert device.run(replace(NEW.target, lifts=Lifts(8, (NEW.digest,)))).current == NEW.digest


def test_an_order_counts_on_a_channel_that_a_device_comes_to_later_whatever_number_the_channel_before_was_at(
    device: SimDevice,
) -> None:
    device.unproven.add(NEW.digest)
    device.run(replace(NEW.target, channel="beta", lifts=Lifts(2_000_000_000, (NEW.digest,))))
    assert device.record.refuses(NEW.digest)
    device.unproven.clear()

    record = device.run(replace(NEW.target, lifts=Lifts(7, (NEW.digest,))))

    assert record.current == NEW.digest


def test_an_order_is_over_also_for_a_device_that_had_nothing_to_lift(device: SimDevice) -> None:
    device.unproven.add(NEW.digest)
    order = replace(NEW.target, lifts=Lifts(7, (NEW.digest,)))
    device.run(order)
    device.run(order)

    assert device.probes == 2  # one for OLD, one for NEW
    assert device.record.refuses(NEW.digest)


# --- a world that fails -------------------------------------------------------------------------------------


def test_a_link_that_fails_is_tried_again_and_is_no_rejection(device: SimDevice) -> None:
    device.transport.breaks_after = 2
    record = device.run(NEW.target)

    assert record.phase == Fetching(NEW.digest, 2)
    assert device.status.problem is not None
    assert device.status.problem.reason is Reason.MISSING_CHUNK
    assert device.server.serving == OLD.digest

    device.transport.breaks_after = None
    assert device.run_for(2.0).current == NEW.digest
    assert device.status.problem is None


def test_the_waits_between_attempts_grow_and_stay_bounded(device: SimDevice) -> None:
    device.transport.breaks_after = 0
    device.run(NEW.target)
    device.run_for(3600.0)

    phase = device.record.phase
    assert isinstance(phase, Fetching)
    assert 12 < phase.attempt < 80


def test_a_new_desire_does_not_wait_for_the_old_ones_back_off(device: SimDevice) -> None:
    device.transport.breaks_after = 0
    device.run(NEW.target)
    device.run_for(1000.0)
    device.transport.breaks_after = None
    began_s = device.clock.monotonic_s()

    assert device.run(NEXT.target).current == NEXT.digest
    assert device.clock.monotonic_s() - began_s < 10.0


def test_trouble_of_the_transport_is_reported_while_it_goes_on(device: SimDevice) -> None:
    seen: list[Reason] = []

    def report_trouble(digest: str) -> None:
        device.updater._trouble(Reason.CORRUPT_CHUNK, "one chunk is corrupt")
        seen.extend(status.problem.reason for status in device.reports if status.problem)

    device.transport.on_chunk = report_trouble
    device.run(NEW.target)

    assert set(seen) == {Reason.CORRUPT_CHUNK}
    assert any(status.problem and "edgectl seed" in (status.problem.hint or "") for status in device.reports)
    assert device.status.problem is None


def test_a_web_source_that_fails_is_reported_and_the_broker_gives_what_it_lacks(device: SimDevice) -> None:
    first = next(iter(NEW.chunk_digests))
    device.sources = [FakeSource({first: NEW.blobs[first]}, "https://sim")]
    device.boot()
    carried = len(device.transport.carried)

    assert device.run(NEW.target).current == NEW.digest
    problems = [status.problem for status in device.reports if status.problem]
    assert {problem.reason for problem in problems} == {Reason.WEB_SOURCE}
    assert all("the broker is asked" in problem.detail and "web server" in (problem.hint or "") for problem in problems)
    assert device.status.problem is None
    assert set(device.transport.carried[carried:]) == set(NEW.blobs) - set(OLD.blobs)  # one failure, and it rests


def test_a_full_disk_is_reported_and_heals_by_itself(device: SimDevice) -> None:
    capacity_bytes = device.disk.capacity_bytes
    device.disk.capacity_bytes = 300_000
    device.run(NEW.target)

    assert device.status.problem is not None
    assert device.status.problem.reason is Reason.DISK_FULL
    assert device.status.problem.hint
    assert device.server.serving == OLD.digest
    assert not device.record.refuses(NEW.digest)

    device.disk.capacity_bytes = capacity_bytes
    assert device.run_for(10.0).current == NEW.digest


def test_a_verdict_that_cannot_be_remembered_is_not_given_again(device: SimDevice) -> None:
    """Else a healthy release on a full disk would be tried until it looks like one that crashes."""
    full = False

    def refuse(operation: str, name: str) -> StorageError | None:
        return StorageError("the disk is full", reason=Reason.DISK_FULL) if full and operation == "write" else None

    def fill_the_disk() -> None:
        nonlocal full
        full = True

    device.disk.refuse = refuse
    device.server.before_word = fill_the_disk
    device.run(NEW.target)
    device.run_for(1000.0)

    assert device.record.phase == Trial(NEW.digest, 1)
    assert device.server.served == [NEW.digest]
    assert device.status.problem is not None

    full = False
    device.server.before_word = lambda: None
    assert device.run_for(300.0).current == NEW.digest
    assert device.server.served == [NEW.digest]


@pytest.mark.parametrize("failing", ["write", "sync_file", "replace", "sync_directory"])
def test_a_disk_that_fails_for_a_while_only_delays(device: SimDevice, failing: str) -> None:
    failures = iter(range(7))
    device.disk.refuse = lambda operation, name: (
        StorageError(f"{name}: Input/output error")
        if operation == failing and next(failures, None) is not None
        else None
    )
    device.run(NEW.target)

    assert device.run_for(600.0).current == NEW.digest
    assert device.server.serving == NEW.digest


def test_a_probe_that_cannot_be_tried_says_nothing_of_the_release(device: SimDevice) -> None:
    device.unable_probes = 2
    device.run(NEW.target)
    assert device.status.problem is not None
    assert device.record.phase == Staged(NEW.digest)

    assert device.run_for(30.0).current == NEW.digest


# --- what is installed fails --------------------------------------------------------------------------------


@pytest.fixture
def updated(device: SimDevice) -> SimDevice:
    """Serving NEW, with OLD behind it, and about to start."""
    device.run(NEW.target)
    device.lose_process()
    return device


def _rot(device: SimDevice, digest: str) -> None:
    device.disk.write(f"releases/{digest}/{MODEL_FILE}", 100, b"rot")


def test_a_rotten_release_is_not_served_and_is_fetched_again(updated: SimDevice) -> None:
    _rot(updated, NEW.digest)
    updated.boot().run()

    assert updated.server.served == [OLD.digest, NEW.digest]
    assert updated.record.current == NEW.digest
    assert updated.store.is_sound(NEW.digest)
    assert len(updated.transport.carried) > 0
    assert Reason.ROTTEN in {status.record.last.reason for status in updated.reports if status.record.last}


def test_with_both_releases_rotten_nothing_serves_until_one_is_there_again(updated: SimDevice) -> None:
    _rot(updated, NEW.digest)
    _rot(updated, OLD.digest)
    updated.boot().run()

    assert updated.server.served == [None, NEW.digest]
    assert updated.record.current == NEW.digest
    assert updated.record.previous is None


def test_without_a_broker_a_rotten_release_gives_way_to_the_one_before(updated: SimDevice) -> None:
    _rot(updated, NEW.digest)
    updated.desired = None
    updated.boot().run()

    assert updated.server.serving == OLD.digest
    assert updated.record == Record(OLD.digest, None, Idle(), (), updated.record.last)


def test_a_candidate_that_rots_before_its_trial_is_fetched_again(device: SimDevice) -> None:
    device.unable_probes = 1
    device.run(NEW.target)
    assert device.record.phase == Staged(NEW.digest)

    _rot(device, NEW.digest)
    device.lose_process()
    device.boot().run()

    assert device.record.current == NEW.digest
    assert device.store.is_sound(NEW.digest)


def test_a_committed_release_that_cannot_be_loaded_gives_way_to_the_one_before(updated: SimDevice) -> None:
    updated.sick["unloadable"] = {NEW.digest}
    updated.boot().run()

    assert updated.server.served == [NEW.digest, OLD.digest]
    assert updated.record.last == Outcome(NEW.digest, "rolled_back", Reason.LOAD_FAILED, "it cannot be loaded")
    assert updated.record.refuses(NEW.digest)


def test_a_committed_release_that_a_restarted_worker_cannot_load_gives_way_to_the_one_before(
    updated: SimDevice,
) -> None:
    updated.boot().run()
    updated.server.unloadable = {NEW.digest}
    updated.server.lost = True
    updated.run()

    assert updated.server.served == [NEW.digest, NEW.digest, OLD.digest]
    assert updated.record.current == OLD.digest
    assert updated.record.refuses(NEW.digest)


def test_what_a_restarted_worker_could_not_load_only_once_goes_on_serving(updated: SimDevice) -> None:
    before = updated.boot().run()
    updated.server.lost = True
    updated.run()

    assert updated.server.served == [NEW.digest, NEW.digest]
    assert updated.record == before


def test_a_release_that_has_rotten_while_it_served_is_fetched_again_and_not_rejected(updated: SimDevice) -> None:
    updated.boot().run()
    _rot(updated, NEW.digest)
    updated.server.unloadable = {NEW.digest}
    updated.server.lost = True

    def mend(_: object) -> None:
        if updated.store.is_sound(NEW.digest):
            updated.server.unloadable.clear()

    updated.server.before_serve = mend
    updated.run()

    assert updated.server.served == [NEW.digest, NEW.digest, OLD.digest, NEW.digest]
    assert updated.record.current == NEW.digest
    assert updated.record.rejected == ()


def test_neither_a_fetch_nor_its_back_off_delays_what_is_lost(device: SimDevice) -> None:
    def lose(_: str) -> None:
        device.server.lost = device.server.served == []

    device.transport.on_chunk = lose
    device.transport.breaks_after = 1
    device.run(NEW.target)
    assert device.server.served == [OLD.digest]

    assert device.record.phase == Fetching(NEW.digest, 2)
    device.server.lost = True
    device.run()  # no time has passed
    assert device.server.served == [OLD.digest, OLD.digest]


def test_a_candidate_that_rots_before_it_is_proved_or_tried_is_fetched_again_and_not_rejected(
    device: SimDevice,
) -> None:
    rotten: list[type] = []

    def rot(status: Status) -> None:
        phase = status.record.phase
        if isinstance(phase, Staged | Trial) and type(phase) not in rotten:
            rotten.append(type(phase))
            _rot(device, NEW.digest)
            device.unproven = device.server.unloadable = {NEW.digest}
        elif isinstance(phase, Fetching):
            device.unproven = device.server.unloadable = set()

    device.on_report = rot
    device.run(NEW.target)

    assert rotten == [Staged, Trial]
    assert device.record.current == NEW.digest
    assert device.record.rejected == ()
    assert device.store.is_sound(NEW.digest)


def test_a_committed_release_that_keeps_crashing_gives_way_to_the_one_before(updated: SimDevice) -> None:
    updated.sick["crashing"] = {NEW.digest}
    updated.boot().run()
    assert updated.record.current == NEW.digest
    updated.run_for(20.0)

    assert updated.server.served == [NEW.digest, NEW.digest, NEW.digest, OLD.digest]
    assert updated.record.current == OLD.digest
    assert updated.record.last is not None
    assert updated.record.last.reason is Reason.CRASH_LOOP


def test_when_the_one_before_does_not_serve_either_it_is_not_the_release(updated: SimDevice) -> None:
    updated.sick["unloadable"] = {NEW.digest, OLD.digest}  # an interpreter that is broken, say
    updated.boot().run()
    updated.run_for(100.0)
    assert (updated.record.current, updated.record.previous) == (NEW.digest, OLD.digest)
    assert updated.record.rejected == ()
    assert updated.status.problem is not None

    updated.server.unloadable.clear()
    updated.run_for(300.0)
    assert updated.server.serving == NEW.digest
    assert updated.status.problem is None


def test_an_operator_does_not_wait_for_the_back_off_of_a_release_that_does_not_serve(updated: SimDevice) -> None:
    updated.sick["crashing"] = {NEW.digest}
    updated.boot().run()
    answer = updated.updater.roll_back()
    updated.run()

    assert answer.result(timeout=0).current == OLD.digest
    assert updated.server.serving == OLD.digest


def test_with_nothing_before_it_a_release_that_cannot_be_loaded_is_tried_again_and_can_be_replaced(
    device: SimDevice,
) -> None:
    device.sick["unloadable"] = {OLD.digest}
    device.lose_process()
    device.boot().run()

    assert device.record.current == OLD.digest
    assert device.status.problem is not None
    assert device.status.problem.reason is Reason.LOAD_FAILED
    assert device.status.problem.hint == "convert it again"
    device.run_for(20.0)
    assert len(device.server.served) > 2

    assert device.run(NEW.target).current == NEW.digest
    assert device.server.serving == NEW.digest
    assert device.status.problem is None


def test_a_corrupt_record_is_reported_and_the_desired_release_serves_again_without_network(updated: SimDevice) -> None:
    updated.disk.write("records/porch/main.json", 50, b"\0\0\0\0")
    updated.transport.blobs.clear()
    updated.boot().run()

    assert updated.server.serving == NEW.digest
    assert updated.record.current == NEW.digest
    problems = [status.problem for status in updated.reports if status.problem]
    assert "main.json was corrupt and is set aside as records/porch/main.json.corrupt-1" in problems[0].detail


def test_a_corrupt_record_and_no_word_from_the_fleet_removes_nothing(updated: SimDevice) -> None:
    updated.disk.write("records/porch/main.json", 50, b"\0\0\0\0")
    updated.desired = None
    updated.boot().run()

    assert [name for name, _ in updated.disk.entries("releases")] == sorted([OLD.digest, NEW.digest])


# --- the operator -------------------------------------------------------------------------------------------


def test_an_operator_gets_the_release_before_back_and_it_stays(updated: SimDevice) -> None:
    updated.boot().run()
    answer = updated.updater.roll_back()
    updated.run()

    assert answer.result(timeout=0).current == OLD.digest
    assert updated.server.serving == OLD.digest
    assert updated.record.refuses(NEW.digest)
    assert updated.disk.entries("releases") == [(OLD.digest, True)]


def test_an_operator_ends_a_trial(device: SimDevice) -> None:
    device.server.before_word = lambda: answers.append(device.updater.roll_back()) if not answers else None
    answers: list[object] = []
    record = device.run(NEW.target)

    assert record.last == Outcome(NEW.digest, "rolled_back", Reason.OPERATOR)
    assert _unchanged(device)


@pytest.mark.parametrize("sickness", ["unloadable", "crashing"])
def test_an_operator_is_told_when_the_earlier_release_cannot_serve_and_nothing_changes(
    device: SimDevice, sickness: str
) -> None:
    for release in (OLD, NEW):
        device.run(release.target)
    getattr(device.server, sickness).add(OLD.digest)
    request = device.updater.roll_back()
    device.run()
    with pytest.raises(InputError, match="cannot serve, so nothing has changed"):
        request.result(timeout=0)
    assert device.server.serving == device.record.current == NEW.digest
    assert device.record.previous == OLD.digest
    assert device.record.rejected == ()


def test_what_was_rejected_serves_no_more_though_the_committed_release_cannot(device: SimDevice) -> None:
    device.run(OLD.target)
    device.server.erring.add(NEW.digest)
    device.server.before_word = lambda: device.server.unloadable.add(OLD.digest)
    device.run(NEW.target)
    assert device.record.refuses(NEW.digest)
    assert device.record.current == OLD.digest
    assert device.server.serving is None
    assert device.status.problem is not None
    device.server.unloadable.clear()
    device.run_for(600)
    assert device.server.serving == OLD.digest


def test_an_operator_is_told_when_there_is_nothing_to_roll_back_to(device: SimDevice) -> None:
    answer = device.updater.roll_back()
    device.run()

    error = answer.exception(timeout=0)
    assert isinstance(error, InputError)
    assert "no earlier release" in str(error)
    assert error.hint
    assert _unchanged(device)


def test_an_operator_does_not_get_a_rotten_release(updated: SimDevice) -> None:
    _rot(updated, OLD.digest)
    updated.boot().run()
    answer = updated.updater.roll_back()
    updated.run()

    assert isinstance(answer.exception(timeout=0), InputError)
    assert updated.server.serving == NEW.digest


def test_an_operator_who_has_gone_is_not_answered(updated: SimDevice) -> None:
    updated.boot().run()
    assert updated.updater.roll_back().cancel()
    updated.run()

    assert updated.record.current == NEW.digest


# --- the initial artifact -----------------------------------------------------------------------------------


def test_an_initial_artifact_runs_until_the_fleet_wants_something(tmp_path: Path) -> None:
    device = SimDevice(SimTransport(NEW), initial=OLD.write(tmp_path / "old.edge")).boot()
    device.run()
    assert device.server.serving == OLD.digest
    assert device.status.versions == {OLD.digest: "1"}

    assert device.run(NEW.target).current == NEW.digest
    device.desired = None
    device.lose_process()
    device.boot().run()
    assert device.server.served == [NEW.digest]


def test_an_initial_artifact_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    device = SimDevice(SimTransport(), initial=tmp_path / "old.edge").boot()
    device.run()
    assert device.status.problem is not None
    assert "old.edge" in device.status.problem.detail

    OLD.write(tmp_path / "old.edge")
    device.run_for(20.0)
    assert device.server.serving == OLD.digest


def test_an_initial_file_that_is_no_artifact_is_rejected_once(tmp_path: Path) -> None:
    path = tmp_path / "old.edge"
    path.write_bytes(b"not an artifact")
    device = SimDevice(SimTransport(), initial=path).boot()
    record = device.run()

    assert record.last is not None
    assert record.last.reason is Reason.INTEGRITY
    assert record.current is None
    assert device.server.served == [None]


def test_an_initial_artifact_replaced_while_it_is_adopted_is_adopted_as_it_is(tmp_path: Path) -> None:
    path = OLD.write(tmp_path / "old.edge")
    device = SimDevice(SimTransport(), initial=path).boot()
    device.on_report = lambda status: _replace_with_new(path) if isinstance(status.record.phase, Fetching) else None
    device.run()

    assert device.server.serving == NEW.digest


def _replace_with_new(path: Path) -> None:
    NEW.write(path)


# --- its thread ---------------------------------------------------------------------------------------------


def test_the_thread_wakes_for_a_desire_and_ends_in_good_order(device: SimDevice) -> None:
    committed, stop = Event(), Event()
    device.on_report = lambda status: committed.set() if status.record.current == NEW.digest else None
    thread = Thread(target=device.updater.run, args=(stop,))
    thread.start()
    device.updater.desire(NEW.target)
    assert committed.wait(30)
    stop.set()
    device.updater.wake()
    thread.join(30)

    assert not thread.is_alive()
    assert device.record.current == NEW.digest


def test_stopping_in_good_order_during_a_trial_is_not_counted_as_a_crash(device: SimDevice) -> None:
    for _ in range(5):
        stop = Event()
        device.server.before_word = stop.set
        device.updater.desire(NEW.target)
        device.updater.run(stop)
        assert device.record.phase == Trial(NEW.digest, 0)
        device.lose_process()
        device.boot()
    device.run(NEW.target)

    assert device.record.current == NEW.digest


def test_a_load_that_the_end_of_the_agent_cuts_off_is_not_counted_as_a_crash(device: SimDevice) -> None:
    for _ in range(5):
        stop = Event()

        def cut_off(digest: str | None, stop: Event = stop) -> None:
            if digest == NEW.digest:
                stop.set()

        device.server.before_serve = cut_off
        device.server.crashing.add(NEW.digest)
        device.updater.desire(NEW.target)
        device.updater.run(stop)
        assert device.record.phase == Trial(NEW.digest, 0)
        assert device.record.current == OLD.digest
        device.lose_process()
        device.server.crashing.clear()
        device.boot()
    device.server.crashing.clear()
    device.run(NEW.target)

    assert device.record.current == NEW.digest


def test_an_operator_who_asks_while_the_agent_stops_is_told(device: SimDevice) -> None:
    stop = Event()
    stop.set()
    answer = device.updater.roll_back()
    device.updater.run(stop)

    assert isinstance(answer.exception(timeout=0), InputError)
