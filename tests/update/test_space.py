"""Room is promised before the first byte, to one at a time, and a disk that fills up all the same does no harm."""

from pathlib import Path

import pytest

from edge_agent.disk import Disk
from edge_agent.errors import Reason, StorageError
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.release.sealing import public_of
from edge_agent.update.fetch import fetch_release
from edge_agent.update.space import MARGIN_BYTES, Space
from edge_agent.update.store import ReleaseStore
from tests.sim.device import SimDevice
from tests.sim.disk import SimDisk
from tests.sim.releases import SimRelease, SimTransport, make_release, noise, seal_release

OLD, NEW = make_release("1"), make_release("2", noise(2_000_000, "new"))
SECRET = bytes(range(32))
SEALED = seal_release(NEW, public_of(SECRET))
OTHER = make_release("3", noise(2_000_000, "other"))


def space_of(free_bytes: int) -> tuple[Space, SimDisk]:
    disk = SimDisk(MARGIN_BYTES + free_bytes)
    return Space(Disk(disk)), disk


def test_what_is_promised_to_one_is_not_promised_to_another() -> None:
    space, _ = space_of(1000)
    with space.reserve(600):
        with pytest.raises(StorageError, match=r"0\.0 MB are promised to other releases") as caught:
            space.reserve(401).__enter__()
        with space.reserve(400):
            pass
    assert caught.value.reason is Reason.DISK_FULL
    with space.reserve(1000):  # all of it is given back
        pass


def test_what_is_written_is_no_longer_promised_but_used() -> None:
    space, disk = space_of(1000)
    with space.reserve(600) as room:
        disk.write("file", 0, bytes(600))
        room.use(600)
        with space.reserve(400):
            pass


def test_a_reservation_that_cannot_grow_stays_as_it_was() -> None:
    space, _ = space_of(1000)
    with space.reserve(600) as room:
        with pytest.raises(StorageError):
            room.resize(1001)
        with pytest.raises(StorageError):
            space.reserve(401).__enter__()
        room.resize(100)
        with space.reserve(900):
            pass


def test_nothing_more_to_write_needs_no_margin() -> None:
    """Else a release that is whole but not installed yet would wait on a full disk for ever."""
    space, _ = space_of(-1000)
    with space.reserve(0):
        pass


def _fetch(store: ReleaseStore, transport: SimTransport, release: SimRelease) -> object:
    return fetch_release(release.target, store, transport, cancelled=lambda: False, trouble=lambda reason, detail: None)


def test_two_fetches_at_once_are_never_promised_the_same_room() -> None:
    store = ReleaseStore(Disk(SimDisk(MARGIN_BYTES + 3_000_000)), Path("/state"))
    transport = SimTransport(NEW, OTHER)
    refused: list[StorageError] = []

    def fetch_the_other(digest: str) -> None:
        if not refused:
            with pytest.raises(StorageError) as caught:
                _fetch(store, SimTransport(OTHER), OTHER)
            refused.append(caught.value)

    transport.on_chunk = fetch_the_other
    _fetch(store, transport, NEW)

    assert refused[0].reason is Reason.DISK_FULL
    assert "promised to other releases" in str(refused[0])
    assert store.is_sound(NEW.digest)


def test_what_lies_in_staging_already_needs_no_room_again() -> None:
    disk = SimDisk()
    store = ReleaseStore(Disk(disk), Path("/state"))
    transport = SimTransport(NEW)
    transport.breaks_after = 30
    with pytest.raises(Exception, match="the link broke"):
        _fetch(store, transport, NEW)
    used_bytes = disk.capacity_bytes - disk.free_bytes()
    disk.capacity_bytes = used_bytes + MARGIN_BYTES + 400_000  # not for the whole

    transport.breaks_after = None
    _fetch(store, transport, NEW)
    assert store.is_sound(NEW.digest)


def fill_at(disk: SimDisk, number: int) -> None:
    """Somebody else takes all that is free just before the write with this number, from now."""
    writes = 0

    def fill(operation: str, name: str) -> None:
        nonlocal writes
        writes += operation == "write"
        if writes == number and operation == "write":
            disk.capacity_bytes -= disk.free_bytes()

    disk.refuse = fill


@pytest.mark.parametrize("new", [NEW, SEALED], ids=["plain", "encrypted"])
def test_a_disk_that_fills_up_at_any_write_leaves_what_serves_and_no_litter(new: SimRelease) -> None:
    number, was_full = 0, True
    while was_full:
        number += 1
        device = SimDevice(SimTransport(OLD, new))
        device.secret = lambda: SECRET
        device.boot().run(OLD.target)
        whole_bytes = device.disk.capacity_bytes
        fill_at(device.disk, number)
        device.run(new.target)
        was_full = device.disk.capacity_bytes < whole_bytes
        if was_full and device.record.current != NEW.digest:
            assert device.record.current == OLD.digest
            assert device.server.serving in (OLD.digest, NEW.digest)  # the other one while on trial
            assert device.status.problem is not None
            assert device.status.problem.reason is Reason.DISK_FULL
            on_trial = device.record.candidate == NEW.digest and device.store.holds(NEW.digest)
            litter = [] if on_trial else [name for name in device.files() if NEW.digest in name]
            assert [*litter, *(name for name in device.files() if name.endswith(".tmp"))] == []

        device.disk.capacity_bytes = whole_bytes
        device.run_for(600)
        assert device.record.current == NEW.digest, f"it does not recover from a full disk at write {number}"
    assert number > 10


def test_what_was_fetched_gives_way_on_a_full_disk_so_that_it_can_be_withdrawn() -> None:
    device = SimDevice(SimTransport(OLD, NEW)).boot()
    device.run(OLD.target)
    device.transport.on_chunk = lambda digest: (
        setattr(device.disk, "capacity_bytes", device.disk.capacity_bytes - device.disk.free_bytes())
        if len(device.transport.carried) > 20
        else None
    )
    device.run(NEW.target)
    device.run(OLD.target)  # the fleet thinks better of it; the disk is as full as before

    assert device.record.candidate is None
    assert device.record.current == device.server.serving == OLD.digest


def test_a_local_artifact_that_the_disk_has_no_room_for_leaves_nothing(tmp_path: Path) -> None:
    disk = SimDisk(MARGIN_BYTES + 4_000_000)
    store = ReleaseStore(Disk(disk), Path("/state"))
    path = NEW.write(tmp_path / "new.edge")
    fill_at(disk, 5)

    with pytest.raises(StorageError) as caught:
        store.adopt_file(path)

    assert caught.value.reason is Reason.DISK_FULL
    assert disk.size(f"staging/{NEW.digest}/{MODEL_FILE}") is None
    assert store.disk.names("staging") == []
