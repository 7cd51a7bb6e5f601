"""Patches on the device: fewer bytes where they are sure to be, and whatever is wrong with one, the release arrives."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from edge_agent.disk import Disk
from edge_agent.errors import FetchError, Reason
from edge_agent.release.chunks import CHUNK_BYTES, cut, digest_of_chunk
from edge_agent.release.document import Target
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.release.patch import Patch, PatchError
from edge_agent.update.fetch import FetchReport, fetch_release
from edge_agent.update.patcher import Patcher, PatchJob, patch_in_child
from edge_agent.update.space import MARGIN_BYTES
from edge_agent.update.store import ReleaseStore
from tests.sim.disk import SimDisk
from tests.sim.releases import SimRelease, SimTransport, make_release, noise, patch_here, with_patches

BASE = make_release("1", noise(400_000, "base"))


def _nudged(model: bytes) -> bytes:
    """Every chunk of it changed, each a little."""
    changed = bytearray(model)
    for offset in range(100, len(changed), 5000):
        changed[offset] ^= 1
    return bytes(changed)


NEW = with_patches(make_release("2", _nudged(BASE.members[MODEL_FILE])), BASE)
PATCH = NEW.target.patches[0]


class Getter:
    """A device that has BASE."""

    def __init__(self) -> None:
        self.simulated = SimDisk()
        self.store = ReleaseStore(Disk(self.simulated), Path("/state"))
        self.transport = SimTransport(BASE, NEW)
        self.troubles: list[tuple[Reason, str]] = []
        self.cancelled = Event()
        self.patcher: Patcher = patch_here
        self.get(BASE.target)

    def get(self, target: Target = NEW.target) -> FetchReport | None:
        self.transport.carried.clear()
        return fetch_release(
            target,
            self.store,
            self.transport,
            cancelled=self.cancelled.is_set,
            trouble=lambda reason, detail: self.troubles.append((reason, detail)),
            patcher=self.patcher,
        )

    @property
    def carried(self) -> set[str]:
        return set(self.transport.carried)


MODEL_CHUNKS = {digest_of_chunk(chunk) for chunk in cut(NEW.members[MODEL_FILE])}
MANIFEST_AND_INDEX = NEW.chunk_digests - MODEL_CHUNKS - set(BASE.blobs) - set(PATCH.chunks) | set(
    NEW.target.index_chunks
)


def test_a_patch_comes_instead_of_the_chunks_it_replaces() -> None:
    getter = Getter()
    report = getter.get()

    assert getter.store.is_sound(NEW.digest)
    assert getter.carried == MANIFEST_AND_INDEX | set(PATCH.chunks)
    assert report is not None
    assert report.patched_bytes == len(NEW.members[MODEL_FILE])
    assert report.fetched_bytes == sum(len(NEW.blobs[digest]) for digest in getter.transport.carried)
    assert getter.troubles == []
    assert getter.store.disk.names("staging") == []


def test_the_real_child_process_makes_the_same() -> None:
    getter = Getter()
    getter.patcher = patch_in_child
    report = getter.get()

    assert report is not None
    assert report.patched_bytes == len(NEW.members[MODEL_FILE])
    assert getter.store.is_sound(NEW.digest)


def test_a_device_that_holds_another_base_fetches_chunks() -> None:
    getter = Getter()
    getter.simulated.write(f"releases/{BASE.digest}/{MODEL_FILE}", 390_000, b"rot")
    getter.get()

    assert getter.store.is_sound(NEW.digest)
    assert not getter.carried & set(PATCH.chunks)
    assert getter.troubles == []


def test_a_device_without_a_patcher_fetches_chunks() -> None:
    getter = Getter()
    fetch_release(NEW.target, getter.store, getter.transport, cancelled=lambda: False, trouble=lambda *_: None)

    assert getter.store.is_sound(NEW.digest)
    assert not getter.carried & set(PATCH.chunks)


def _blowing_up(job: PatchJob) -> Iterator[bytes]:
    if job.result_bytes:
        raise PatchError("it needs more memory than patches may")
    yield b""


def _lying(job: PatchJob) -> Iterator[bytes]:
    yield from list(patch_here(job))[:2]
    yield bytes(CHUNK_BYTES)


def _endless(job: PatchJob) -> Iterator[bytes]:
    yield from patch_here(job)
    while True:
        yield bytes(CHUNK_BYTES)


def _short(job: PatchJob) -> Iterator[bytes]:
    yield from list(patch_here(job))[:-1]


@pytest.mark.parametrize("patcher", [_blowing_up, _lying, _endless, _short])
def test_a_patch_that_fails_or_lies_is_told_and_the_rest_comes_as_chunks(patcher: Patcher) -> None:
    getter = Getter()
    getter.patcher = patcher
    report = getter.get()

    assert getter.store.is_sound(NEW.digest)
    assert report is not None
    assert [reason for reason, _ in getter.troubles] == [Reason.BAD_PATCH]
    assert "its chunks are fetched instead" in getter.troubles[0][1]
    assert getter.store.disk.names("staging") == []


def _digest_lies(patch: Patch) -> Patch:
    return replace(patch, digest="0" * 64)


def _chunks_lie(patch: Patch) -> Patch:
    return replace(patch, chunks=BASE.target.index_chunks)


def _size_lies(patch: Patch) -> Patch:
    return replace(patch, size_bytes=patch.size_bytes + 1)


def _too_many_chunks(patch: Patch) -> Patch:
    return replace(patch, chunks=patch.chunks * 3)


def _absent(patch: Patch) -> Patch:
    return replace(patch, chunks=("0" * 64,))


@pytest.mark.parametrize("lie", [_digest_lies, _chunks_lie, _size_lies, _too_many_chunks, _absent])
def test_a_signed_patch_that_its_bytes_contradict_costs_nothing_but_itself(lie: Callable[[Patch], Patch]) -> None:
    getter = Getter()
    report = getter.get(replace(NEW.target, patches=(lie(PATCH),)))

    assert report is not None
    assert report.patched_bytes == 0
    assert getter.store.is_sound(NEW.digest)
    assert [reason for reason, _ in getter.troubles] == [Reason.BAD_PATCH]


@pytest.mark.parametrize("changes", [{"format": "zstd"}, {"member": "../escape"}, {"member": "labels.txt"}])
def test_a_patch_of_a_kind_that_is_not_known_here_is_passed_over(changes: dict[str, str]) -> None:
    getter = Getter()
    getter.get(replace(NEW.target, patches=(replace(PATCH, **changes),)))  # type: ignore[arg-type]

    assert getter.store.is_sound(NEW.digest)
    assert getter.troubles == []


def test_what_has_come_of_a_patch_is_not_fetched_again_after_a_break() -> None:
    getter = Getter()
    target = _with_long_patch()
    getter.transport.add(target)
    getter.transport.on_chunk = lambda digest: getter.cancelled.set() if digest == patch_chunks[1] else None
    patch_chunks = target.target.patches[0].chunks
    assert len(patch_chunks) > 2
    assert getter.get(target.target) is None
    first = getter.carried

    getter.cancelled.clear()
    getter.transport.on_chunk = lambda digest: None
    getter.get(target.target)

    assert set(patch_chunks[:2]) <= first
    assert set(patch_chunks) & getter.carried == set(patch_chunks[2:])
    assert getter.store.is_sound(target.digest)


def _with_long_patch() -> SimRelease:
    model = BASE.members[MODEL_FILE]
    changed = bytes((byte + (noisy & 1)) % 256 for byte, noisy in zip(model, noise(len(model), "bits"), strict=True))
    return with_patches(make_release("3", changed * 2), BASE)


def test_a_broken_link_in_a_patch_is_tried_again_like_any_other() -> None:
    getter = Getter()
    getter.transport.breaks_after = 1  # the index
    with pytest.raises(FetchError):
        getter.get()
    getter.transport.breaks_after = None
    getter.get()

    assert getter.store.is_sound(NEW.digest)


@pytest.mark.parametrize("cheaper", [True, False])
def test_a_patch_is_used_only_where_it_is_surely_fewer_bytes(*, cheaper: bool) -> None:
    """The device holds all chunks but two of the new model, and BASE: the publisher did not know of the others."""
    getter = Getter()
    model = NEW.members[MODEL_FILE]
    close = make_release("9", model[: -2 * CHUNK_BYTES] + noise(10, "end"))
    getter.transport.add(close)
    getter.get(close.target)
    lacking_bytes = 2 * CHUNK_BYTES + len(model) % CHUNK_BYTES
    size_bytes = lacking_bytes - 20_000 if cheaper else lacking_bytes + 20_000
    padded = replace(PATCH, size_bytes=size_bytes, replaces_bytes=PATCH.replaces_plain_bytes)
    getter.get(replace(NEW.target, patches=(padded,)))

    assert bool(getter.troubles) == cheaper  # it was tried, and is not as long as it says
    assert getter.store.is_sound(NEW.digest)


def test_a_disk_without_room_for_the_patch_takes_the_chunks() -> None:
    getter = Getter()
    index_bytes = sum(len(NEW.blobs[digest]) for digest in NEW.target.index_chunks)
    needed_bytes = sum(map(len, NEW.members.values())) + index_bytes + MARGIN_BYTES

    def fill_up(digest: str) -> None:
        """Somebody else writes, once the release has its room and its index comes."""
        if digest in NEW.target.index_chunks:
            free_bytes = getter.simulated.free_bytes()
            getter.simulated.capacity_bytes += needed_bytes + PATCH.size_bytes // 2 - free_bytes

    getter.transport.on_chunk = fill_up
    getter.get()

    assert getter.store.is_sound(NEW.digest)
    assert [reason for reason, _ in getter.troubles] == [Reason.BAD_PATCH]
