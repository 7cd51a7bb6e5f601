"""What a device trusts, and the keys of a laptop: the power is cut before every disk operation of replacing them."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from converter.publish import changes
from converter.publish.keys import KeyDirectory, Keys, make_keys, read_keys
from converter.publish.roots import Job
from edge_agent.disk import Disk
from edge_agent.errors import Reason
from edge_agent.release import trust
from tests.power.exploration import SURVIVALS
from tests.power.test_every_cut import InPlace, ReplaceBeforeSync, WithoutDirectorySync, WithoutFileSync
from tests.sim.disk import PowerCut, SimDisk, Survival
from tests.sim.trusting import NOW, Device, ask_here, document

_BROKEN = (WithoutFileSync, WithoutDirectorySync, ReplaceBeforeSync, InPlace)


class Cast(NamedTuple):
    """What a device hears, and what a laptop has on its disk."""

    old: Keys
    documents: tuple[bytes, bytes]  # before and after the keys have changed
    laptop: SimDisk


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_ask_child", ask_here)


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    make_keys(tmp_path, now=NOW)
    old, directory = read_keys(tmp_path), KeyDirectory.at(tmp_path)
    laptop = SimDisk()
    for file in tmp_path.iterdir():
        Disk(laptop).write_atomic(file.name, file.read_bytes())
    before = document(old, "1", 1)
    for job in ("targets", "online"):
        changes.rotate(directory, job, NOW)
    return Cast(old, (before, document(directory.keys(), "2", 2)), laptop)


def cut_of(disk: SimDisk, act: Callable[[], object], cut: int, survival: Survival) -> tuple[SimDisk, bool]:
    """What the power cut before operation `cut` leaves, and whether `act` was done by then."""
    disk.operations, disk.cut_before = 0, cut
    try:
        act()
    except PowerCut:
        return disk.after_power_cut(survival, Random(cut)), False
    return disk.after_power_cut(survival, Random(cut)), True


def trust_problems(cast: Cast, survival: Survival, durable: type[Disk] = Disk) -> list[str]:
    """The device believes a document that brings new keys."""
    problems, done, cut = [], False, 0
    while not done:
        cut += 1
        device = Device(cast.old.root, durable=durable)
        device.hear(cast.documents[0])
        disk, done = cut_of(device.disk, lambda heard=device: heard.hear(cast.documents[1]), cut, survival)  # type: ignore[misc]
        remembered = device.restart(disk)
        if remembered is None or (done and remembered.version != "2"):
            problems.append(f"{cut}: what was trusted is forgotten")
        elif device.hear(cast.documents[1]).version != "2":
            problems.append(f"{cut}: it does not go on")
        elif device.refuses(cast.documents[0]) not in (Reason.REPLAYED, Reason.SIGNATURE):
            problems.append(f"{cut}: an old document is believed")
    assert durable is not Disk or cut > 8
    return problems


@pytest.mark.parametrize("survival", SURVIVALS, ids=lambda survival: survival.name.lower())
def test_a_power_cut_while_trust_is_replaced_leaves_the_old_or_the_new(cast: Cast, survival: Survival) -> None:
    assert trust_problems(cast, survival) == []


@pytest.mark.parametrize("broken", _BROKEN)
def test_a_broken_disk_module_loses_trust_and_that_is_found(cast: Cast, broken: type[Disk]) -> None:
    assert any(trust_problems(cast, survival, broken) for survival in SURVIVALS)


def key_problems(cast: Cast, job: Job, survival: Survival, durable: type[Disk] = Disk) -> list[str]:
    """The laptop rotates a key; afterwards its documents must be believed by devices that have the first root."""
    problems, done, cut = [], False, 0
    while not done:
        cut += 1
        disk = cast.laptop.after_kill()
        laptop = KeyDirectory(durable(disk), durable(disk))
        left, done = cut_of(disk, lambda: changes.rotate(laptop, job, NOW), cut, survival)  # noqa: B023  # called at once
        again = KeyDirectory(Disk(left), Disk(left))
        try:
            version = len(again.chain())
            signed = document(again.keys(), "1", 9)
            changes.rotate(again, job, NOW)
            more = document(again.keys(), "2", 10)
        except Exception as error:  # noqa: BLE001  # whatever it is, the laptop cannot go on
            problems.append(f"{cut}: {error}")
            continue
        device = Device(cast.old.root)
        if (device.hear(signed).version, device.hear(more).version) != ("1", "2") or (done and version != 2):
            problems.append(f"{cut}: it ends at root {version}")
    assert durable is not Disk or cut > 8
    return problems


@pytest.mark.parametrize("survival", SURVIVALS, ids=lambda survival: survival.name.lower())
@pytest.mark.parametrize("job", ["root", "targets", "online"])
def test_a_power_cut_while_a_key_is_rotated_leaves_the_old_or_the_new(cast: Cast, job: Job, survival: Survival) -> None:
    assert key_problems(cast, job, survival) == []


@pytest.mark.parametrize("broken", _BROKEN)
def test_a_broken_disk_module_loses_keys_and_that_is_found(cast: Cast, broken: type[Disk]) -> None:
    assert any(key_problems(cast, "targets", survival, broken) for survival in SURVIVALS)


def test_a_root_that_counts_before_its_key_is_kept_is_found(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the writes is the safety: turned round, a cut leaves a root whose key nobody has."""
    store, take = KeyDirectory.store, KeyDirectory.take

    def keep_later(keys: KeyDirectory, job: Job, signer: object, file: str | None = None) -> str:
        def both(later: KeyDirectory, chain: tuple[bytes, ...]) -> None:
            take(later, chain)
            store(keys, job, signer, file)  # type: ignore[arg-type]  # passed on

        monkeypatch.setattr(KeyDirectory, "take", both)
        return file or ""

    monkeypatch.setattr(KeyDirectory, "store", keep_later)
    assert any(key_problems(cast, "targets", survival) for survival in SURVIVALS)
