"""Garbage collection on a real mosquitto: only what nobody refers to goes, whoever pushes, forges or dies meanwhile."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.broker import Broker
from converter.commands.blobs import gc as gc_command
from converter.publish import collect as collect_module
from converter.publish.catalog import PUSH_LASTS, Catalog, CollectionMark, Listed, format_catalog, listed, parse_catalog
from converter.publish.collect import Collected, CollectError, collect, sort_releases
from converter.publish.keys import Keys, make_keys, read_keys
from converter.publish.orders import Publisher
from converter.publish.parcel import wrap
from converter.publish.push import PatchFrom, Pushed
from edge_agent.disk import open_disk
from edge_agent.link.device import DeviceEvent, DeviceLink
from edge_agent.link.events import Connected
from edge_agent.link.messages import decode
from edge_agent.release.archive import Artifact
from edge_agent.release.chunks import CHUNK_BYTES
from edge_agent.update.fetch import fetch_release
from edge_agent.update.store import ReleaseStore
from tests.converter.publishing import (
    TOPICS,
    absent,
    artifact,
    catalog_of,
    chunks_of,
    model,
    publish,
    publish_quickly,
    retain,
)
from tests.sim.broker import Mosquitto

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    publish_quickly(monkeypatch)
    monkeypatch.setattr(collect_module, "_GRACE_S", 0.2)
    make_keys(tmp_path / "keys")
    return read_keys(tmp_path / "keys")


def run(
    broker: Mosquitto, *, dry_run: bool = False, trust_catalog: bool = False, later: timedelta = timedelta()
) -> Collected:
    """Collect, as on a laptop of its own."""
    now = datetime.now(UTC) + later
    return collect(lambda: Broker(broker.settings, TOPICS), dry_run=dry_run, trust_catalog=trust_catalog, now=now)


def push_all(broker: Mosquitto, keys: Keys, *artifacts: Artifact, channel: str = "stable") -> list[Pushed]:
    """One after the other, each a minute later than the one before."""
    begin = datetime.now(UTC) - timedelta(minutes=30)
    return [
        publish(broker, each, keys, channel=channel, now=begin + timedelta(minutes=number))
        for number, each in enumerate(artifacts)
    ]


def versions(folder: Path, *names: str, name: str = "birds") -> list[Artifact]:
    """Releases that share their first chunk."""
    return [artifact(folder, each, model("shared", CHUNK_BYTES) + model(each), name=name) for each in names]


def test_only_what_is_older_than_the_previous_release_is_cleared(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    first, second, third = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, first, second, third)
    collected = run(mosquitto)

    kept = chunks_of(second) | chunks_of(third)
    assert collected.kept == ("birds 3 on stable", "birds 2 on stable")
    assert collected.cleared == ("birds 1 on stable",)
    assert absent(mosquitto, chunks_of(first) | kept) == chunks_of(first) - kept
    assert collected.chunks == len(chunks_of(first) - kept)
    assert [entry.version for entry in catalog_of(mosquitto).releases] == ["2", "3"]
    assert run(mosquitto).chunks == 0


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    releases = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, *releases)
    before = catalog_of(mosquitto)
    said = run(mosquitto, dry_run=True)

    assert catalog_of(mosquitto) == before
    assert absent(mosquitto, set().union(*map(chunks_of, releases))) == set()
    assert replace(run(mosquitto), notes=()) == said


def test_every_channel_and_model_keeps_its_own(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    birds, insects = versions(tmp_path, "1", "2", "3"), versions(tmp_path, "1", "2", name="insects")
    push_all(mosquitto, keys, *birds)
    push_all(mosquitto, keys, *insects)
    push_all(mosquitto, keys, birds[0], channel="beta")
    collected = run(mosquitto)

    assert collected.cleared == ("birds 1 on stable",)
    assert collected.chunks == 0  # beta has it
    everything = set().union(*map(chunks_of, (*birds, *insects)))
    assert absent(mosquitto, everything) == set()


def test_patches_are_kept_and_cleared_with_their_release(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    content = model("old", 5 * CHUNK_BYTES)
    old = artifact(tmp_path, "1", content)
    nudged = [
        artifact(tmp_path, f"2.{byte}", content.replace(content[5000:5010], bytes([byte]) * 10)) for byte in range(3)
    ]
    patches = []
    for number, each in enumerate((old, *nudged)):
        now = datetime.now(UTC) - timedelta(minutes=30 - number)
        publish(mosquitto, each, keys, patch_from=PatchFrom(fleet=False, artifacts=(old,)), now=now)
        patches.append(set(catalog_of(mosquitto).releases[-1].patch_chunks))
    assert all(patches[1:])
    run(mosquitto)

    assert absent(mosquitto, patches[1]) == patches[1]
    assert absent(mosquitto, patches[2] | patches[3]) == set()


def test_a_release_that_was_gone_back_to_is_the_current_one(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    first, second, third = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, first, second, third)
    connect = partial(Broker, mosquitto.settings, TOPICS)
    Publisher("birds", "stable", keys, connect).revert(datetime.now(UTC), to="1")

    assert run(mosquitto).kept == ("birds 1 on stable", "birds 3 on stable")
    assert absent(mosquitto, chunks_of(first) | chunks_of(third)) == set()


# --- forged, foreign and damaged ------------------------------------------------------------------------------------


def test_a_forged_catalog_cannot_make_a_live_chunk_garbage(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    current, other = versions(tmp_path, "1", "2")
    push_all(mosquitto, keys, current)
    push_all(mosquitto, keys, other, channel="beta")
    long_ago = "2020-01-01T00:00:00+00:00"
    targets = [wrap(each, channel, NOW).target for each, channel in ((current, "stable"), (other, "beta"))]
    forged = [
        replace(listed(target, NOW, published=False), channel="gone", entered=long_ago, published=published)
        for target in targets
        for published in ("", long_ago)
    ]
    forged += [replace(forged[0], digest="0" * 64, patch_chunks=tuple(sorted(chunks_of(other))))]
    retain(mosquitto, TOPICS.catalog(), format_catalog(Catalog(tuple(forged))))
    run(mosquitto)

    assert absent(mosquitto, chunks_of(current) | chunks_of(other)) == set()


def test_a_document_of_other_keys_keeps_what_it_refers_to(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    make_keys(tmp_path / "others")
    foreign = artifact(tmp_path, "1", name="insects")
    publish(mosquitto, foreign, read_keys(tmp_path / "others"))
    retain(mosquitto, TOPICS.catalog(), b"")  # theirs is another laptop with an older edgectl
    push_all(mosquitto, keys, *versions(tmp_path, "1", "2", "3"))
    collected = run(mosquitto)

    assert "insects 1 on stable" in collected.kept
    assert absent(mosquitto, chunks_of(foreign)) == set()


@pytest.mark.parametrize(
    "payload",
    [b"garbage", b"{}garbage", b'{"1.targets.json":"{}"}', b'{"1.targets.json":"[["}', b'{"1.targets.json":7}'],
)
def test_with_a_document_that_cannot_be_read_nothing_is_cleared(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, payload: bytes
) -> None:
    releases = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, *releases)
    retain(mosquitto, TOPICS.release("insects", "stable"), payload)
    with pytest.raises(CollectError, match="insects/stable cannot be read"):
        run(mosquitto)

    assert absent(mosquitto, set().union(*map(chunks_of, releases))) == set()


def test_without_the_index_of_a_current_release_nothing_is_cleared(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    first, second, third = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, first, second, third)
    for digest in wrap(third, "stable", NOW).target.index_chunks:
        retain(mosquitto, TOPICS.blob(digest), b"")
    with pytest.raises(CollectError, match="index of birds 3 on stable") as caught:
        run(mosquitto)

    assert "edgectl seed" in str(caught.value.hint)
    assert absent(mosquitto, chunks_of(first)) == set()


def test_a_broker_without_wildcards_needs_a_word_of_trust(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, first, second, third)
    honest = Broker.retained

    def no_wildcards(self: Broker, filters: Sequence[str], *, grace_s: float = 0.3) -> dict[str, bytes]:
        exact = [each for each in filters if "+" not in each]
        return honest(self, exact, grace_s=grace_s) if exact else {}

    monkeypatch.setattr(Broker, "retained", no_wildcards)
    with pytest.raises(CollectError, match="wildcards"):
        run(mosquitto)
    assert absent(mosquitto, chunks_of(first)) == set()
    assert run(mosquitto, trust_catalog=True).cleared == ("birds 1 on stable",)
    assert absent(mosquitto, chunks_of(second) | chunks_of(third)) == set()


# --- somebody else is at work -----------------------------------------------------------------------------------------


def test_a_push_under_way_is_left_in_peace(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    push_all(mosquitto, keys, *versions(tmp_path, "1", "2", "3"))
    fourth = artifact(tmp_path, "4", model("4", 30 * CHUNK_BYTES))  # its index is not yet on its way when it begins
    refused: list[CollectError] = []

    def meanwhile(_done_bytes: int, _total_bytes: int) -> None:
        if not refused:
            with pytest.raises(CollectError) as caught:
                run(mosquitto)
            refused.append(caught.value)

    publish(mosquitto, fourth, keys, progress=meanwhile)

    assert "birds 4 on stable is not on the broker" in str(refused[0])
    assert absent(mosquitto, chunks_of(fourth)) == set()


def test_what_a_collection_clears_under_a_push_is_sent_again(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    """The collection had looked before the push said anything, and clears what the push has just found."""
    first, second = versions(tmp_path, "1", "2")
    push_all(mosquitto, keys, first)
    shared = sorted(chunks_of(first) & chunks_of(second))
    done: list[str] = []

    def meanwhile(_done_bytes: int, _total_bytes: int) -> None:
        if not done:
            done.extend(shared)
            catalog = replace(catalog_of(mosquitto), collection=CollectionMark("ab12", active=True))
            retain(mosquitto, TOPICS.catalog(), format_catalog(catalog))
            for digest in shared:
                retain(mosquitto, TOPICS.blob(digest), b"")

    pushed = publish(mosquitto, second, keys, progress=meanwhile)

    assert pushed.healed == len(shared) > 0
    assert absent(mosquitto, chunks_of(second)) == set()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_push_in_the_middle_of_a_collection_loses_nothing(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A whole push, between the collection's last look and its clearing, or while it clears."""
    first, second, third = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, first, second, third)
    again = artifact(tmp_path, "4", first.members["model.tflite"])  # all garbage, until now
    clear: Callable[..., None] = Broker.publish_chunks
    pushed: list[Pushed] = []

    def interrupted(self: Broker, chunks: Sequence[tuple[str, bytes]], sent: Callable[[int], None]) -> None:
        chunks = list(chunks)
        if pushed or not chunks or chunks[0][1]:
            clear(self, chunks, sent)
            return
        pushed.append(None)  # type: ignore[arg-type]  # the push clears nothing, and must not come here
        if when == "after":
            clear(self, chunks, sent)
        pushed[0] = publish(mosquitto, again, keys)
        if when == "before":
            clear(self, chunks, sent)

    monkeypatch.setattr(Broker, "publish_chunks", interrupted)
    run(mosquitto)

    assert pushed[0].published
    assert absent(mosquitto, chunks_of(again) | chunks_of(third)) == set()


def test_somebody_who_publishes_again_and_again_ends_a_collection(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, *releases)

    def moved(_reader: Broker, _survey: object) -> None:
        raise collect_module._MovedError

    monkeypatch.setattr(collect_module, "_check_unmoved", moved)
    with pytest.raises(CollectError, match="again and again"):
        run(mosquitto)
    assert absent(mosquitto, set().union(*map(chunks_of, releases))) == set()


class KilledError(Exception):
    """Instead of SIGKILL."""


def test_a_collection_killed_anywhere_clears_nothing_live_and_is_done_by_the_next(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = versions(tmp_path, "1", "2", "3")
    kept = chunks_of(second) | chunks_of(third)
    monkeypatch.setattr(collect_module, "_BATCH", 2)
    honest = {name: getattr(Broker, name) for name in ("publish_chunks", "publish_retained")}
    killed = 0
    for kill_at in range(1, 20):
        retain(mosquitto, TOPICS.catalog(), b"")
        retain(mosquitto, TOPICS.release("birds", "stable"), b"")
        push_all(mosquitto, keys, first, second, third)
        count = 0

        def deadly(name: str) -> Callable[..., None]:
            def call(*arguments: object) -> None:
                nonlocal count
                count += 1
                if count == kill_at:  # noqa: B023  # called in this round only
                    raise KilledError
                honest[name](*arguments)

            return call

        for name in honest:
            monkeypatch.setattr(Broker, name, deadly(name))
        try:
            run(mosquitto)
        except KilledError:
            killed += 1
        finally:
            for name, method in honest.items():
                monkeypatch.setattr(Broker, name, method)
        assert absent(mosquitto, kept) == set()
        if count < kill_at:
            break
        run(mosquitto)
        assert absent(mosquitto, kept | chunks_of(first)) == chunks_of(first) - kept
    assert killed >= 4


def test_a_device_fetching_what_is_collected_goes_on_with_the_newer_release(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    releases = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, *releases)
    store = ReleaseStore(open_disk(tmp_path / "state"), tmp_path / "state")
    events: SimpleQueue[DeviceEvent] = SimpleQueue()
    troubles: list[str] = []
    newer = Event()
    old, new = wrap(releases[0], "stable", NOW).target, wrap(releases[2], "stable", NOW).target
    with DeviceLink(mosquitto.settings, TOPICS, "porch", [], events.put) as link:
        while not isinstance(events.get(timeout=30), Connected):
            pass
        index = list(old.index_chunks)
        link.collect(index, lambda *_: None, cancelled=Event().is_set, trouble=lambda *_: None)
        run(mosquitto)

        def hear(_reason: object, detail: str) -> None:
            troubles.append(detail)
            newer.set()  # the document of the newer release, which is there already

        assert fetch_release(old, store, link, cancelled=newer.is_set, trouble=hear) is None
        assert fetch_release(new, store, link, cancelled=Event().is_set, trouble=hear) is not None

    assert store.is_sound(new.digest)
    assert not store.holds(old.digest)
    assert len(troubles) == 1


# --- the catalog ------------------------------------------------------------------------------------------------------


def test_a_broken_off_push_is_no_previous_release_and_is_collected_later(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    first, second, third = versions(tmp_path, "1", "2", "3")
    push_all(mosquitto, keys, first, second)

    def give_up(done_bytes: int, total_bytes: int) -> None:
        if done_bytes == total_bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(mosquitto, third, keys, progress=give_up)
    assert run(mosquitto).cleared == ()
    collected = run(mosquitto, later=PUSH_LASTS)
    assert (collected.kept, collected.cleared) == (("birds 2 on stable", "birds 1 on stable"), ("birds 3 on stable",))
    assert absent(mosquitto, chunks_of(first) | chunks_of(second)) == set()


def test_two_pushes_at_once_are_both_in_the_catalog(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    birds, insects = versions(tmp_path, "1")[0], versions(tmp_path, "1", name="insects")[0]
    done: list[Pushed] = []

    def meanwhile(_done_bytes: int, _total_bytes: int) -> None:
        if not done:
            done.append(publish(mosquitto, insects, keys))

    publish(mosquitto, birds, keys, progress=meanwhile)

    assert {entry.model for entry in catalog_of(mosquitto).releases if entry.published} == {"birds", "insects"}


def entry(number: int, **changes: str) -> Listed:
    """A release that was published on that day of May, unless it is changed."""
    day = f"2026-05-{number:02}T00:00:00+00:00"
    index = f"{number + 1000:064x}"
    plain = Listed(
        model="birds", channel="stable", version=str(number), digest=f"{number:064x}", index=index,
        index_chunks=(index,), entered=day, published=day,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]  # chosen by name


def test_what_is_kept_of_a_catalog() -> None:
    fresh = entry(9, published="", entered=NOW.isoformat())
    undated = entry(8, published="", entered="garbage")
    other = entry(3, channel="beta", published="2020-01-01T00:00:00+00:00")
    catalog = Catalog((entry(1), entry(2), entry(4), fresh, undated, other))
    kept, garbage = sort_releases([entry(4)], catalog, NOW)

    assert [each.version for each in garbage] == ["1"]
    assert {each.version for each in kept} == {"2", "3", "4", "8", "9"}


def test_a_catalog_that_grows_too_large_forgets_its_oldest_entries() -> None:
    entries = tuple(entry(number, published="2026-05-01T00:00:00+00:00") for number in range(5000))
    read = parse_catalog(format_catalog(Catalog(entries, CollectionMark("ab"))))

    assert 50 < len(read.releases) < 5000
    assert read.releases[-1] == entries[-1]
    assert read.collection == CollectionMark("ab")


def test_the_page_shows_a_catalog() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "mqtt-interface.md").read_text(encoding="utf-8")
    shown = next(block for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL) if '"collection"' in block)
    catalog = parse_catalog(shown.replace("<sha256>", "0" * 64).encode())

    assert [each.name for each in catalog.releases] == ["birds 1.2.0 on stable"]
    assert decode(format_catalog(catalog)) == json.loads(shown.replace("<sha256>", "0" * 64))


@settings(deadline=None)
@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["releases", "collection", "digest", "index_chunks", "model", "channel"]), inner
    ),
).map(lambda tree: json.dumps(tree).encode()))  # fmt: skip
def test_whatever_lies_there_is_a_catalog(payload: bytes) -> None:
    assert isinstance(parse_catalog(payload), Catalog)


def test_the_gc_command_tells_what_it_did(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    push_all(mosquitto, keys, *versions(tmp_path, "1", "2", "3"))

    def say(*arguments: str) -> str:
        result = CliRunner().invoke(gc_command, ["--broker", mosquitto.url, *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "would clear birds 1 on stable" in say("--dry-run")
    assert json.loads(say("--json"))["cleared"] == ["birds 1 on stable"]
    assert "cleared 0 chunks" in say()
