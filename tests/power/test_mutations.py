"""The suite's own teeth: the code around the disk is broken, one mutation at a time, and each must be found.

Where `test_every_cut` breaks the disk module, this leaves out, or turns round, what store, staging, journal and updater
do with it, and names the story that finds it. The stories are told as they are there, with two more: bytes that rot
between two starts, and a transport that hands over other bytes than were asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import pytest

from edge_agent.errors import EdgeError
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.update import machine, upgrade
from edge_agent.update.journal import Journal
from edge_agent.update.machine import Record
from edge_agent.update.staging import Staging
from edge_agent.update.store import ReleaseStore
from edge_agent.update.updater import Updater
from edge_agent.update.upgrade import STEPS, Tree
from tests.power.exploration import explore, explore_kills, problems_on_disk
from tests.power.stories import FIRST, NAMES, OLDER, story
from tests.sim.device import SimDevice
from tests.sim.disk import SimDisk, Survival
from tests.sim.releases import SimTransport

Patch = Callable[[pytest.MonkeyPatch], None]
Find = Callable[[Path], Iterable[object]]  # tells everything that is found wrong; given a folder for artifacts


def _told(name: str, survival: Survival = Survival.NOTHING) -> Find:
    return lambda folder: explore(story(name, folder), survival)


def _killed(name: str) -> Find:
    return lambda folder: explore_kills(story(name, folder))


def _current_rots(_folder: Path) -> Iterator[str]:
    return _rotten(FIRST.digest, "current")


def _previous_rots(_folder: Path) -> Iterator[str]:
    return _rotten(OLDER.digest, "previous")


def _rotten(digest: str, which: str) -> Iterator[str]:
    """A byte of an installed release turns over while the device is off."""
    device = SimDevice(SimTransport(OLDER, FIRST)).boot()
    for release in (OLDER, FIRST):
        device.run(release.target)
    model = f"releases/{digest}/{MODEL_FILE}"
    if model not in device.files():
        yield f"{which} is not there"
        return
    _flip(device.disk, model)
    device.lose_process()
    device.transport.blobs.clear()  # nothing can be fetched again
    try:
        device.boot()
        device.run()
        if which == "previous":
            device.updater.roll_back()
            device.run()
    except EdgeError as error:
        yield f"{which} rots: {error}"
        return
    if device.server.serving == digest:
        yield f"{which} rots, and serves"


def _flip(disk: SimDisk, name: str) -> None:
    (byte,) = disk.read(name, 100, 1)
    disk.write(name, 100, bytes([byte ^ 1]))


def _lied_to(_folder: Path) -> Iterator[str]:
    """Each chunk in turn comes with other bytes: none of it may be installed."""
    for digest in FIRST.chunk_digests:
        device = SimDevice(SimTransport(FIRST)).boot()
        good = device.transport.blobs[digest]
        device.transport.blobs[digest] = Random(digest).randbytes(len(good))
        try:
            device.run(FIRST.target)
        except EdgeError as error:
            yield f"lied to: {error}"
            continue
        yield from (f"lied to: {what}" for what in problems_on_disk(device.disk))
        if device.server.serving is not None:
            yield "lied to: and it serves"


# --- what is broken -----------------------------------------------------------------------------------------


def _replace(owner: type, name: str, broken: object) -> Patch:
    return lambda patch: patch.setattr(owner, name, broken)


def _skip_digest_at_adopt(self: ReleaseStore, staging: str, digest: str, size_bytes: int | None) -> None:
    """Whatever was staged is taken for what was signed."""


def _remember_late(self: Journal, record: Record) -> None:
    """Two writes swapped: a record reaches the disk when the next one is due."""
    late: list[Record] = self.__dict__.setdefault("late", [])
    late.append(record)
    if len(late) > 1:
        _WRITE(self, late.pop(0))


_WRITE = Journal.write


def _write_in_place(self: Journal, record: Record) -> None:
    from edge_agent.update.journal import format_record

    content = format_record(record)
    self._disk.remove(self._name)
    self._disk.write_at(self._name, 0, content)


def _sweep_first(self: Updater, record: Record) -> None:
    """What the new record needs no more is removed before that record is on the disk."""
    self._parts.store.sweep(lambda: record.digests)
    _REMEMBER(self, record)


_REMEMBER = Updater._remember


def _judge_before_it_is_remembered(record: Record) -> Record:
    """The candidate is loaded although no start of a trial is in the record."""
    return record


def _adopt_under_its_name(self: ReleaseStore, digest: str, size_bytes: int | None = None) -> None:
    """Copied member by member to where it will serve from, instead of renamed as a whole."""
    staging, target = f"staging/{digest}", f"releases/{digest}"
    self._verify(staging, digest, size_bytes)
    self.disk.make_directory(target)
    for member in self.disk.names(staging):
        self.disk.write_atomic(f"{target}/{member}", self.disk.read(f"{staging}/{member}"))
    self.drop_staging(digest)


def _trust_partial(self: Staging) -> list[object]:
    """After a start, what lies in the right place is taken for the right chunk."""
    present: list[object] = []
    for name in self._index.members:
        self._disk.write_at(f"{self._name}/{name}", 0, b"")
    for chunk in self._index.chunks():
        there = self._disk.size(f"{self._name}/{chunk.member}") or 0
        if chunk.offset + chunk.size_bytes <= there:
            present.append(chunk)
        else:
            self._missing.setdefault(chunk.digest, []).append(chunk)
    return present


def _upgrade_in_place(self: Journal) -> None:
    """As the record is today's after all, it is written over the one before."""
    if self._upgraded is not None:
        _write_in_place(self, self._upgraded)


def _step(changed: Callable[[Tree], Tree]) -> Patch:
    """Another way from schema 1 to 2."""
    return lambda patch: patch.setattr(upgrade, "STEPS", {**STEPS, 1: changed})


# What is left out or turned round → how, and what finds it.
MUTATIONS: dict[str, tuple[Patch, Find]] = {
    "the digest of the whole is skipped": (_replace(ReleaseStore, "_verify", _skip_digest_at_adopt), _lied_to),
    "what is installed is taken for whole": (
        _replace(ReleaseStore, "is_sound", ReleaseStore.holds),
        _current_rots,
    ),
    "what was installed before is taken for whole": (
        _replace(ReleaseStore, "is_sound", ReleaseStore.holds),
        _previous_rots,
    ),
    "two records are swapped": (_replace(Journal, "write", _remember_late), _told("first_install")),
    "a record is written in place": (_replace(Journal, "write", _write_in_place), _told("first_install")),
    "what was read is not settled": (_replace(Journal, "settle", lambda self: None), _killed("first_install")),
    "a held release is not settled": (
        _replace(ReleaseStore, "settle", lambda self, digest: None),
        _killed("initial"),
    ),
    "it sweeps before it remembers": (_replace(Updater, "_remember", _sweep_first), _told("update")),
    "it never sweeps": (_replace(ReleaseStore, "sweep", lambda self, keep: None), _told("update")),
    "a trial is loaded before it is remembered": (
        lambda patch: patch.setattr(machine, "started", _judge_before_it_is_remembered),
        _told("first_install"),
    ),
    "members are copied to their place one by one": (
        _replace(ReleaseStore, "adopt", _adopt_under_its_name),
        _killed("first_install"),
    ),
    "partial chunks are trusted after a start": (
        _replace(Staging, "_sort_chunks", _trust_partial),
        _told("first_install", Survival.CHANCE),
    ),
    "what is held back is not written": (
        _replace(Staging, "flush", lambda self: self._held.clear()),
        _told("first_install"),
    ),
    "an upgraded record is written in place": (
        _replace(Journal, "settle", _upgrade_in_place),
        _told("schema_upgrade"),
    ),
    "an upgraded record is never written": (
        _replace(Journal, "settle", lambda self: None),
        _told("schema_upgrade"),
    ),
    "an upgrade forgets rejections": (
        _step(lambda tree: {**STEPS[1](tree), "rejected": []}),
        _told("schema_upgrade"),
    ),
    "an upgrade forgets orders": (_step(lambda tree: {**STEPS[1](tree), "lifted": []}), _told("schema_upgrade")),
    "an upgrade forgets the release before": (
        _step(lambda tree: {**STEPS[1](tree), "previous": None}),
        _told("schema_upgrade"),
    ),
    "what is installed is not looked at after a start": (
        _replace(Updater, "_check_installed", lambda self: None),
        _current_rots,
    ),
}


@pytest.mark.parametrize("find", [_current_rots, _previous_rots, _lied_to])
def test_nothing_is_found_in_the_code_as_it_is(find: Find, tmp_path: Path) -> None:
    """Of the other stories `test_every_cut` says so."""
    assert list(find(tmp_path)) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mutation_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for told in NAMES:
        story(told, tmp_path).make()  # what the stories begin with is made by the code as it is
    mutate, find = MUTATIONS[name]
    mutate(monkeypatch)
    try:
        found = next(iter(find(tmp_path)), None)
    except (EdgeError, AssertionError, machine.IllegalTransitionError) as error:
        found = str(error)
    assert found is not None
