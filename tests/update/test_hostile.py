"""Releases by a publisher who has the keys and means ill, or is broken: refused, and what is installed stays."""

import io
import json
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.disk import Disk, open_disk
from edge_agent.errors import ArtifactError, EdgeError, FetchError, Reason, RejectionError
from edge_agent.release.archive import read_artifact
from edge_agent.release.chunks import CHUNK_BYTES, build_index, cut, digest_of_chunk, format_index
from edge_agent.release.document import Target
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE
from edge_agent.update.fetch import fetch_release
from edge_agent.update.store import ReleaseStore
from tests.sim.disk import SimDisk
from tests.sim.releases import SimTransport, make_release, noise, patch_here, with_patches

INSTALLED = make_release("1", noise(200_000, "installed"))
HOSTILE = make_release("2", noise(200_000, "hostile"))


class Victim:
    """A device that has INSTALLED."""

    def __init__(self) -> None:
        self.simulated = SimDisk()
        self.store = ReleaseStore(Disk(self.simulated), Path("/state"))
        self.transport = SimTransport(INSTALLED, HOSTILE)
        self.get(INSTALLED.target)

    def get(self, target: Target) -> None:
        fetch_release(
            target,
            self.store,
            self.transport,
            cancelled=lambda: False,
            trouble=lambda *_: None,
            patcher=patch_here,
        )

    def is_unharmed(self) -> bool:
        outside = [name for name, _ in self.simulated.entries(".") if name not in ("releases", "staging")]
        return self.store.is_sound(INSTALLED.digest) and not outside


def with_index(index: object) -> tuple[Target, dict[str, bytes]]:
    """HOSTILE as it would be signed with another index."""
    content = index if isinstance(index, bytes) else json.dumps(index).encode()
    chunks = {digest_of_chunk(chunk): chunk for chunk in cut(content)}
    target = replace(HOSTILE.target, index=digest_of_chunk(content), index_chunks=tuple(chunks))
    return target, chunks


def tree() -> dict[str, dict[str, dict[str, object]]]:
    read: dict[str, dict[str, dict[str, object]]] = json.loads(format_index(build_index(HOSTILE.members)))
    return read


FIRST, SECOND, THIRD, LAST = [digest_of_chunk(chunk) for chunk in cut(HOSTILE.members[MODEL_FILE])]
LABELS = digest_of_chunk(HOSTILE.members[LABELS_FILE])


@pytest.mark.parametrize(
    "chunks",
    [
        [FIRST, SECOND, THIRD],  # one missing
        [FIRST, SECOND, THIRD, LAST, LAST],  # one too many
        [LAST, SECOND, THIRD, LAST],  # one where there is room for more
        [FIRST, SECOND, THIRD, FIRST],  # one where there is room for less
        [FIRST, FIRST, FIRST, LAST],  # repeated
        [FIRST, SECOND, LAST, THIRD],  # two exchanged
        [FIRST, SECOND, THIRD, LABELS],  # of another member
    ],
)
def test_an_index_with_repeated_missing_or_oversized_chunks_is_refused(chunks: list[str]) -> None:
    victim = Victim()
    index = tree()
    index["members"][MODEL_FILE]["chunks"] = chunks
    target, blobs = with_index(index)
    victim.transport.blobs |= blobs
    with pytest.raises(ArtifactError) as caught:
        victim.get(target)

    assert caught.value.reason is Reason.INTEGRITY
    assert not victim.store.holds(target.digest)
    assert victim.is_unharmed()


def test_an_index_that_names_a_chunk_nobody_has_waits_and_does_not_fill_the_disk() -> None:
    victim = Victim()
    index = tree()
    index["members"][MODEL_FILE]["chunks"] = [FIRST, SECOND, THIRD, "0" * 64]
    target, blobs = with_index(index)
    victim.transport.blobs |= blobs
    with pytest.raises(FetchError):
        victim.get(target)

    assert victim.is_unharmed()


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../b",
        "..",
        "",
        ".",
        "model.tflite/..",
        "model.tflite\x00",
        "MODEL.TFLITE",
    ],
)
def test_a_member_with_another_name_is_refused_before_anything_is_written(name: str) -> None:
    victim = Victim()
    index = tree()
    index["members"][name] = index["members"].pop(MODEL_FILE)
    target, blobs = with_index(index)
    victim.transport.blobs |= blobs
    before = victim.simulated.operations
    with pytest.raises(ArtifactError, match="not a member"):
        victim.get(target)

    assert victim.simulated.operations == before
    assert victim.is_unharmed()


_VALUES = st.none() | st.booleans() | st.integers(-1, 1 << 70) | st.floats() | st.text(max_size=5)
_DIGESTS = st.sampled_from([FIRST, SECOND, THIRD, LAST, LABELS, "0" * 64, "x"])
_MEMBER = st.fixed_dictionaries({"size": st.sampled_from([0, 1, CHUNK_BYTES, 200_000]) | _VALUES,
                                 "chunks": st.lists(_DIGESTS | _VALUES, max_size=5) | _VALUES}) | _VALUES  # fmt: skip
_INDEXES = st.binary(min_size=1, max_size=100) | st.fixed_dictionaries({
    "chunk_bytes": st.sampled_from([CHUNK_BYTES, 1, 0, None]),
    "members": st.dictionaries(st.sampled_from([MODEL_FILE, LABELS_FILE, MANIFEST_FILE, "../x"]), _MEMBER) | _VALUES,
})  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(index=_INDEXES)
def test_whatever_an_index_says_only_our_errors_come_out_and_nothing_else_changes(index: object) -> None:
    victim = Victim()
    target, blobs = with_index(index)
    victim.transport.blobs |= blobs
    with suppress(RejectionError, FetchError):
        victim.get(target)

    assert victim.is_unharmed()
    assert not victim.store.holds(target.digest) or victim.store.is_sound(target.digest)


# Every chunk of INSTALLED's model changed a little.
PATCHED = with_patches(
    make_release("3", bytes(byte ^ (at % 7000 == 0) for at, byte in enumerate(INSTALLED.members[MODEL_FILE]))),
    INSTALLED,
)
PATCH = PATCHED.target.patches[0]


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_whatever_a_patch_says_the_release_arrives(data: st.DataObject) -> None:
    release, patch = PATCHED, PATCH
    plaintext = bytearray(b"".join(release.blobs[digest] for digest in patch.chunks))
    for _ in range(data.draw(st.integers(0, 3))):
        plaintext[data.draw(st.integers(0, len(plaintext) - 1))] = data.draw(st.integers(0, 255))
    plaintext = plaintext[: data.draw(st.integers(1, len(plaintext)))] if data.draw(st.booleans()) else plaintext
    lying = replace(
        patch,
        digest=digest_of_chunk(bytes(plaintext)) if data.draw(st.booleans()) else patch.digest,
        size_bytes=max(1, len(plaintext) + data.draw(st.sampled_from([0, 0, 0, -1, 1, CHUNK_BYTES, 1 << 40]))),
        chunks=tuple(digest_of_chunk(chunk) for chunk in cut(bytes(plaintext))) * data.draw(st.sampled_from([1, 1, 2])),
        replaces_bytes=data.draw(st.sampled_from([patch.replaces_bytes, 1 << 50, 0, -1])),
    )
    victim = Victim()
    victim.transport.add(release)
    victim.transport.blobs |= {digest_of_chunk(chunk): chunk for chunk in cut(bytes(plaintext))}
    victim.get(replace(release.target, patches=(lying, replace(lying, member=LABELS_FILE))))

    assert victim.store.is_sound(release.digest)
    assert victim.is_unharmed()


# --- files ------------------------------------------------------------------------------------------------------------


def zipped(*members: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


BOMB = zipped((MANIFEST_FILE, b"{}"), (MODEL_FILE, bytes(200_000_000)), how=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        zipped(("../escape", b"1")),
        zipped(("/absolute", b"1")),
        zipped((MANIFEST_FILE, b"[" * 200_000)),
        INSTALLED.artifact[:-30],
        INSTALLED.artifact + b"more",
    ],
    ids=["bomb", "traversal", "absolute", "deep", "cut", "more"],
)
def test_a_file_that_is_no_artifact_is_refused_without_being_unpacked(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hostile.edge"
    path.write_bytes(content)
    store = ReleaseStore(open_disk(tmp_path / "state"), tmp_path / "state")
    with pytest.raises(ArtifactError):
        store.adopt_file(path)
    with pytest.raises(ArtifactError):
        read_artifact(path)

    assert store.disk.names("releases") == []
    assert store.disk.names("staging") == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hostile.edge", "state"]


class CountingDisk(SimDisk):
    written_bytes = 0

    def write(self, name: str, offset: int, content: bytes) -> None:
        self.written_bytes += len(content)
        super().write(name, offset, content)


def test_a_bomb_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb.edge"
    path.write_bytes(BOMB)
    disk = CountingDisk()
    with pytest.raises(ArtifactError, match="compressed"):
        ReleaseStore(Disk(disk), Path("/state")).adopt_file(path)

    assert disk.written_bytes < 1_000_000


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_damaged_file_is_an_error_of_ours_or_the_artifact(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(make_release("1", b"model").artifact)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "x.edge").write_bytes(content)
    store = ReleaseStore(Disk(SimDisk()), Path("/state"))
    for read in (read_artifact, store.adopt_file):
        with suppress(EdgeError):
            read(folder / "x.edge")
