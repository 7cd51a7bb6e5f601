"""Encrypted releases on the device: fetched as any other by a recipient, and by nobody else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.disk import Disk
from edge_agent.errors import ArtifactError, FetchError, Reason
from edge_agent.release.chunks import build_index, cut, digest_of_chunk, format_index, inflate, pack
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.release.sealing import Purpose, make_key, make_keyring, public_of, seal, unseal
from edge_agent.update.fetch import FetchReport, fetch_release
from edge_agent.update.store import ReleaseStore
from tests.sim.device import SimDevice
from tests.sim.disk import SimDisk
from tests.sim.releases import SimRelease, SimTransport, make_release, noise, publish, seal_release

MINE, THEIRS = make_key(), make_key()
PLAIN = make_release("1", noise(200_000, "first"))
FIRST = seal_release(PLAIN, public_of(MINE), public_of(THEIRS))
NEXT = make_release("2", PLAIN.members[MODEL_FILE][:120_000] + noise(60_000, "new") * 2 + b"end")
SECOND = seal_release(NEXT, public_of(MINE), content_key=bytes(range(32)))


class Getter:
    def __init__(self, *published: SimRelease, secret: bytes = MINE) -> None:
        self.store = ReleaseStore(Disk(SimDisk()), Path("/state"))
        self.transport = SimTransport(*published)
        self.secret: Callable[[], bytes] = lambda: secret

    def get(self, release: SimRelease) -> FetchReport | None:
        self.transport.carried.clear()
        return fetch_release(
            release.target,
            self.store,
            self.transport,
            cancelled=lambda: False,
            trouble=lambda reason, detail: None,
            secret=self.secret,
        )


def test_a_recipient_gets_the_very_release_that_was_signed() -> None:
    getter = Getter(FIRST)
    report = getter.get(FIRST)

    assert getter.store.is_sound(PLAIN.digest)
    assert sorted(getter.transport.carried) == sorted(FIRST.blobs)
    assert getter.store.disk.names("staging") == []
    sealed_index = FIRST.blobs[FIRST.target.index_chunks[0]]
    index = inflate(unseal(bytes(32), Purpose.INDEX, sealed_index), "index")
    chunks_bytes = sum(len(PLAIN.blobs[digest]) for digest in PLAIN.chunk_digests)
    assert report == FetchReport(chunks_bytes + len(index) + len(FIRST.blobs[keyring_of(FIRST)]), 0)


def test_nothing_that_travels_holds_anything_of_the_model_the_labels_or_the_index() -> None:
    travels = b"".join(FIRST.blobs.values())
    secret = [content[start : start + 16] for content in PLAIN.blobs.values() for start in range(0, len(content), 16)]

    assert not any(part in travels for part in secret if len(part) > 3)
    assert not set(PLAIN.blobs) & set(FIRST.blobs)


def test_what_the_device_holds_in_the_clear_is_not_fetched_again() -> None:
    getter = Getter(PLAIN, SECOND)
    getter.get(PLAIN)
    report = getter.get(SECOND)

    assert getter.store.is_sound(NEXT.digest)
    new = len(set(NEXT.blobs) - set(PLAIN.blobs) - set(NEXT.target.index_chunks))
    lists = len(SECOND.target.index_chunks) + len(SECOND.target.keyring)
    assert len(getter.transport.carried) == new + lists
    assert report is not None
    assert report.reused_bytes > 120_000


def test_the_same_content_sealed_anew_costs_its_index_and_keyring_only() -> None:
    getter = Getter(PLAIN, FIRST)
    getter.get(PLAIN)
    getter.store.disk.remove(f"releases/{PLAIN.digest}/{MODEL_FILE}")
    getter.store.disk.write_at(f"releases/{PLAIN.digest}/{MODEL_FILE}", 0, PLAIN.members[MODEL_FILE] + b"rot")
    getter.get(FIRST)

    assert getter.store.is_sound(PLAIN.digest)
    last = {digest_of_chunk(list(cut(PLAIN.members[MODEL_FILE]))[-1])}  # it is longer on the disk
    assert len(getter.transport.carried) == len(FIRST.target.index_chunks) + len(FIRST.target.keyring) + len(last)


def test_an_interrupted_fetch_resumes_without_fetching_anything_again() -> None:
    getter = Getter(FIRST)
    getter.transport.breaks_after = 4
    with pytest.raises(FetchError, match="broke"):
        getter.get(FIRST)
    before = list(getter.transport.carried)
    getter.transport.breaks_after = None
    getter.get(FIRST)

    assert len(before) == 4
    assert sorted(before + getter.transport.carried) == sorted(FIRST.blobs)


def test_a_device_that_is_no_recipient_says_so_and_asks_for_nothing_but_the_keyring_once() -> None:
    getter = Getter(FIRST, secret=make_key())
    for carried in (list(FIRST.target.keyring), []):
        with pytest.raises(FetchError, match="encrypted for other devices") as caught:
            getter.get(FIRST)
        assert caught.value.reason is Reason.NO_KEY
        assert caught.value.hint
        assert getter.transport.carried == carried
    assert not getter.store.holds(PLAIN.digest)


def test_a_device_without_a_key_says_so_and_asks_for_nothing() -> None:
    getter = Getter(FIRST)
    with pytest.raises(FetchError) as caught:
        fetch_release(
            FIRST.target,
            getter.store,
            getter.transport,
            cancelled=lambda: False,
            trouble=lambda reason, detail: None,
        )
    assert caught.value.reason is Reason.NO_KEY
    assert getter.transport.carried == []


def test_no_key_is_waiting_and_no_rejection_so_that_the_device_can_be_added() -> None:
    device = SimDevice(SimTransport(PLAIN)).boot()
    device.run(PLAIN.target)
    stranger = make_key()
    sealed = seal_release(NEXT, public_of(MINE))
    device.transport.add(sealed)
    device.secret = lambda: stranger
    device.boot()
    device.run(sealed.target)

    assert device.record.current == device.server.serving == PLAIN.digest
    assert device.record.rejected == ()
    assert device.status.problem is not None
    assert device.status.problem.reason is Reason.NO_KEY

    added = seal_release(NEXT, public_of(MINE), public_of(stranger))
    device.transport.add(added)
    device.run(added.target)
    device.run_for(60)
    assert device.record.current == NEXT.digest


def altered(release: SimRelease, digest: str, blob: bytes) -> SimRelease:
    """The publisher has signed another blob in the place of one."""
    fields = {
        name: tuple(digest_of_chunk(blob) if each == digest else each for each in getattr(release.target, name))
        for name in ("index_chunks", "keyring")
    }
    blobs = {name: content for name, content in release.blobs.items() if name != digest}
    target = replace(release.target, **fields)  # type: ignore[arg-type]  # chosen by name
    return replace(release, target=target, blobs={**blobs, digest_of_chunk(blob): blob})


def keyring_of(release: SimRelease) -> str:
    return release.target.keyring[0]


def _with_an_index_that_names_no_blobs() -> SimRelease:
    """Sealed, but as of a release that is not."""
    index = format_index(build_index(PLAIN.members))
    blob = seal(bytes(32), Purpose.INDEX, pack(index))
    release = altered(FIRST, FIRST.target.index_chunks[0], blob)
    return replace(release, target=replace(release.target, index=digest_of_chunk(index)))


REFUSED: dict[str, SimRelease] = {
    "a keyring with another content key": altered(
        FIRST, keyring_of(FIRST), make_keyring(make_key(), PLAIN.digest, [public_of(MINE)])
    ),
    "a truncated keyring": altered(FIRST, keyring_of(FIRST), FIRST.blobs[keyring_of(FIRST)][:-1]),
    "no keyring": altered(FIRST, keyring_of(FIRST), b"hello"),
    "an altered index": altered(FIRST, FIRST.target.index_chunks[0], FIRST.blobs[FIRST.target.index_chunks[0]] + b"x"),
    "a chunk as the index": altered(FIRST, FIRST.target.index_chunks[0], seal(bytes(32), Purpose.CHUNK, b"x")),
    "an index in the clear": altered(FIRST, FIRST.target.index_chunks[0], b"{}"),
    "another index than was signed": replace(FIRST, target=replace(FIRST.target, index="0" * 64)),
    "an index that names no blobs": _with_an_index_that_names_no_blobs(),
    "a keyring that is too large": replace(FIRST, target=replace(FIRST.target, keyring=FIRST.target.keyring * 41)),
    "a plain index with a keyring": replace(PLAIN, target=replace(PLAIN.target, keyring=FIRST.target.keyring)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_was_signed_and_cannot_be_opened_is_refused_and_leaves_nothing_installed(kind: str) -> None:
    getter = Getter(REFUSED[kind])
    getter.transport.add(FIRST)
    with pytest.raises(ArtifactError) as caught:
        getter.get(REFUSED[kind])

    assert caught.value.reason is Reason.INTEGRITY
    assert not getter.store.holds(PLAIN.digest)


def test_a_sealed_index_without_a_keyring_is_refused() -> None:
    index = publish(PLAIN.members)
    sealed = seal_release(index, public_of(MINE))
    with pytest.raises(ArtifactError):
        Getter(sealed).get(replace(sealed, target=replace(sealed.target, keyring=())))


def test_a_chunk_that_opens_to_other_bytes_is_refused() -> None:
    victim = next(iter(PLAIN.chunk_digests))
    lying = replace(PLAIN, blobs={**PLAIN.blobs, victim: b"other"})
    sealed = seal_release(lying, public_of(MINE))
    getter = Getter(sealed)
    with pytest.raises(ArtifactError, match="other bytes"):
        getter.get(sealed)

    assert not getter.store.holds(PLAIN.digest)
