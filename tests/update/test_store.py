"""Releases on the disk: adopted only when they are what was signed, swept when nobody needs them."""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.disk import Disk, open_disk
from edge_agent.errors import ArtifactError, FetchError, Reason, StorageError
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE
from edge_agent.update.store import ReleaseStore
from tests.sim.disk import SimDisk
from tests.sim.releases import SimRelease, make_release, publish

RELEASE = make_release("1")


@dataclass
class Place:
    disk: Disk
    store: ReleaseStore

    def stage(self, release: SimRelease, digest: str | None = None) -> None:
        staging = self.store.begin(digest or release.digest)
        for name, content in release.members.items():
            self.disk.write_at(f"{staging}/{name}", 0, content)

    def names(self) -> tuple[list[str], list[str]]:
        return self.disk.names("releases"), self.disk.names("staging")


@pytest.fixture(params=["real", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    root = tmp_path / "state"
    disk = open_disk(root) if request.param == "real" else Disk(SimDisk())
    return Place(disk, ReleaseStore(disk, root))


def test_what_is_staged_whole_is_adopted(place: Place) -> None:
    place.stage(RELEASE)
    place.store.adopt(RELEASE.digest, len(RELEASE.artifact))

    assert place.store.holds(RELEASE.digest)
    assert place.store.is_sound(RELEASE.digest)
    assert place.store.manifest(RELEASE.digest).version == "1"
    assert place.store.directory(RELEASE.digest).name == RELEASE.digest
    assert place.names() == ([RELEASE.digest], [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda members: {**members, MODEL_FILE: members[MODEL_FILE][:-1]},
        lambda members: {**members, MODEL_FILE: b"\0" + members[MODEL_FILE][1:]},
        lambda members: {name: content for name, content in members.items() if name != LABELS_FILE},
        lambda members: {**members, "stranger.bin": b"1"},
        lambda members: {},
    ],
)
def test_what_is_not_the_signed_artifact_is_not_adopted(
    place: Place, spoil: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> None:
    staging = place.store.begin(RELEASE.digest)
    for name, content in spoil(dict(RELEASE.members)).items():
        place.disk.write_at(f"{staging}/{name}", 0, content)

    with pytest.raises(ArtifactError) as caught:
        place.store.adopt(RELEASE.digest, len(RELEASE.artifact))

    assert caught.value.reason is Reason.INTEGRITY
    assert not place.store.holds(RELEASE.digest)


def test_an_artifact_of_another_size_than_was_signed_is_not_adopted(place: Place) -> None:
    place.stage(RELEASE)

    with pytest.raises(ArtifactError, match="bytes"):
        place.store.adopt(RELEASE.digest, len(RELEASE.artifact) + 1)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({MODEL_FILE: b"model"}, Reason.BAD_MANIFEST),
        ({MANIFEST_FILE: b"{}", MODEL_FILE: b"model"}, Reason.BAD_MANIFEST),
        ({**RELEASE.members, LABELS_FILE: b"other"}, Reason.INTEGRITY),
        ({MANIFEST_FILE: bytes(2_000_000), MODEL_FILE: b"model"}, Reason.BAD_MANIFEST),
    ],
)
def test_an_artifact_that_was_signed_but_contradicts_itself_is_not_adopted(
    place: Place, members: dict[str, bytes], reason: Reason
) -> None:
    release = publish(members)
    place.stage(release)

    with pytest.raises(ArtifactError) as caught:
        place.store.adopt(release.digest)

    assert caught.value.reason is reason
    assert not place.store.holds(release.digest)


def test_a_release_whose_bytes_have_changed_is_held_but_not_sound(place: Place) -> None:
    place.stage(RELEASE)
    place.store.adopt(RELEASE.digest)
    place.disk.write_at(f"releases/{RELEASE.digest}/{MODEL_FILE}", 5, b"rot")

    assert place.store.holds(RELEASE.digest)
    assert not place.store.is_sound(RELEASE.digest)


def test_a_release_with_a_bad_sector_is_not_sound() -> None:
    simulated = SimDisk()
    place = Place(Disk(simulated), ReleaseStore(Disk(simulated), Path("/state")))
    place.stage(RELEASE)
    place.store.adopt(RELEASE.digest)
    simulated.unreadable = {f"releases/{RELEASE.digest}/{MODEL_FILE}"}

    assert not place.store.is_sound(RELEASE.digest)


def test_nothing_is_no_sound_release(place: Place) -> None:
    assert not place.store.holds(RELEASE.digest)
    assert not place.store.is_sound(RELEASE.digest)
    with pytest.raises(ArtifactError):
        place.store.manifest(RELEASE.digest)


def test_a_rotten_release_is_replaced_by_its_sound_twin(place: Place) -> None:
    place.stage(RELEASE)
    place.store.adopt(RELEASE.digest)
    place.disk.write_at(f"releases/{RELEASE.digest}/{MODEL_FILE}", 5, b"rot")
    place.stage(RELEASE)
    place.store.adopt(RELEASE.digest)

    assert place.store.is_sound(RELEASE.digest)
    assert place.names() == ([RELEASE.digest], [])


def test_a_sweep_keeps_what_it_is_told_and_no_more(place: Place) -> None:
    kept, gone, arriving, given_up = (make_release(version, b"model") for version in "1234")
    for release in (kept, gone):
        place.stage(release)
        place.store.adopt(release.digest)
    for release in (arriving, given_up, kept):
        place.stage(release)
        place.disk.write_atomic(place.store.index_name(release.digest), b"index")
    place.store.sweep(lambda: {kept.digest, arriving.digest})

    releases, staging = place.names()
    assert releases == [kept.digest]
    assert staging == sorted([arriving.digest, f"{arriving.digest}.index"])


def test_a_sweep_of_an_empty_disk_is_fine(place: Place) -> None:
    place.store.sweep(frozenset)


def test_too_little_room_says_what_is_needed_and_what_is_free() -> None:
    store = ReleaseStore(Disk(SimDisk(capacity_bytes=20_000_000)), Path("/state"))
    with store.reserve("a" * 64, 10_000_000):
        pass

    with pytest.raises(StorageError, match=r"needs 15.0 MB and a margin of 8.4 MB; 20.0 MB are free") as caught:
        store.reserve("a" * 64, 15_000_000).__enter__()

    assert caught.value.reason is Reason.DISK_FULL
    assert caught.value.hint


# --- artifacts of this machine ------------------------------------------------------------------------------


def test_a_local_artifact_is_adopted_by_the_same_checks(place: Place, tmp_path: Path) -> None:
    path = RELEASE.write(tmp_path / "birds-1.edge")

    assert place.store.adopt_file(path) == RELEASE.digest
    assert place.store.adopt_file(path) == RELEASE.digest
    assert place.store.is_sound(RELEASE.digest)
    assert place.names() == ([RELEASE.digest], [])


def test_a_rotten_copy_of_a_local_artifact_is_adopted_anew(place: Place, tmp_path: Path) -> None:
    path = RELEASE.write(tmp_path / "birds-1.edge")
    place.store.adopt_file(path)
    place.disk.write_at(f"releases/{RELEASE.digest}/{MODEL_FILE}", 5, b"rot")
    place.store.adopt_file(path)

    assert place.store.is_sound(RELEASE.digest)


def _repacked(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in RELEASE.members.items():
            archive.writestr(name, content)


def _with_stranger(path: Path) -> None:
    RELEASE.write(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../stranger", b"1")


def _damaged(path: Path) -> None:
    content = bytearray(RELEASE.artifact)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"<html>not found</html>"),
        lambda path: path.write_bytes(RELEASE.artifact[:-100]),
        lambda path: path.write_bytes(RELEASE.artifact[: len(RELEASE.artifact) // 2]),
        _repacked,
        _with_stranger,
        _damaged,
    ],
    ids=["empty", "html", "cut", "half", "repacked", "stranger", "damaged"],
)
def test_a_file_that_is_no_canonical_artifact_is_refused_and_leaves_nothing(
    place: Place, tmp_path: Path, write: Callable[[Path], object]
) -> None:
    path = tmp_path / "birds.edge"
    write(path)

    with pytest.raises(ArtifactError) as caught:
        place.store.adopt_file(path)

    assert caught.value.reason is Reason.INTEGRITY
    assert place.names() == ([], [])


def test_a_local_artifact_that_is_not_there_may_come_later(place: Place, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"birds\.edge: No such file or directory") as caught:
        place.store.adopt_file(tmp_path / "birds.edge")

    assert caught.value.hint
    assert place.names() == ([], [])


def test_the_digest_of_a_release_is_that_of_its_artifact() -> None:
    assert hashlib.sha256(RELEASE.artifact).hexdigest() == RELEASE.digest
