"""A release that is only measured: by the parts that update, without a trace on what serves."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from edge_agent.errors import Reason, RejectionError
from edge_agent.release.document import Target
from edge_agent.release.manifest import Manifest
from edge_agent.release.rollout import Rollout
from edge_agent.update.benching import Answer, Bencher, Parts
from edge_agent.update.fetch import fetch_release
from edge_agent.update.probe import ProbeReport
from edge_agent.update.status import Problem
from tests.sim.device import DEVICE, REPORT, SimDevice
from tests.sim.disk import SimDisk
from tests.sim.releases import SimRelease, SimTransport, make_release

SERVING, CANDIDATE = make_release("1"), make_release("2")
ONLY_HERE = Rollout(percent=0, canary_devices=(DEVICE.id,))


def asked_here(release: SimRelease) -> Target:
    return replace(release.target, rollout=ONLY_HERE)


class Bench:
    """A bencher on the disk and with the transport of a device that serves `SERVING`."""

    def __init__(self, transport: SimTransport, disk: SimDisk | None = None) -> None:
        self.device = SimDevice(transport, disk=disk).boot()
        self.device.run(SERVING.target)
        self.answers: list[Answer] = []
        self.probed: list[str] = []
        self.probe_refuses: RejectionError | None = None
        self.on_probe: Callable[[], None] = lambda: None
        self.updating: Callable[[], bool] = lambda: False
        self.held: Problem | None = None
        self.stop = Event()
        store = self.device.store

        self.bencher = Bencher(
            Parts(
                disk=store.disk,
                store=store,
                fetch=partial(fetch_release, store=store, transport=transport),
                probe=self._probe,
                clock=self.device.clock,
                device=DEVICE,
                is_updating=self._is_updating,
                hold=lambda _: self.held,
                keep=lambda: self.device.updater.digests | self.bencher.digests,
                tell=self._tell,
            )
        )

    def ask(self, target: Target) -> Answer:
        """Run the bencher's thread here until it has answered."""
        self.bencher.desire(target)
        self.bencher.run(self.stop)
        self.stop.clear()
        return self.answers[-1]

    def _is_updating(self) -> bool:
        return self.updating()

    def _tell(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.stop.set()

    def _probe(self, directory: Path, manifest: Manifest) -> ProbeReport:
        self.probed.append(directory.name)
        self.on_probe()
        if self.probe_refuses is not None:
            raise self.probe_refuses
        return REPORT


@pytest.fixture
def bench() -> Bench:
    return Bench(SimTransport(SERVING, CANDIDATE))


def releases_on_disk(bench: Bench) -> set[str]:
    return set(bench.device.store.disk.names("releases"))


def test_it_is_fetched_proved_told_and_removed_and_the_record_stays_as_it_was(bench: Bench) -> None:
    record = bench.device.record
    answer = bench.ask(asked_here(CANDIDATE))
    assert (answer.outcome, answer.digest, answer.measured) == ("measured", CANDIDATE.digest, REPORT)
    assert bench.probed == [CANDIDATE.digest]
    assert releases_on_disk(bench) == {SERVING.digest}
    assert bench.device.store.disk.names("staging") == []
    assert bench.device.record == record


def test_the_same_question_is_answered_from_the_disk_also_after_a_power_cut(bench: Bench) -> None:
    bench.ask(asked_here(CANDIDATE))
    again = Bench(SimTransport(SERVING, CANDIDATE), bench.device.disk)
    assert again.ask(asked_here(CANDIDATE)).measured == REPORT
    assert again.probed == []


def test_what_serves_is_measured_and_stays(bench: Bench) -> None:
    assert bench.ask(asked_here(SERVING)).outcome == "measured"
    assert releases_on_disk(bench) == {SERVING.digest}


def test_a_document_for_others_asks_nothing_of_this_device(bench: Bench) -> None:
    for rollout in (Rollout(percent=0), Rollout(percent=0, canary_devices=("cellar",))):
        bench.bencher.desire(replace(CANDIDATE.target, rollout=rollout))
    assert bench.bencher.digests == frozenset()


def test_a_release_that_would_never_do_says_why(bench: Bench) -> None:
    bench.probe_refuses = RejectionError("14 ms, 10 are allowed", reason=Reason.TOO_SLOW)
    answer = bench.ask(asked_here(CANDIDATE))
    assert (answer.outcome, answer.reason, answer.detail) == ("refused", "too_slow", "14 ms, 10 are allowed")
    assert releases_on_disk(bench) == {SERVING.digest}


def test_it_waits_for_an_update_and_for_quiet_hours_to_end(bench: Bench) -> None:
    turns = iter([True, True, False])
    bench.updating = lambda: next(turns, False)
    began_s = bench.device.clock.monotonic_s()
    assert bench.ask(asked_here(CANDIDATE)).outcome == "measured"
    assert bench.device.clock.monotonic_s() - began_s == 2.0


def test_it_gives_up_after_a_while_and_remembers_no_answer(bench: Bench) -> None:
    bench.held = Problem(Reason.POSTPONED, "waits for the end of quiet hours at 06:00")
    answer = bench.ask(asked_here(CANDIDATE))
    assert (answer.outcome, answer.reason, answer.detail) == ("failed", "postponed", bench.held.detail)
    assert bench.probed == []
    bench.held = None
    assert bench.ask(asked_here(CANDIDATE)).outcome == "measured"


def test_a_full_disk_is_told_and_what_serves_stays(bench: Bench) -> None:
    disk = bench.device.disk
    disk.capacity_bytes -= disk.free_bytes() - 100
    answer = bench.ask(asked_here(CANDIDATE))
    assert (answer.outcome, answer.reason) == ("failed", "disk_full")
    assert releases_on_disk(bench) == {SERVING.digest}


def test_the_same_question_again_meanwhile_does_not_begin_anew_and_another_one_does(bench: Bench) -> None:
    other = make_release("3")
    bench.device.transport.add(other)
    bench.on_probe = lambda: bench.bencher.desire(asked_here(CANDIDATE))
    assert bench.ask(asked_here(CANDIDATE)).digest == CANDIDATE.digest
    assert (bench.probed, bench.bencher.digests) == ([CANDIDATE.digest], frozenset())

    bench.on_probe, newer = lambda: None, [asked_here(other)]
    bench.device.store.disk.remove("bench.json")
    bench.device.transport.on_chunk = lambda _: bench.bencher.desire(newer.pop()) if newer else None
    assert bench.ask(asked_here(CANDIDATE)).digest == other.digest
    assert releases_on_disk(bench) == {SERVING.digest}
    assert bench.device.store.disk.names("staging") == []


def test_an_artifact_that_calls_itself_otherwise_is_not_measured(bench: Bench) -> None:
    answer = bench.ask(replace(asked_here(CANDIDATE), version="9"))
    assert (answer.outcome, answer.reason, bench.probed) == ("refused", "wrong_target", [])


def test_an_answer_that_rots_on_the_disk_is_no_answer(bench: Bench) -> None:
    bench.ask(asked_here(CANDIDATE))
    bench.device.store.disk.write_atomic("bench.json", b"{")
    assert bench.ask(asked_here(CANDIDATE)).measured == REPORT
    assert bench.probed == [CANDIDATE.digest] * 2
