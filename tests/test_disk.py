"""The durable disk: its promises on a real file system, and that the simulated one makes the same."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.disk import AGENT, ANYBODY, Disk, DiskOperations, RealDisk, open_disk, write_atomic
from edge_agent.errors import Reason, StorageError
from tests.sim.disk import SimDisk


@pytest.fixture(params=["real", "simulated"])
def operations(request: pytest.FixtureRequest, tmp_path: Path) -> DiskOperations:
    return RealDisk(tmp_path) if request.param == "real" else SimDisk()


# --- the contract both keep ---------------------------------------------------------------------------------


def test_a_file_reads_back_and_a_hole_in_it_reads_as_zeros(operations: DiskOperations) -> None:
    operations.write("file", 3, b"abc")
    operations.write("file", 1, b"x")

    assert operations.read("file", 0, 100) == b"\0x\0abc"
    assert operations.read("file", 4, 1) == b"b"
    assert operations.read("file", 100, 1) == b""
    assert operations.size("file") == 6


def test_writing_nothing_makes_an_empty_file(operations: DiskOperations) -> None:
    operations.write("file", 10, b"")

    assert operations.size("file") == 0


def test_sizes_tell_files_directories_and_nothing_apart(operations: DiskOperations) -> None:
    operations.make_directory("folder")
    operations.make_directory("folder")
    operations.write("folder/file", 0, b"1")

    assert operations.size("folder") == -1
    assert operations.size("folder/file") == 1
    assert operations.size("nothing") is None
    assert operations.size("folder/file/below") is None
    assert operations.entries(".") == [("folder", True)]
    assert operations.entries("folder") == [("file", False)]


def test_replacing_takes_the_place_of_a_file_or_of_an_empty_directory(operations: DiskOperations) -> None:
    operations.write("old", 0, b"old")
    operations.write("new", 0, b"new")
    operations.make_directory("full")
    operations.write("full/file", 0, b"1")
    operations.make_directory("empty")

    operations.replace("new", "old")
    operations.replace("full", "empty")

    assert operations.entries(".") == [("empty", True), ("old", False)]
    assert operations.read("old", 0, 9) == b"new"
    assert operations.read("empty/file", 0, 9) == b"1"


@pytest.mark.parametrize(
    "impossible",
    [
        lambda disk: disk.read("nothing", 0, 1),
        lambda disk: disk.read("folder", 0, 1),
        lambda disk: disk.write("nowhere/file", 0, b"1"),
        lambda disk: disk.write("folder", 0, b"1"),
        lambda disk: disk.sync_file("nothing"),
        lambda disk: disk.sync_directory("nothing"),
        lambda disk: disk.make_directory("nowhere/folder"),
        lambda disk: disk.make_directory("folder/file"),
        lambda disk: disk.replace("nothing", "folder/file"),
        lambda disk: disk.replace("folder/file", "folder"),
        lambda disk: disk.replace("other", "folder"),
        lambda disk: disk.remove_file("folder"),
        lambda disk: disk.remove_directory("folder"),
        lambda disk: disk.remove_directory("nothing"),
        lambda disk: disk.entries("nothing"),
        lambda disk: disk.entries("folder/file"),
    ],
)
def test_what_is_impossible_is_a_storage_error_and_changes_nothing(
    operations: DiskOperations, impossible: Callable[[DiskOperations], object]
) -> None:
    operations.make_directory("other")
    operations.make_directory("folder")
    operations.write("folder/file", 0, b"1")

    with pytest.raises(StorageError):
        impossible(operations)

    assert operations.entries(".") == [("folder", True), ("other", True)]
    assert operations.read("folder/file", 0, 9) == b"1"


def test_removing_a_file_that_is_not_there_is_fine(operations: DiskOperations) -> None:
    operations.remove_file("nothing")


_NAMES = st.sampled_from(["a", "b", "a/c", "b/c", "a/d"])
_OPERATIONS = st.one_of(
    st.tuples(st.just("write"), _NAMES, st.integers(0, 5), st.binary(max_size=3)),
    st.tuples(st.just("replace"), _NAMES, _NAMES),
    st.tuples(
        st.sampled_from(["make_directory", "remove_file", "remove_directory", "sync_file", "sync_directory"]), _NAMES
    ),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(_OPERATIONS, max_size=25))
def test_the_simulated_disk_does_what_the_real_one_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]
) -> None:
    real, simulated = RealDisk(tmp_path_factory.mktemp("disk")), SimDisk()
    for operation, *arguments in steps:
        if operation == "replace" and str(arguments[1]).startswith(f"{arguments[0]}/"):
            continue  # into itself: nobody does
        if operation == "replace" and arguments[0] == arguments[1]:
            continue
        assert _outcome(real, str(operation), arguments) == _outcome(simulated, str(operation), arguments)
        assert _everything(real) == _everything(simulated)


def _outcome(disk: DiskOperations, operation: str, arguments: list[object]) -> bool:
    try:
        getattr(disk, operation)(*arguments)
    except StorageError:
        return False
    return True


def _everything(disk: DiskOperations, directory: str = ".") -> list[object]:
    found: list[object] = []
    for name, is_directory in disk.entries(directory):
        path = name if directory == "." else f"{directory}/{name}"
        found.append((path, _everything(disk, path) if is_directory else disk.read(path, 0, 100)))
    return found


# --- Disk ---------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(operations: DiskOperations) -> Disk:
    return Disk(operations)


def test_an_atomic_write_makes_its_directories_and_leaves_nothing_behind(disk: Disk) -> None:
    disk.write_atomic("records/porch/main.json", b"1")
    disk.write_atomic("records/porch/main.json", b"22")

    assert disk.read("records/porch/main.json") == b"22"
    assert disk.names("records/porch") == ["main.json"]


def test_a_leftover_of_an_interrupted_write_is_neither_seen_nor_in_the_way(disk: Disk) -> None:
    disk.write_at("file.tmp", 0, b"half of something long")

    assert disk.names(".") == []
    disk.write_atomic("file", b"short")
    assert disk.read("file") == b"short"


def test_a_file_that_cannot_take_its_place_is_not_left_behind(disk: Disk) -> None:
    disk.write_atomic("records/birds/main.json", b"{}")
    with pytest.raises(StorageError):
        disk.write_atomic("records/birds", b"{}")
    assert disk.names("records") == ["birds"]


def test_a_directory_is_adopted_whole(disk: Disk) -> None:
    disk.make_directory("staging/one")
    disk.write_at("staging/one/file", 0, b"1")
    disk.adopt_directory("staging/one", "releases/one")

    assert disk.names("releases/one") == ["file"]
    assert disk.names("staging") == []


def test_removing_takes_all_below_and_nothing_else(disk: Disk) -> None:
    for name in ("folder/below/file", "folder/file", "other/file"):
        disk.write_atomic(name, b"1")
    disk.remove("folder")
    disk.remove("nothing")

    assert disk.names(".") == ["other"]
    disk.write_atomic("folder/file", b"2")
    assert disk.read("folder/file") == b"2"


def test_a_path_outside_of_any_disk_is_written_atomically_too(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"1")

    assert (tmp_path / "file").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(StorageError) as caught:
        write_atomic(tmp_path / "missing" / "file", b"1")
    assert str(caught.value) == f"{tmp_path}/missing: file: No such file or directory"
    assert caught.value.hint == "check the path"
    assert os.listdir(tmp_path) == ["file"]


def test_reading_what_is_not_there_says_so(disk: Disk) -> None:
    with pytest.raises(StorageError, match="nothing: no such file"):
        disk.read("nothing")


def test_a_simulated_full_disk_keeps_the_old_file_and_frees_the_half_written_one() -> None:
    simulated = SimDisk(capacity_bytes=1000)
    disk = Disk(simulated)
    disk.write_atomic("file", b"old")

    with pytest.raises(StorageError) as caught:
        disk.write_atomic("file", bytes(2000))

    assert caught.value.reason is Reason.DISK_FULL
    assert disk.read("file") == b"old"
    assert simulated.entries(".") == [("file", False)]


# --- real trouble -------------------------------------------------------------------------------------------


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_file_system_keeps_the_old_file_and_heals_by_itself(small_file_system: Path) -> None:
    disk = open_disk(small_file_system)
    disk.write_atomic("record", b"old")
    disk.write_at("filler", 0, bytes(900_000))

    with pytest.raises(StorageError, match="the disk is full") as caught:
        disk.write_atomic("record", bytes(300_000))

    assert caught.value.reason is Reason.DISK_FULL
    assert str(caught.value) == "record: the disk is full"
    assert caught.value.hint == ANYBODY.full
    assert disk.read("record") == b"old"
    assert sorted(os.listdir(small_file_system)) == ["filler", "record"]
    assert disk.free_bytes() < 200_000

    disk.remove("filler")
    disk.write_atomic("record", bytes(300_000))
    assert disk.size("record") == 300_000


def test_a_read_only_file_system_is_read_and_says_what_to_do(small_file_system: Path) -> None:
    disk = open_disk(small_file_system)
    disk.write_atomic("record", b"old")
    subprocess.run(["mount", "-o", "remount,ro", small_file_system], check=True)

    with pytest.raises(StorageError) as caught:
        disk.write_atomic("record", b"new")

    assert caught.value.reason is Reason.DISK_FAILED
    assert "read-write" in (caught.value.hint or "")
    assert open_disk(small_file_system).read("record") == b"old"


def test_what_to_do_about_a_full_disk_is_told_to_who_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    for advice, words in ((AGENT, "the agent goes on by itself"), (ANYBODY, "another disk")):
        with pytest.raises(StorageError, match=r"^record: the disk is full$") as caught:
            open_disk(tmp_path, advice).write_atomic("record", b"new")
        assert words in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_of_somebody_else_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(StorageError) as caught:
        open_disk(tmp_path, AGENT).write_atomic("record", b"new")

    assert "must own its state directory" in (caught.value.hint or "")
