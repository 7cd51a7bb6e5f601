"""Garbage collection beside encrypted releases, on a real mosquitto: what only recipients can read is kept for them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from converter.publish import parcel
from converter.publish.catalog import Catalog, format_catalog
from converter.publish.collect import CollectError
from converter.publish.inventory import format_inventory, parse_inventory
from converter.publish.keys import Keys
from converter.publish.parcel import wrap
from converter.publish.push import Pushed
from converter.publish.seals import ReleaseSeal, seal_for
from edge_agent.release.archive import Artifact
from edge_agent.release.chunks import digest_of_chunk
from edge_agent.release.sealing import make_key, public_of
from tests.converter.publishing import TOPICS, absent, catalog_of, chunks_of, publish, retain
from tests.converter.test_collect import NOW, keys, push_all, run, versions  # noqa: F401  # fixtures
from tests.converter.test_encrypted_push import fetched_by
from tests.sim.broker import Mosquitto

PORCH, GATE = make_key(), make_key()
Seals = Callable[[Artifact], ReleaseSeal]


@pytest.fixture
def seal_of(tmp_path: Path) -> Seals:
    return lambda what: seal_for(tmp_path / "keys", what.digest, {"porch": public_of(PORCH)})


def push_sealed(broker: Mosquitto, signers: Keys, seal_of: Seals, *artifacts: Artifact) -> list[Pushed]:
    begin = datetime.now(UTC) - timedelta(minutes=30)
    return [
        publish(broker, each, signers, seal=seal_of(each), now=begin + timedelta(minutes=number))
        for number, each in enumerate(artifacts)
    ]


def test_beside_each_other_only_what_no_encrypted_and_no_plain_release_needs_is_cleared(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    seal_of: Seals,
) -> None:
    plain, sealed = versions(tmp_path, "1", "2", "3", name="insects"), versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, *plain)
    push_sealed(mosquitto, keys, seal_of, *sealed)
    collected = run(mosquitto)

    kept = set().union(*map(chunks_of, plain[1:]), *(chunks_of(each, seal_of(each)) for each in sealed[1:]))
    gone = (chunks_of(plain[0]) | chunks_of(sealed[0], seal_of(sealed[0]))) - kept
    assert set(collected.cleared) == {"insects 1 on stable", "birds 1 on stable"}
    assert len(collected.kept) == 4
    assert collected.notes == ()
    assert absent(mosquitto, kept | gone) == gone
    assert {(entry.model, entry.version) for entry in catalog_of(mosquitto).releases} == {
        (name, version) for name in ("birds", "insects") for version in "23"
    }
    assert fetched_by(PORCH, mosquitto, keys, tmp_path / "porch").is_sound(sealed[2].digest)
    publish(mosquitto, sealed[1], keys, channel="beta", seal=seal_of(sealed[1]))  # all of it is still there
    assert run(mosquitto).chunks == 0


def test_a_keyring_that_was_replaced_goes_with_its_release(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    seal_of: Seals,
) -> None:
    first, *others = versions(tmp_path, "1", "2", "3")
    everything = chunks_of(first, seal_of(first))
    push_sealed(mosquitto, keys, seal_of, first)
    both = seal_for(tmp_path / "keys", first.digest, {"porch": public_of(PORCH), "gate": public_of(GATE)})
    publish(mosquitto, first, keys, seal=both, now=datetime.now(UTC) - timedelta(minutes=31))
    everything |= chunks_of(first, both)
    push_sealed(mosquitto, keys, seal_of, *others)
    run(mosquitto)

    assert absent(mosquitto, everything) == everything


def test_a_release_that_was_encrypted_first_and_is_for_all_now_leaves_no_litter(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    seal_of: Seals,
) -> None:
    first, *others = versions(tmp_path, "1", "2", "3")
    push_sealed(mosquitto, keys, seal_of, first)
    publish(mosquitto, first, keys, unencrypted=True, now=datetime.now(UTC) - timedelta(minutes=29))
    push_all(mosquitto, keys, *others)
    run(mosquitto)

    both = chunks_of(first) | chunks_of(first, seal_of(first))
    kept = set().union(*map(chunks_of, others))
    assert absent(mosquitto, both) == both - kept


def test_without_the_inventory_of_a_current_release_nothing_is_cleared(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    seal_of: Seals,
) -> None:
    releases = versions(tmp_path, "1", "2", "3")
    push_sealed(mosquitto, keys, seal_of, *releases)
    for digest in wrap(releases[2], "stable", NOW, seal=seal_of(releases[2])).target.inventory:
        retain(mosquitto, TOPICS.blob(digest), b"")
    with pytest.raises(CollectError, match="inventory of birds 3 on stable is not on the broker") as caught:
        run(mosquitto)

    assert "edgectl seed" in str(caught.value.hint)
    assert absent(mosquitto, chunks_of(releases[0], seal_of(releases[0]))) == set()


def test_what_was_pushed_without_an_inventory_is_kept_until_it_is_pushed_again(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    seal_of: Seals,
) -> None:
    """As an edgectl did that was older than inventories."""
    insects, (sealed,) = versions(tmp_path, "1", "2", "3", name="insects"), versions(tmp_path, "1")
    push_all(mosquitto, keys, *insects)
    with pytest.MonkeyPatch.context() as older:
        older.setattr(parcel, "format_inventory", lambda _: b"")
        push_sealed(mosquitto, keys, seal_of, sealed)
        everything = chunks_of(sealed, seal_of(sealed))
    with pytest.raises(CollectError, match="birds 1 on stable is encrypted") as caught:
        run(mosquitto)
    assert "edgectl push" in str(caught.value.hint)
    assert absent(mosquitto, everything | set().union(*map(chunks_of, insects))) == set()

    (again,) = push_sealed(mosquitto, keys, seal_of, sealed)
    assert (again.published, again.sent.chunks_sent) == (True, 1)
    assert run(mosquitto).cleared == ("insects 1 on stable",)
    assert absent(mosquitto, everything) == set()


def test_garbage_that_only_its_recipients_could_list_is_kept_and_said(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    seal_of: Seals,
) -> None:
    first, *others = versions(tmp_path, "1", "2", "3")
    with pytest.MonkeyPatch.context() as older:
        older.setattr(parcel, "format_inventory", lambda _: b"")
        push_sealed(mosquitto, keys, seal_of, first)
        everything = chunks_of(first, seal_of(first))
    push_sealed(mosquitto, keys, seal_of, *others)
    collected = run(mosquitto)

    assert collected.cleared == ()
    assert "kept birds 1 on stable, which is encrypted" in collected.notes[0]
    assert absent(mosquitto, everything) == set()
    assert "1" in {entry.version for entry in catalog_of(mosquitto).releases}


def test_a_forged_catalog_cannot_make_a_sealed_blob_garbage(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    seal_of: Seals,
) -> None:
    (sealed,), (other,) = versions(tmp_path, "1"), versions(tmp_path, "9", name="insects")
    push_sealed(mosquitto, keys, seal_of, sealed)
    blobs = chunks_of(sealed, seal_of(sealed))
    push_all(mosquitto, keys, other)
    (entry,) = [entry for entry in catalog_of(mosquitto).releases if entry.model == "birds"]
    long_ago = "2020-01-01T00:00:00+00:00"
    lie = format_inventory(blobs)
    forged = [
        replace(entry, channel="gone", digest=digit * 64, entered=long_ago, published="", **said)
        for digit, said in (
            ("0", {"patch_chunks": tuple(sorted(blobs))}),
            ("1", {"inventory": (digest_of_chunk(lie),)}),
            ("2", {"keyring": tuple(sorted(blobs)), "inventory": ()}),
        )
    ]
    retain(mosquitto, TOPICS.catalog(), format_catalog(Catalog(tuple(forged))))
    run(mosquitto)

    assert absent(mosquitto, blobs | chunks_of(other)) == set()
    assert fetched_by(PORCH, mosquitto, keys, tmp_path / "porch").is_sound(sealed.digest)


def test_an_inventory_is_the_digests_in_order_of_their_bytes() -> None:
    digests = {letter * 64 for letter in "cafe"}
    content = format_inventory(digests)

    assert content == b"".join(bytes.fromhex(letter * 64) for letter in "acef")
    assert parse_inventory(content) == digests
    for wrong in (b"", content[:-1], content + b"x"):
        with pytest.raises(ValueError, match="expected digests of 32"):
            parse_inventory(wrong)
