"""Getting a release: never a byte twice, never a byte trusted."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.disk import Disk
from edge_agent.errors import ArtifactError, FetchError, Reason, StorageError
from edge_agent.release.archive import MEMBERS
from edge_agent.release.chunks import CHUNK_BYTES
from edge_agent.release.document import Target
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.update.fetch import FetchReport, fetch_release
from edge_agent.update.store import ReleaseStore
from tests.sim.disk import SimDisk
from tests.sim.releases import SimRelease, SimTransport, make_release, noise, publish

FIRST = make_release("1", noise(200_000, "first"))
# The model of FIRST with another end, and one chunk in it twice.
SECOND = make_release("2", FIRST.members[MODEL_FILE][:120_000] + noise(60_000, "new") * 2 + b"end")


class Getter:
    def __init__(self, *published: SimRelease) -> None:
        self.simulated = SimDisk()
        self.store = ReleaseStore(Disk(self.simulated), Path("/state"))
        self.transport = SimTransport(*published)
        self.troubles: list[Reason] = []
        self.cancelled = Event()

    def get(self, target: Target) -> FetchReport | None:
        self.transport.carried.clear()
        return fetch_release(
            target,
            self.store,
            self.transport,
            cancelled=self.cancelled.is_set,
            trouble=lambda reason, _: self.troubles.append(reason),
        )

    @property
    def staged(self) -> list[str]:
        return self.store.disk.names("staging")


def test_a_release_is_fetched_whole_and_reported() -> None:
    getter = Getter(FIRST)
    report = getter.get(FIRST.target)

    assert getter.store.is_sound(FIRST.digest)
    assert sorted(getter.transport.carried) == sorted(FIRST.blobs)
    assert report == FetchReport(sum(map(len, FIRST.blobs.values())), 0)
    assert getter.staged == []


def test_only_what_no_release_on_the_disk_holds_is_fetched_and_nothing_twice() -> None:
    getter = Getter(FIRST, SECOND)
    getter.get(FIRST.target)
    report = getter.get(SECOND.target)

    assert getter.store.is_sound(SECOND.digest)
    assert sorted(getter.transport.carried) == sorted(set(SECOND.blobs) - set(FIRST.blobs))
    assert report is not None
    assert report.fetched_bytes == sum(len(getter.transport.blobs[digest]) for digest in getter.transport.carried)
    assert report.reused_bytes == 120_000 + 60_000 + len(b"crow\nowl\n")  # the twin of the new chunk counts as had


def test_models_of_other_names_share_what_they_have_in_common() -> None:
    """Every release on the disk gives its chunks, and each member is cut from its own first byte."""
    labels = noise(100_000, "labels")
    backbone = noise(180_000, "backbone")
    finder = make_release("1", backbone, name="bird-finder", labels=labels)
    namer = make_release("7.2.10", noise(130_000, "namer"), name="bird-namer-with-a-long-name", labels=labels)
    copied = make_release("2", backbone, name="squirrel-finder", labels=b"squirrel\n")
    getter = Getter(finder, namer, copied)
    getter.get(finder.target)

    getter.get(namer.target)
    assert not set(getter.transport.carried) & finder.chunk_digests
    report = getter.get(copied.target)
    assert not set(getter.transport.carried) & finder.chunk_digests
    assert report is not None
    assert report.reused_bytes == len(backbone)
    assert all(getter.store.is_sound(release.digest) for release in (finder, namer, copied))


def test_a_release_of_nothing_but_known_members_costs_its_index_and_manifest() -> None:
    labels = b"crow\nowl\n"
    one, other = make_release("1", noise(90_000, "a"), labels=labels), make_release("2", noise(90_000, "b"))
    both = make_release("3", one.members[MODEL_FILE], labels=labels)
    getter = Getter(one, other, both)
    getter.get(one.target)
    getter.get(other.target)
    getter.get(both.target)

    assert set(getter.transport.carried) - set(both.target.index_chunks) == both.chunk_digests - one.chunk_digests
    assert len(both.chunk_digests - one.chunk_digests) == 1


def test_what_is_held_needs_no_transport() -> None:
    getter = Getter(FIRST)
    getter.get(FIRST.target)
    getter.transport.blobs.clear()

    assert getter.get(FIRST.target) == FetchReport(0, len(FIRST.artifact))
    assert getter.transport.carried == []


def test_a_rotten_release_gives_its_good_chunks_and_fetches_the_others() -> None:
    getter = Getter(FIRST)
    getter.get(FIRST.target)
    getter.simulated.write(f"releases/{FIRST.digest}/{MODEL_FILE}", 10, b"rot")
    getter.get(FIRST.target)

    assert getter.store.is_sound(FIRST.digest)
    assert set(getter.transport.carried) == {*FIRST.target.index_chunks, *_chunks_at(FIRST, 10)}


def test_an_interrupted_fetch_resumes_without_fetching_anything_again() -> None:
    getter = Getter(FIRST)
    getter.transport.breaks_after = 3
    with pytest.raises(FetchError):
        getter.get(FIRST.target)
    before = list(getter.transport.carried)

    getter.transport.breaks_after = None
    report = getter.get(FIRST.target)

    assert len(before) == 3
    assert sorted(before + getter.transport.carried) == sorted(FIRST.blobs)
    assert report is not None
    assert report.reused_bytes == sum(len(FIRST.blobs[digest]) for digest in before[1:])  # the first was the index


def test_chunks_in_a_partial_file_are_not_trusted() -> None:
    getter = Getter(FIRST)
    getter.transport.breaks_after = 4
    with pytest.raises(FetchError):
        getter.get(FIRST.target)
    name = f"staging/{FIRST.digest}/{MODEL_FILE}"
    getter.simulated.write(name, 70_000, b"torn")
    getter.simulated.write(name, 300_000, b"too long")
    getter.simulated.write(f"staging/{FIRST.digest}/stranger", 0, b"1")
    getter.simulated.write(getter.store.index_name(FIRST.digest), 0, b"torn")

    getter.transport.breaks_after = None
    getter.get(FIRST.target)

    assert getter.store.is_sound(FIRST.digest)
    assert set(FIRST.target.index_chunks) <= set(getter.transport.carried)
    assert _chunks_at(FIRST, 70_000) <= set(getter.transport.carried)


def test_a_partial_fetch_of_another_release_gives_its_chunks_too() -> None:
    getter = Getter(FIRST, SECOND)
    getter.transport.breaks_after = 4
    with pytest.raises(FetchError):
        getter.get(FIRST.target)
    had = set(getter.transport.carried)

    getter.transport.breaks_after = None
    getter.get(SECOND.target)

    assert not had & set(getter.transport.carried)


def test_a_cancelled_fetch_keeps_what_has_come() -> None:
    getter = Getter(FIRST)
    getter.transport.on_chunk = lambda digest: getter.cancelled.set() if digest in FIRST.chunk_digests else None

    assert getter.get(FIRST.target) is None
    assert not getter.store.holds(FIRST.digest)
    assert getter.staged == [FIRST.digest, f"{FIRST.digest}.index"]


def test_a_chunk_that_is_missing_is_trouble_and_not_a_rejection() -> None:
    getter = Getter(FIRST)
    missing = next(iter(_chunks_at(FIRST, 0)))
    kept = getter.transport.blobs.pop(missing)

    with pytest.raises(FetchError) as caught:
        getter.get(FIRST.target)
    assert caught.value.reason is Reason.MISSING_CHUNK
    assert getter.troubles == [Reason.MISSING_CHUNK]

    getter.transport.blobs[missing] = kept
    getter.get(FIRST.target)
    assert getter.transport.carried == [missing]


def test_a_transport_that_breaks_its_promise_spoils_nothing() -> None:
    getter = Getter(FIRST)
    digest = next(iter(_chunks_at(FIRST, 0)))
    getter.transport.blobs[digest] = b"other"

    with pytest.raises(StorageError, match="reads back with other bytes"):
        getter.get(FIRST.target)

    assert not getter.store.holds(FIRST.digest)
    getter.transport.add(FIRST)
    getter.get(FIRST.target)
    assert getter.store.is_sound(FIRST.digest)


@pytest.mark.parametrize(
    "changes",
    [
        {"index": "0" * 64},
        {"size_bytes": len(FIRST.artifact) + 1},
        {"size_bytes": 1000},
        {"digest": "0" * 64},
        {"index_chunks": FIRST.target.index_chunks * 50},
        {"index_chunks": tuple(_ for _ in FIRST.blobs)[1:2]},
    ],
)
def test_a_signed_target_that_its_bytes_contradict_is_rejected_and_leaves_nothing_installed(
    changes: Mapping[str, object],
) -> None:
    getter = Getter(FIRST)
    target = replace(FIRST.target, **changes)  # type: ignore[arg-type]  # chosen by name

    with pytest.raises(ArtifactError) as caught:
        getter.get(target)

    assert caught.value.reason is Reason.INTEGRITY
    assert not getter.store.holds(target.digest)
    assert target.digest not in getter.staged


def test_an_index_that_is_none_is_rejected() -> None:
    getter = Getter(FIRST)
    impostor = publish({MODEL_FILE: b"{}"})
    chunk = next(iter(impostor.chunk_digests))
    getter.transport.add(impostor)

    with pytest.raises(ArtifactError):
        getter.get(replace(FIRST.target, index=chunk, index_chunks=(chunk,)))


class RottingDisk(SimDisk):
    """A disk on which what is written under one name comes out altered."""

    rots: str | None = None

    def write(self, name: str, offset: int, content: bytes) -> None:
        super().write(name, offset, b"rot" + content[3:] if name == self.rots and content else content)


def test_a_disk_that_loses_what_was_written_is_no_fault_of_the_release() -> None:
    getter = Getter(FIRST)
    last = FIRST.target.digest
    rotting = RottingDisk()
    rotting.rots = f"staging/{FIRST.digest}/{MODEL_FILE}"
    getter.store = ReleaseStore(Disk(rotting), Path("/state"))
    with pytest.raises(StorageError, match="reads back with other bytes"):
        getter.get(FIRST.target)

    assert not getter.store.holds(last)
    rotting.rots = None
    getter.get(FIRST.target)
    assert getter.store.is_sound(last)


def test_no_room_is_said_with_its_numbers_before_the_first_byte() -> None:
    getter = Getter(FIRST)
    getter.simulated.capacity_bytes = 8_500_000

    with pytest.raises(StorageError, match=r"needs 0\.3 MB and a margin of 8\.4 MB; 8\.5 MB are free") as caught:
        getter.get(FIRST.target)

    assert caught.value.reason is Reason.DISK_FULL
    assert caught.value.hint is not None
    assert getter.transport.carried == []
    assert getter.staged == []


def test_empty_members_are_there_too() -> None:
    release = make_release("3", b"model", labels=b"")
    getter = Getter(release)
    getter.get(release.target)

    assert getter.store.is_sound(release.digest)


def test_two_pipelines_that_want_the_same_release_fetch_it_once() -> None:
    getter = Getter(FIRST)
    reports: list[FetchReport | None] = []
    second = Thread(target=lambda: reports.append(_fetch_again(getter)))
    getter.transport.on_chunk = lambda digest: None if second.is_alive() or reports else second.start()
    first = getter.get(FIRST.target)
    second.join(30)

    assert first is not None
    assert first.fetched_bytes > 0
    assert reports == [FetchReport(0, len(FIRST.artifact))]


def _fetch_again(getter: Getter) -> FetchReport | None:
    return fetch_release(
        FIRST.target, getter.store, SimTransport(), cancelled=lambda: False, trouble=lambda reason, detail: None
    )


def test_waiting_for_another_pipeline_can_be_cancelled() -> None:
    getter = Getter(FIRST)
    getter.cancelled.set()
    with getter.store.exclusive(FIRST.digest, lambda: False):
        report: list[FetchReport | None] = []
        waiting = Thread(target=lambda: report.append(getter.get(FIRST.target)))
        waiting.start()
        waiting.join(30)

    assert report == [None]


_SIZES = st.sampled_from([0, 1, 10, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(_SIZES, min_size=2, max_size=2), repeats=st.integers(1, 3), breaks=st.integers(0, 9))
def test_any_model_arrives_whole_through_any_break(sizes: list[int], repeats: int, breaks: int) -> None:
    release = make_release("1", noise(sizes[0], "a") * repeats + noise(sizes[1], "b"))
    getter = Getter(release)
    getter.transport.breaks_after = breaks
    while not getter.store.holds(release.digest):
        try:
            getter.get(release.target)
        except FetchError:
            getter.transport.breaks_after = None

    assert getter.store.is_sound(release.digest)


def _chunks_at(release: SimRelease, offset: int) -> set[str]:
    """The digest of the model's chunk that holds `offset`."""
    from edge_agent.release.chunks import build_index

    members = {name: release.members[name] for name in MEMBERS if name in release.members}
    return {
        chunk.digest
        for chunk in build_index(members).chunks()
        if chunk.member == MODEL_FILE and chunk.offset <= offset < chunk.offset + chunk.size_bytes
    }
