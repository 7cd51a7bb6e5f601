"""The releases on the disk: `releases/<digest>/` holds the members of one, verified and durable, or is not there.

What is still being put together lies under `staging/` (see `staging`); only `adopt` moves it over, after recomputing
the digest of the whole artifact from its members. Nothing here loads a model into memory. Which releases are needed is
left to `updater`; a directory that is there may have rotten, so whoever is about to rely on it asks `is_sound` first.
"""

import hashlib
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Lock

from edge_agent.disk import Disk
from edge_agent.errors import ArtifactError, FetchError, Reason, StorageError
from edge_agent.release.archive import MAX_MANIFEST_BYTES, MEMBERS, Blocks, digest_of, not_whole
from edge_agent.release.manifest import MANIFEST_FILE, FileEntry, Manifest, parse_manifest
from edge_agent.update.space import Reservation, Space

_RELEASES = "releases"
_STAGING = "staging"
_BLOCK_BYTES = 1 << 20


class ReleaseStore:
    """All releases of all pipelines of this device; safe to use from several updaters' threads."""

    def __init__(self, disk: Disk, root: Path) -> None:
        self.disk = disk
        self._root = root
        self._sweeping = Lock()  # also held to begin a staging: a sweep must not take what has just begun
        self._busy: dict[str, Lock] = {}  # by digest: two pipelines may want the same release
        self.space = Space(disk)

    # --- what is installed --------------------------------------------------------------------------------

    def directory(self, digest: str) -> Path:
        """Where the members of a release lie, for those who open them by path."""
        return self._root / _RELEASES / digest

    def holds(self, digest: str) -> bool:
        """Whether its directory is there. Say nothing of its bytes: see `is_sound`."""
        return self.disk.exists(f"{_RELEASES}/{digest}")

    def is_sound(self, digest: str) -> bool:
        """Whether the release is there with the very bytes that its digest names. Reads all of it."""
        name = f"{_RELEASES}/{digest}"
        try:
            members = self.disk.names(name)
            if MANIFEST_FILE not in members or not set(members) <= set(MEMBERS):
                return False
            return digest_of({member: self._blocks(f"{name}/{member}") for member in members})[0] == digest
        except StorageError:
            return False  # a sector that cannot be read is as good as a wrong one

    def manifest(self, digest: str) -> Manifest:
        """The manifest of an installed release.

        Raises:
            ArtifactError: it cannot be read.
        """
        try:
            return parse_manifest(self.disk.read(f"{_RELEASES}/{digest}/{MANIFEST_FILE}"))
        except StorageError as error:
            raise ArtifactError(str(error), reason=Reason.ROTTEN) from error

    def find_member(self, member: str, sha256: str, most_bytes: int) -> str | None:
        """The file of an installed release that is this member, byte for byte; None where there is none."""
        for digest in self.disk.names(_RELEASES):
            name = f"{_RELEASES}/{digest}/{member}"
            try:
                listed = self.manifest(digest).files.get(member)
                if listed is None or listed.sha256 != sha256 or (self.disk.size(name) or 0) > most_bytes:
                    continue
                found = hashlib.sha256()
                for block in self.blocks(name):
                    found.update(block)
            except (ArtifactError, StorageError):
                continue  # swept meanwhile, or rotten
            if found.hexdigest() == sha256:
                return name
        return None

    def blocks(self, name: str) -> Iterator[bytes]:
        """A file on the disk, block by block."""
        return iter(self._blocks(name)())

    def settle(self, digest: str) -> None:
        """Make the name of an installed release durable before a record names it."""
        self.disk.settle(f"{_RELEASES}/{digest}")

    def discard(self, digest: str) -> None:
        """Remove an installed release. Nothing to remove is fine."""
        self.disk.remove(f"{_RELEASES}/{digest}")

    def sweep(self, keep: Callable[[], Collection[str]]) -> None:
        """Remove every release and every staging that is not in `keep`.

        `keep` is asked only once nobody can begin another staging, so that it knows of all that have begun.
        """
        with self._sweeping:
            kept = set(keep())
            for digest in self.disk.names(_RELEASES):
                if digest not in kept:
                    self.disk.remove(f"{_RELEASES}/{digest}")
            for name in self.disk.names(_STAGING):
                digest = name.partition(".")[0]
                if digest not in kept or self.holds(digest):
                    self.disk.remove(f"{_STAGING}/{name}")

    # --- what is on its way -------------------------------------------------------------------------------

    @contextmanager
    def exclusive(self, digest: str, cancelled: Callable[[], bool]) -> Iterator[bool]:
        """Put one release together on one thread at a time; gives False when cancelled while waiting for another."""
        lock = self._busy.setdefault(digest, Lock())
        while not lock.acquire(timeout=0.2):
            if cancelled():
                yield False
                return
        try:
            yield True
        finally:
            lock.release()

    def begin(self, digest: str) -> str:
        """The staging directory of a release, made if it is missing."""
        with self._sweeping:
            name = f"{_STAGING}/{digest}"
            self.disk.make_directory(name)
            return name

    def index_name(self, digest: str) -> str:
        """Where the index of a release that is being fetched is kept, so that resuming needs no network for it."""
        return f"{_STAGING}/{digest}.index"

    def keyring_name(self, digest: str) -> str:
        """Where the keyring of an encrypted release is kept meanwhile."""
        return f"{_STAGING}/{digest}.keyring"

    def places(self) -> list[str]:
        """Every directory on this disk that may hold chunks of use: all releases and all that is in staging."""
        releases = [f"{_RELEASES}/{name}" for name in self.disk.names(_RELEASES)]
        return releases + [f"{_STAGING}/{name}" for name in self.disk.names(_STAGING) if "." not in name]

    def reserve(self, digest: str, whole_bytes: int) -> AbstractContextManager[Reservation]:
        """Room for a release of `whole_bytes` until the end of the block; what lies in its staging needs no more.

        Raises:
            StorageError: DISK_FULL: so much, what is promised to others, and a margin for everybody are not free.
        """
        staging = f"{_STAGING}/{digest}"
        there_bytes = sum(self.disk.size(f"{staging}/{name}") or 0 for name in self.disk.names(staging))
        return self.space.reserve(max(0, whole_bytes - there_bytes))

    def adopt(self, digest: str, size_bytes: int | None = None) -> None:
        """Install what lies in staging, once it proves to be the artifact with this digest.

        `size_bytes` comes with a signed digest: it covers the members, which the publisher has compared with the
        manifest. Without it each member is compared with the manifest here.

        Raises:
            ArtifactError: it is not, or its manifest and its files disagree. The staging is still there.
        """
        staging = f"{_STAGING}/{digest}"
        self._verify(staging, digest, size_bytes)
        if self.holds(digest):
            self.discard(digest)  # rotten, or nobody would have staged it again
        self.disk.adopt_directory(staging, f"{_RELEASES}/{digest}")
        self._remove_aids(digest)

    def drop_staging(self, digest: str) -> None:
        """Give up what has been put together of a release."""
        self.disk.remove(f"{_STAGING}/{digest}")
        self._remove_aids(digest)

    def _remove_aids(self, digest: str) -> None:
        """What lies beside a staging: the index, the keyring, and patches."""
        self.disk.remove(self.index_name(digest))
        self.disk.remove(self.keyring_name(digest))
        self.disk.remove(f"{_STAGING}/{digest}.patch")

    def give_way(self, digest: str) -> None:
        """On a full disk, give up what has come of a release: records, outbox and the rest of the machine need the
        room more than a fetch needs its progress, and what nobody can write nobody could withdraw either.
        """
        if self.space.is_short:
            self.drop_staging(digest)

    def adopt_file(self, path: Path) -> str:
        """Install an `.edge` file of this machine and return its digest. Held and sound already: nothing is done.

        Raises:
            ArtifactError: it is not a whole, canonical artifact.
            FetchError: the file cannot be read now.
        """
        digest = digest_of_file(path)
        with self.exclusive(digest, lambda: False):
            if self.holds(digest) and self.is_sound(digest):
                self.settle(digest)
                return digest
            try:
                self._unpack(path, digest)
                self.adopt(digest)
            except ArtifactError:
                self.drop_staging(digest)
                raise
            except StorageError:
                self.give_way(digest)
                raise
        return digest

    def _unpack(self, path: Path, digest: str) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                self.drop_staging(digest)
                with self.reserve(digest, sum(entry.file_size for entry in entries)) as room:
                    staging = self.begin(digest)
                    for entry in entries:
                        if entry.filename not in MEMBERS:
                            raise ArtifactError(
                                f"{path} holds {entry.filename!r}, which no artifact does", reason=Reason.INTEGRITY
                            )
                        if entry.compress_type != zipfile.ZIP_STORED:
                            raise zipfile.BadZipFile("its members are compressed")  # noqa: TRY301 - and might be a bomb
                        with archive.open(entry) as file:
                            blocks = iter(lambda: file.read(_BLOCK_BYTES), b"")
                            self._write(f"{staging}/{entry.filename}", blocks, room)
        except OSError as error:
            raise _unreadable(path, error) from error
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise not_whole(path, error) from error

    def _write(self, name: str, blocks: Iterator[bytes], room: Reservation) -> None:
        self.disk.write_at(name, 0, b"")  # a member may be empty
        offset = 0
        for block in blocks:
            self.disk.write_at(name, offset, block)
            room.use(len(block))
            offset += len(block)

    def _verify(self, staging: str, digest: str, size_bytes: int | None) -> None:
        blocks = {name: self._blocks(f"{staging}/{name}") for name in self.disk.names(staging)}
        hashes = {} if size_bytes is not None else {name: _HashedMember(each) for name, each in blocks.items()}
        found, found_bytes = digest_of(blocks | {name: member.blocks for name, member in hashes.items()})
        if found != digest or size_bytes not in (None, found_bytes):
            raise ArtifactError(
                f"expected the artifact {digest[:12]} of {size_bytes or 'any'} bytes, found {found[:12]} of "
                f"{found_bytes} bytes",
                reason=Reason.INTEGRITY,
                hint="push the release again with 'edgectl push'",
            )
        manifest_bytes = self.disk.size(f"{staging}/{MANIFEST_FILE}")
        if manifest_bytes is None or manifest_bytes > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{MANIFEST_FILE} is missing or too large", reason=Reason.BAD_MANIFEST)
        manifest = parse_manifest(self.disk.read(f"{staging}/{MANIFEST_FILE}"))
        listed = {MANIFEST_FILE: manifest_bytes} | {name: entry.size_bytes for name, entry in manifest.files.items()}
        sizes = {name: self.disk.size(f"{staging}/{name}") for name in blocks}
        wrong = {name for name in listed.keys() | sizes.keys() if listed.get(name) != sizes.get(name)}
        wrong |= {name for name, entry in manifest.files.items() if name in hashes and hashes[name].entry != entry}
        if wrong:
            raise ArtifactError(
                f"members and manifest disagree about {', '.join(sorted(wrong))}", reason=Reason.INTEGRITY
            )

    def _blocks(self, name: str) -> Blocks:
        def blocks() -> Iterator[bytes]:
            offset = 0
            while block := self.disk.read_at(name, offset, _BLOCK_BYTES):
                yield block
                offset += len(block)

        return blocks


class _HashedMember:
    """Gives the blocks of a member on, and remembers their digest and size: the member is read only once."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0

    def blocks(self) -> Iterator[bytes]:
        for block in self._blocks():
            self._sha256.update(block)
            self._size_bytes += len(block)
            yield block

    @property
    def entry(self) -> FileEntry:
        return FileEntry(self._sha256.hexdigest(), self._size_bytes)


def digest_of_file(path: Path) -> str:
    """sha-256 of a file of this machine.

    Raises:
        FetchError: it cannot be read now.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> FetchError:
    return FetchError(
        f"{path}: {error.strerror or error}",
        reason=Reason.DISK_FAILED,
        hint="check `initial` in the configuration, and that the agent's user may read the file",
    )
