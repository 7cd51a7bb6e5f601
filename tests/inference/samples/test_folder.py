"""The folder of samples: bounded, whole or not there, whatever the disk and the power do."""

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from edge_agent.disk import Disk, open_private
from edge_agent.errors import Reason, StorageError
from edge_agent.inference.samples.folder import RESULTS, SampleFolder, is_sample, sample_names
from tests.sim.disk import PowerCut, SimDisk, Survival

AT_S = 1_750_000_000.25


def line(name: str) -> bytes:
    return json.dumps({"input": name, "results": []}).encode()


def put(folder: SampleFolder, content: bytes, at_s: float = AT_S, suffix: str = ".jpg") -> str:
    name = folder.next_name(at_s, suffix)
    folder.put(name, content, line(name))
    return name


def told(disk: Disk) -> list[str]:
    """The samples that the lines are about, without what is no line."""
    found = []
    for text in disk.read(RESULTS).decode(errors="replace").splitlines():
        try:
            found.append(json.loads(text)["input"])
        except ValueError:
            continue
    return found


def test_a_sample_is_a_file_and_a_line_for_its_owner_alone(tmp_path: Path) -> None:
    folder = SampleFolder(open_private(tmp_path / "samples"))
    name = put(folder, b"picture")
    assert name == "20250615T150640.250Z.jpg"
    assert (tmp_path / "samples" / name).read_bytes() == b"picture"
    assert (tmp_path / "samples" / RESULTS).read_bytes() == line(name) + b"\n"
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "samples", *(tmp_path / "samples").iterdir()]
    }
    assert modes == {"samples": 0o700, name: 0o600, RESULTS: 0o600}


def test_names_go_forward_when_the_clock_goes_back_and_after_a_new_start() -> None:
    disk = Disk(SimDisk())
    folder = SampleFolder(disk)
    names = [put(folder, b"1"), put(folder, b"2", AT_S - 3600, ".png"), put(folder, b"3", 0.0)]
    names.append(put(SampleFolder(disk), b"4", AT_S))
    assert names == [
        f"20250615T150640.{ms}Z{suffix}"
        for ms, suffix in zip((250, 251, 252, 253), (".jpg", ".png", ".jpg", ".jpg"), strict=True)
    ]
    assert sample_names(disk) == names


@pytest.mark.parametrize("at_s", [-1e30, 0.0, 1e12, 1e30, float("inf")])
def test_any_time_makes_a_name(at_s: float) -> None:
    assert is_sample(SampleFolder(Disk(SimDisk())).next_name(at_s, ".csv"))


@pytest.mark.parametrize(
    "name",
    ["", "a.jpg", "../20250615T150640.250Z.jpg", "20250615T150640.250Z.exe", "20250615T150640.250Z.jpg\n",
     "/etc/passwd",
     "20250615T150640.250Z.jpg/x", "results.jsonl", "\u0662\u0660250615T150640.250Z.jpg"],
)  # fmt: skip
def test_what_is_no_name_of_ours_is_no_sample(name: str) -> None:
    assert not is_sample(name)


def test_the_oldest_make_room_by_count_and_by_bytes_and_nothing_else_in_the_folder_goes() -> None:
    disk = Disk(SimDisk())
    disk.write_atomic("notes.jpg", b"mine")
    folder = SampleFolder(disk, most=3, most_bytes=25)
    names = [put(folder, b"x" * 8) for _ in range(5)]
    assert sample_names(disk) == names[-3:]
    put(folder, b"y" * 20)
    assert [disk.size(name) for name in sample_names(disk)] == [20]
    assert disk.read("notes.jpg") == b"mine"


def test_bounds_that_have_become_smaller_hold_from_the_next_sample_on() -> None:
    disk = Disk(SimDisk())
    for _ in range(5):
        put(SampleFolder(disk), b"x")
    folder = SampleFolder(disk, most=2)
    newest = put(folder, b"x")
    assert sample_names(disk)[-1] == newest
    assert len(sample_names(disk)) == 2


def test_one_that_is_larger_than_all_may_be_is_refused_and_costs_no_other() -> None:
    disk = Disk(SimDisk())
    folder = SampleFolder(disk, most_bytes=10)
    name = put(folder, b"x" * 10)
    with pytest.raises(StorageError, match="a sample of 11 bytes; all of them together may have 10"):
        put(folder, b"x" * 11)
    assert sample_names(disk) == [name]


def test_lines_about_samples_that_are_gone_go_too() -> None:
    disk = Disk(SimDisk())
    folder = SampleFolder(disk, most=5)
    for _ in range(1_000):
        put(folder, b"x")
    assert len(told(disk)) < 2 * 5 + 110
    assert set(sample_names(disk)) <= set(told(disk))


def test_a_full_disk_costs_the_sample_and_no_other_and_it_goes_on() -> None:
    operations = SimDisk(capacity_bytes=400)
    disk = Disk(operations)
    folder = SampleFolder(disk, most=100)
    kept = [put(folder, b"x" * 50)]
    while operations.free_bytes() >= 200:
        kept.append(put(folder, b"x" * 50))
    with pytest.raises(StorageError) as caught:
        put(folder, b"x" * 200)
    assert caught.value.reason is Reason.DISK_FULL
    assert len(kept) > 1
    assert sample_names(disk) == kept
    assert disk.names(".") == [*kept, RESULTS]
    operations.capacity_bytes = 10_000
    kept.append(put(folder, b"z" * 50))
    assert sample_names(disk) == kept
    assert told(disk) == kept


def test_a_disk_that_is_full_for_the_line_keeps_no_sample_without_one() -> None:
    operations = SimDisk()
    disk = Disk(operations)
    folder = SampleFolder(disk)
    first = put(folder, b"x")
    full = StorageError("the disk is full", reason=Reason.DISK_FULL)
    operations.refuse = lambda operation, name: full if (operation, name) == ("write", RESULTS) else None
    with pytest.raises(StorageError):
        put(folder, b"x")
    assert sample_names(disk) == [first]
    operations.refuse = lambda _operation, _name: None
    assert told(disk) == [first]


def test_half_a_line_stands_on_a_line_of_its_own() -> None:
    disk = Disk(SimDisk())
    first = put(SampleFolder(disk), b"x")
    disk.write_at(RESULTS, disk.size(RESULTS) or 0, b'{"input": "20')
    second = put(SampleFolder(disk), b"x")
    assert told(disk) == [first, second]


def test_results_that_somebody_has_taken_away_begin_anew() -> None:
    disk = Disk(SimDisk())
    folder = SampleFolder(disk)
    put(folder, b"x")
    disk.remove(RESULTS)
    second = put(folder, b"x")
    assert disk.read(RESULTS) == line(second) + b"\n"


def _story(operations: SimDisk) -> Iterator[str]:
    """Samples beyond the bounds, and lines written anew."""
    folder = SampleFolder(Disk(operations), most=2)
    for number in range(120):
        yield put(folder, f"sample {number}".encode() * 20)


@pytest.mark.parametrize("survival", list(Survival))
def test_wherever_the_power_is_cut_every_sample_is_whole_and_the_next_one_is_kept(survival: Survival) -> None:
    whole = SimDisk()
    list(_story(whole))
    for cut in range(1, whole.operations + 1, 7 if survival is Survival.CHANCE else 3):
        operations = SimDisk()
        operations.cut_before = cut
        with suppress(PowerCut):
            list(_story(operations))
        after = operations.after_power_cut(survival, Random(cut))
        disk = Disk(after)
        folder = SampleFolder(disk, most=2)
        assert all(disk.read(name).startswith(b"sample ") for name in folder.names), cut
        assert all(len(set(disk.read(name).split(b"sample ")[1:])) == 1 for name in folder.names), cut
        newest = put(folder, b"after")
        assert disk.read(newest) == b"after"
        assert told(disk)[-1] == newest
        assert len(sample_names(disk)) <= 2
        assert not [name for name, _ in after.entries(".") if name.endswith(".tmp")], cut


def test_what_was_put_before_the_power_was_cut_is_there() -> None:
    operations = SimDisk()
    names = list(islice(_story(operations), 50))
    disk = Disk(operations.after_power_cut(Survival.NOTHING))
    assert sample_names(disk) == names[-2:]
