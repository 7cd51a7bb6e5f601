"""Release documents: believed once, remembered durably, and judged again when they were refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue

import pytest

from edge_agent.disk import Disk
from edge_agent.errors import EdgeError, Reason, StorageError, TrustError
from edge_agent.release.document import Target
from edge_agent.release.trust import Verified, created_s
from edge_agent.service.documents import Channel, Documents
from tests.sim.clock import FakeClock
from tests.sim.disk import SimDisk, Survival
from tests.sim.releases import make_release

CHANNEL, OTHER = Channel("birds", "stable"), Channel("birds", "beta")
FIRST, SECOND = make_release("1").target, make_release("2").target
ROOT = b"root"
FORGED = TrustError("signed by nobody", reason=Reason.SIGNATURE)


@dataclass
class SimVerify:
    """Believes a document that is the version of a target, after refusing `refusals` times."""

    clock: FakeClock
    refusals: int = 0
    calls: list[tuple[bytes | None, bytes, float]] = field(default_factory=list)  # trusted, candidate, floor
    asked_s: list[float] = field(default_factory=list)

    def __call__(
        self,
        root: bytes,
        trusted: bytes | None,
        candidate: bytes,
        *,
        model: str,
        now_s: float,
        floor_s: float,
        **_: object,
    ) -> Verified:
        assert (root, model, now_s) == (ROOT, "birds", self.clock.now_s())
        self.calls.append((trusted, candidate, floor_s))
        self.asked_s.append(self.clock.monotonic_s())
        if candidate == b"forged" or self.refusals > 0:
            self.refusals -= 1
            raise FORGED
        return Verified({b"1": FIRST, b"2": SECOND}[candidate], b"metadata of " + candidate)


class Bench:
    def __init__(self, disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk()
        self.clock = FakeClock()
        self.verify = SimVerify(self.clock)
        self.heard: SimpleQueue[tuple[Channel, Target | EdgeError]] = SimpleQueue()
        self.documents = Documents(
            Disk(self.disk),
            ROOT,
            self.clock,
            self.verify,
            on_target=lambda channel, target: self.heard.put((channel, target)),
            on_refusal=lambda channel, error: self.heard.put((channel, error)),
        )

    def kept(self) -> bytes:
        return Disk(self.disk).read(CHANNEL.file)

    def next(self) -> tuple[Channel, Target | EdgeError]:
        return self.heard.get(timeout=30)


def test_a_believed_document_is_told_and_remembered_over_a_power_cut() -> None:
    bench = Bench()
    with bench.documents:
        bench.documents.offer(CHANNEL, b"1")
        assert bench.next() == (CHANNEL, FIRST)
    again = Bench(bench.disk.after_power_cut(Survival.NOTHING))

    assert again.documents.recall(CHANNEL) == FIRST
    assert again.documents.recall(OTHER) is None
    with again.documents:
        again.documents.offer(CHANNEL, b"2")
        assert again.next() == (CHANNEL, SECOND)
    assert again.verify.calls == [(b"metadata of 1", b"2", created_s(FIRST))]


def test_the_same_document_again_is_told_again_and_not_written_again() -> None:
    bench = Bench()
    with bench.documents:
        bench.documents.offer(CHANNEL, b"1")
        bench.next()
        operations = bench.disk.operations
        bench.documents.offer(CHANNEL, b"1")
        assert bench.next() == (CHANNEL, FIRST)
    assert bench.disk.operations == operations


def test_the_clock_floor_is_the_newest_of_all_channels() -> None:
    bench = Bench()
    with bench.documents:
        for channel, payload in ((CHANNEL, b"1"), (OTHER, b"2"), (CHANNEL, b"1")):
            bench.documents.offer(channel, payload)
            bench.next()
    assert [floor_s for _, _, floor_s in bench.verify.calls] == [0.0, created_s(FIRST), created_s(SECOND)]


def test_a_refused_document_changes_nothing_of_what_is_believed() -> None:
    bench = Bench()
    with bench.documents:
        bench.documents.offer(CHANNEL, b"1")
        bench.next()
        before = bench.kept()
        bench.documents.offer(CHANNEL, b"forged")
        assert bench.next() == (CHANNEL, FORGED)
    assert bench.kept() == before
    assert Bench(bench.disk).documents.recall(CHANNEL) == FIRST


def test_a_refused_document_is_judged_again_after_30_s_doubling_up_to_an_hour_until_it_is_believed() -> None:
    bench = Bench()
    bench.verify.refusals = 10
    with bench.documents:
        bench.documents.offer(CHANNEL, b"1")
        told = [bench.next() for _ in range(11)]
    assert told == [(CHANNEL, FORGED)] * 10 + [(CHANNEL, FIRST)]
    waits = [after - before for before, after in zip(bench.verify.asked_s, bench.verify.asked_s[1:], strict=False)]
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_another_document_is_judged_at_once_and_takes_the_refused_ones_place() -> None:
    bench = Bench()
    bench.verify.refusals = 1
    bench.documents.offer(CHANNEL, b"1")
    bench.documents.offer(CHANNEL, b"2")
    with bench.documents:
        assert [bench.next(), bench.next()] == [(CHANNEL, FORGED), (CHANNEL, SECOND)]
    assert [candidate for _, candidate, _ in bench.verify.calls] == [b"1", b"2"]
    assert bench.heard.empty()


def test_a_disk_that_is_full_delays_the_target_and_loses_it_not() -> None:
    bench = Bench()
    with bench.documents:
        bench.documents.offer(CHANNEL, b"1")
        bench.next()
        bench.disk.capacity_bytes = 0
        bench.documents.offer(CHANNEL, b"2")
        channel, error = bench.next()
        assert (channel, type(error)) == (CHANNEL, StorageError)
        bench.disk.capacity_bytes = 1 << 30
        while (told := bench.next())[1] != SECOND:  # the fake clock does not wait for us
            assert isinstance(told[1], StorageError)
    assert Bench(bench.disk).documents.recall(CHANNEL) == SECOND


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[: len(content) // 2],
        lambda _: b"\xff\xfe",
        lambda content: content.replace(b"birds", b"BIRDS"),
        lambda _: b"[]",
    ],
)
def test_a_corrupt_trust_file_is_ignored_and_replaced_by_the_next_document(damage: Callable[[bytes], bytes]) -> None:
    bench = Bench()
    with bench.documents:
        bench.documents.offer(CHANNEL, b"1")
        bench.next()
    Disk(bench.disk).write_atomic(CHANNEL.file, damage(bench.kept()))
    again = Bench(bench.disk)

    assert again.documents.recall(CHANNEL) is None
    with again.documents:
        again.documents.offer(CHANNEL, b"1")
        assert again.next() == (CHANNEL, FIRST)
    assert again.verify.calls[0][0] is None
    assert json.loads(bench.kept())["trusted"] == "metadata of 1"


def test_a_trust_file_that_cannot_be_read_does_not_keep_the_agent_from_starting() -> None:
    bench = Bench()
    with bench.documents:
        bench.documents.offer(CHANNEL, b"1")
        bench.next()
    bench.disk.unreadable.add(CHANNEL.file)

    assert Bench(bench.disk).documents.recall(CHANNEL) is None


def test_it_ends_while_a_refused_document_waits() -> None:
    bench = Bench()
    with bench.documents:
        bench.documents.offer(CHANNEL, b"forged")
        assert bench.next() == (CHANNEL, FORGED)
