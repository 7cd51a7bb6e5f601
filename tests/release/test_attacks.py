"""Every attack of TUF's list by its name: the reason it is refused for, and that nothing that was trusted has changed.

docs/security.md names these tests. The attacker has the broker and the network, and in some stories a key.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from converter.publish import changes
from converter.publish.keys import KeyDirectory, Keys, make_keys, read_keys
from converter.publish.repository import finish_document
from edge_agent.errors import Reason, TrustError
from edge_agent.release import trust
from edge_agent.release.document import MAX_DOCUMENT_BYTES, format_document, parse_document
from edge_agent.service.trusted import Channel
from tests.sim.trusting import NOW, Device, ask_here, document, mixed, part, target

LATER = NOW + timedelta(days=91)
FAR = datetime(2035, 1, 1, tzinfo=NOW.tzinfo)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_ask_child", ask_here)


@dataclass
class World:
    """A device that has believed release 2, and a publisher whose keys have changed once since the device was made."""

    directory: KeyDirectory
    first: Keys  # before that
    keys: Keys
    evil: Keys  # somebody else's
    device: Device

    def offers(self, *files: tuple[str, str | None], of: bytes) -> bytes:
        return mixed(of, **dict(files))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def make_world(folder: Path) -> World:
    make_keys(folder / "keys", now=NOW)
    make_keys(folder / "evil", now=NOW)
    first = read_keys(folder / "keys")
    directory = KeyDirectory.at(folder / "keys")
    changes.rotate(directory, "targets", NOW)
    device = Device(first.root)
    keys = directory.keys()
    device.hear(document(keys, "2", 20))
    return World(directory, first, keys, read_keys(folder / "evil"), device)


def rollback(world: World) -> bytes:
    """A document that was good once."""
    return document(world.keys, "1", 10)


def rollback_of_a_part(world: World) -> bytes:
    """The old snapshot and targets under a number that is new: by who has the online key only."""
    old = parse_document(document(world.keys, "1", 10))
    kept = {name: text for name, text in old.items() if name.startswith("10.")}
    return finish_document(replace(world.keys, targets=()), kept, 30, NOW)


def freeze(world: World) -> bytes:
    """The newest document, for ever."""
    world.device.clock.advance((LATER - NOW).total_seconds())
    return document(world.keys, "2", 20)


def freeze_of_a_device_without_a_clock(world: World) -> bytes:
    """The network keeps time servers away; the device has heard of a later time on another channel."""
    world.device.synchronized = False
    world.device.hear(document(world.keys, "1", 5, LATER, channel="beta"), Channel("m", "beta"))
    return document(world.keys, "2", 21)


def fast_forward(world: World) -> bytes:
    """After who stole the online key has used up all numbers, good documents look old."""
    world.device.hear(document(world.keys, "2", 2**40))
    return document(world.keys, "3", 30)


def mix_and_match(world: World) -> bytes:
    """Parts that were each good, at different times."""
    old, new = document(world.keys, "1", 29), document(world.keys, "3", 30)
    return mixed(new, **{"30.targets.json": part(old, "29.targets.json")})


def mix_and_match_of_the_snapshot(world: World) -> bytes:
    old, new = document(world.keys, "1", 29), document(world.keys, "3", 30)
    return mixed(
        new, **{"30.snapshot.json": part(old, "29.snapshot.json"), "29.targets.json": part(old, "29.targets.json")}
    )


def endless_data(world: World) -> bytes:
    return mixed(document(world.keys, "3", 30), filler="x" * MAX_DOCUMENT_BYTES)


def endless_nesting(_: World) -> bytes:
    return b'{"timestamp.json":' + b"[" * 50_000


def wrong_key(world: World) -> bytes:
    return document(replace(world.evil, roots=world.keys.roots), "3", 30)


def wrong_key_with_its_own_root(world: World) -> bytes:
    """A root that follows ours, by somebody else."""
    evil = Metadata[Root].from_bytes(world.evil.root)
    evil.signed.version = 3
    return mixed(
        document(world.evil, "3", 30),
        **{"2.root.json": world.keys.root.decode(), "3.root.json": evil.to_bytes().decode()},
    )


def key_that_counts_no_more(world: World) -> bytes:
    """Signed by the targets key that was rotated out, which somebody has found."""
    return document(Keys(world.keys.root, world.first.targets, world.keys.online, world.keys.roots), "3", 30)


def root_left_out(world: World) -> bytes:
    """The document of before the rotation, as if it had never been: the device has seen the newer root."""
    return document(world.first, "3", 30)


def wrong_target_of_another_model(world: World) -> bytes:
    return document(world.keys, "3", 30, model="other")


def wrong_target_of_another_channel(world: World) -> bytes:
    return document(world.keys, "3", 30, channel="beta")


def wrong_target_of_another_class(world: World) -> bytes:
    return document(world.keys, "3", 30, device_class="pi5")


def stripped_signature(world: World) -> bytes:
    return strip(world.keys, Targets)


def stripped_signature_of_the_stamp(world: World) -> bytes:
    return strip(world.keys, Timestamp)


def strip(keys: Keys, kind: type[Targets | Snapshot | Timestamp]) -> bytes:
    """A good document, of which one part has lost its signatures; what follows from it is signed again."""
    whole = parse_document(document(keys, "3", 30))
    name = {Targets: "30.targets.json", Timestamp: "timestamp.json"}[kind]
    metadata = Metadata[Any].from_bytes(whole[name].encode())
    metadata.signatures.clear()
    bare = {name: metadata.to_bytes().decode()}
    if kind is Timestamp:
        return mixed(format_document(whole), **bare)
    return finish_document(replace(keys, targets=()), bare, 30, NOW)


def threshold_not_met(world: World) -> bytes:
    """Two must sign, one has; the other signature is the same one again, under another name."""
    changes.add(world.directory, "targets", None, NOW)
    changes.set_threshold(world.directory, "targets", 2, NOW)
    keys = world.directory.keys()
    assert len(keys.targets) == 2
    world.device.hear(document(keys, "2", 21))  # what two have signed is good
    alone = replace(keys, targets=keys.targets[:1])
    targets = Metadata[Targets].from_bytes(part(document(alone, "3", 30), "30.targets.json").encode())
    (signature,) = targets.signatures.values()
    other = keys.targets[1].public_key.keyid
    twice = json.loads(targets.to_bytes())
    twice["signatures"].append({"keyid": other, "sig": signature.signature})
    return finish_document(alone, {"30.targets.json": json.dumps(twice)}, 30, NOW)


def arbitrary_software(world: World) -> bytes:
    """Another artifact's digest in the signed part; everything that needs no key fits."""
    good = part(document(world.keys, "3", 30), "30.targets.json")
    return finish_document(
        replace(world.keys, targets=()), {"30.targets.json": good.replace("3" * 64, "6" * 64)}, 30, NOW
    )


def arbitrary_software_as_it_is(world: World) -> bytes:
    good = document(world.keys, "3", 30)
    return mixed(good, **{"30.targets.json": part(good, "30.targets.json").replace("3" * 64, "6" * 64)})


Attack = Callable[[World], bytes]
ATTACKS: tuple[tuple[Attack, Reason], ...] = (
    (rollback, Reason.REPLAYED),
    (rollback_of_a_part, Reason.REPLAYED),
    (freeze, Reason.EXPIRED),
    (freeze_of_a_device_without_a_clock, Reason.EXPIRED),
    (fast_forward, Reason.REPLAYED),
    (mix_and_match, Reason.INTEGRITY),
    (mix_and_match_of_the_snapshot, Reason.INTEGRITY),
    (endless_data, Reason.INTEGRITY),
    (endless_nesting, Reason.INTEGRITY),
    (wrong_key, Reason.SIGNATURE),
    (wrong_key_with_its_own_root, Reason.SIGNATURE),
    (key_that_counts_no_more, Reason.SIGNATURE),
    (root_left_out, Reason.SIGNATURE),
    (wrong_target_of_another_model, Reason.WRONG_TARGET),
    (wrong_target_of_another_channel, Reason.WRONG_TARGET),
    (wrong_target_of_another_class, Reason.WRONG_TARGET),
    (stripped_signature, Reason.SIGNATURE),
    (stripped_signature_of_the_stamp, Reason.SIGNATURE),
    (threshold_not_met, Reason.SIGNATURE),
    (arbitrary_software, Reason.SIGNATURE),
    (arbitrary_software_as_it_is, Reason.INTEGRITY),
)


@pytest.mark.parametrize(("attack", "reason"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
def test_attack(attack: Attack, reason: Reason, world: World) -> None:
    offered = attack(world)
    assert world.device.refuses(offered) is reason
    remembered = world.device.restart()
    assert remembered is not None
    assert remembered.version == "2"


def test_slow_retrieval_of_a_check_that_never_ends_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document is one message, so only its check can be slow; chunks are given up by the link (tests/link)."""
    monkeypatch.undo()
    monkeypatch.setattr(trust, "_TIMEOUT_S", 0.01)
    assert world.device.refuses(document(world.keys, "3", 30)) is Reason.INTEGRITY


def test_fast_forward_is_recovered_from_by_rotating_the_online_key(world: World) -> None:
    world.device.hear(document(world.keys, "2", 2**40))
    assert world.device.refuses(document(world.keys, "3", 30)) is Reason.REPLAYED
    changes.rotate(world.directory, "online", NOW, stolen=True)
    assert world.device.hear(document(world.directory.keys(), "3", 30)).version == "3"
    assert world.device.refuses(document(world.keys, "2", 2**41)) is Reason.SIGNATURE


def test_fast_forward_of_the_time_needs_more_than_the_online_key(world: World) -> None:
    """Who says that it is 2035 must show targets that last until then: they last three years."""
    targets = {"20.targets.json": part(document(world.keys, "2", 20), "20.targets.json")}
    assert world.device.refuses(finish_document(replace(world.keys, targets=()), targets, 21, FAR)) is Reason.EXPIRED


def test_fast_forward_of_the_time_is_recovered_from_by_rotating_the_online_key(world: World) -> None:
    """With both keys stolen, nothing of today is fresh any more; until keys that say so count no more."""
    world.device.synchronized = False
    world.device.hear(document(world.keys, "2", 22, FAR))
    assert world.device.floor_s() == FAR.timestamp()
    assert world.device.refuses(document(world.keys, "3", 30)) is Reason.EXPIRED

    changes.rotate(world.directory, "online", NOW, stolen=True)
    assert world.device.hear(document(world.directory.keys(), "3", 30)).version == "3"
    assert world.device.floor_s() == NOW.timestamp()
    assert world.device.restart() == target("3")


def test_a_document_that_is_only_set_out_otherwise_does_not_keep_the_real_one_out(world: World) -> None:
    real = document(world.keys, "3", 30)
    stamp = json.loads(part(real, "timestamp.json"))
    wider = json.dumps(stamp, indent=4)
    stamp["signed"]["spec_version"] = None  # which python-tuf reads as the one that was signed
    for other in (wider, json.dumps(stamp)):
        assert world.device.hear(mixed(real, **{"timestamp.json": other})) == target("3")
        assert world.device.hear(real) == target("3")


def test_a_key_that_was_revoked_on_one_channel_counts_on_no_other(world: World) -> None:
    beta = Channel("m", "beta")
    device = Device(world.first.root)
    device.hear(document(world.first, "1", 5, channel="beta"), beta)
    device.hear(document(world.keys, "2", 20))  # brings the new root
    assert device.refuses(document(world.first, "3", 30, channel="beta"), beta) is Reason.SIGNATURE
    assert device.hear(document(world.keys, "3", 30, channel="beta"), beta).version == "3"


def test_a_device_that_slept_through_several_rotations_follows(world: World) -> None:
    for job in ("root", "targets", "online", "root"):
        changes.rotate(world.directory, job, NOW)
    keys = world.directory.keys()
    assert len(keys.roots) == 6
    sleeper = Device(world.first.root)
    sleeper.hear(document(world.first, "1", 10))
    assert sleeper.hear(document(keys, "3", 30)).version == "3"
    sleeper.restart()
    assert sleeper.refuses(document(world.keys, "2", 31)) is Reason.SIGNATURE
    assert Device(keys.root).hear(document(keys, "3", 30)).version == "3"  # a new one, with the newest root
    assert Device(keys.roots[3]).hear(document(keys, "3", 30)).version == "3"
    lacking = mixed(document(keys, "4", 31), **{"3.root.json": None})
    assert Device(world.first.root).refuses(lacking) is Reason.SIGNATURE


JSON_LEAF = st.none() | st.booleans() | st.integers() | st.text(max_size=8)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, bytes]:
    """A root, a document under it that a device has believed, and the next one."""
    world = make_world(tmp_path_factory.mktemp("good"))
    return world.first.root, document(world.keys, "2", 20), document(world.keys, "3", 30)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, 9_999), st.sampled_from(["flip", "drop", "insert", "cut"]), st.integers(1, 255)),
        min_size=1,
        max_size=4,
    )
)
def test_random_mutations_of_a_good_documents_bytes_give_only_our_own_errors(
    good: tuple[bytes, bytes, bytes], cuts: list[tuple[int, str, int]]
) -> None:
    content = bytearray(good[2])
    for place, what, value in cuts:
        index = place % max(1, len(content))
        if what == "flip" and content:
            content[index] ^= value
        elif what == "drop":
            del content[index : index + value]
        elif what == "insert":
            content[index:index] = bytes([value])
        else:
            del content[index:]
    check_mutant(good, bytes(content))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.integers(0, 10_000), leaf=JSON_LEAF)
def test_random_mutations_inside_a_good_document_give_only_our_own_errors(
    good: tuple[bytes, bytes, bytes], choice: int, leaf: Any
) -> None:
    files = parse_document(good[2])
    name = sorted(files)[choice % len(files)]
    tree = json.loads(files[name])
    places = list(leaves(tree))
    holder, key = places[choice // len(files) % len(places)]
    holder[key] = leaf
    check_mutant(good, format_document({**files, name: json.dumps(tree)}))


def leaves(tree: Any) -> Any:
    """(container, key) of everything in a tree that is no container."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if isinstance(value, dict | list):
            yield from leaves(value)
        else:
            yield tree, key


def check_mutant(good: tuple[bytes, bytes, bytes], mutant: bytes) -> None:
    root, before, after = good
    device = Device(root)
    device.hear(before)
    remembered = device.remembers()
    try:
        found = device.hear(mutant)
    except TrustError as error:
        assert error.hint  # noqa: PT017  # a mutant may be believed
        assert device.remembers() == remembered
    else:
        assert found in (target("2"), target("3"))  # what was changed is not of what is signed
    assert device.hear(after) == target("3")
