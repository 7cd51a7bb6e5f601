"""One release being put together in `staging/<digest>/`, chunk by chunk, in any order, across any number of starts.

A chunk that lies in a partial file is never trusted: it is hashed again after each start. A chunk that any other
release on this disk holds is copied from there. Getting the rest is left to `fetch`; installing the whole, to
`ReleaseStore.adopt`.
"""

from collections.abc import Iterator

from edge_agent.errors import ArtifactError, Reason, StorageError
from edge_agent.release.chunks import CHUNK_BYTES, Chunk, Index, digest_of_chunk
from edge_agent.update.space import Reservation
from edge_agent.update.store import ReleaseStore

_WRITTEN_TOGETHER = 16  # chunks: about 1 MB, a tenth of the system calls


class Staging:
    """The members of one release on their way. Opening it finds, by hashing, which chunks are already in place.

    With a `suffix` it is something else that is fetched for the release: nothing that others copy chunks from.

    Raises:
        StorageError: the disk fails, or has no room for what is missing.
    """

    def __init__(self, store: ReleaseStore, digest: str, index: Index, room: Reservation, *, suffix: str = "") -> None:
        self._store = store
        self._disk = store.disk
        self._index = index
        self._room = room
        self._name = store.begin(digest + suffix)
        self._missing: dict[str, list[Chunk]] = {}  # by digest: one chunk may belong in several places
        self._held: list[Chunk] = []  # neighbors, not written yet
        self._held_bytes: list[bytes] = []
        self._remove_strangers()
        present = self._sort_chunks()
        room.resize(sum(chunk.size_bytes for chunks in self._missing.values() for chunk in chunks))
        for chunk in present:  # what occurs twice may be there once
            if chunk.digest in self._missing:
                self.put(chunk.digest, self._read(chunk))
        self.flush()

    @property
    def name(self) -> str:
        """The directory on the disk; its files are named as the members of the index."""
        return self._name

    @property
    def missing(self) -> tuple[str, ...]:
        """Digests of the chunks that are in none of their places yet, in the order of the artifact."""
        return tuple(self._missing)

    @property
    def missing_bytes(self) -> int:
        """Plaintext bytes of the missing chunks, each counted once."""
        return sum(chunks[0].size_bytes for chunks in self._missing.values())

    def missing_bytes_of(self, member: str) -> int:
        """The same, of the chunks whose first place is in `member`."""
        return sum(chunks[0].size_bytes for chunks in self._missing.values() if chunks[0].member == member)

    def put(self, digest: str, plaintext: bytes) -> None:
        """Write a chunk to all the places it belongs to. One that is not missing (any more) is ignored.

        Its bytes are not hashed here: who brings them has (`ChunkTransport`), and `adopt` hashes the whole. Neighbors
        are written together; `flush` writes what is held back.

        Raises:
            ArtifactError: the index has a place for it that it does not fit.
        """
        places = self._missing.pop(digest, ())
        if any(chunk.size_bytes != len(plaintext) for chunk in places) and digest_of_chunk(plaintext) == digest:
            raise ArtifactError(  # else it would be written over its neighbors, or leave a hole
                f"the index gives chunk {digest[:12]} a place of another size than its {len(plaintext)} bytes",
                reason=Reason.INTEGRITY,
            )
        for chunk in places:
            if self._held and chunk.member == self._held[-1].member and chunk.offset == self._held_end:
                self._held.append(chunk)
            else:
                self.flush()
                self._held = [chunk]
            self._held_bytes.append(plaintext)
            if len(self._held) >= _WRITTEN_TOGETHER:
                self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        if self._held:
            first = self._held[0]
            content = b"".join(self._held_bytes)
            self._held, self._held_bytes = [], []
            self._disk.write_at(f"{self._name}/{first.member}", first.offset, content)
            self._room.use(len(content))

    @property
    def _held_end(self) -> int:
        return self._held[-1].offset + self._held[-1].size_bytes

    def copy_held(self) -> None:
        """Copy every missing chunk that another release or staging on this disk holds."""
        for place in self._store.places():
            if not self._missing:
                break
            if place != self._name:
                try:
                    for plaintext in self._chunks_of(place):
                        self.put(digest_of_chunk(plaintext), plaintext)
                except _UnreadableError:
                    continue  # swept meanwhile, or rotten: then its chunks are fetched
        self.flush()

    def is_intact(self) -> bool:
        """Whether every chunk still reads back as what was written."""
        return all(digest_of_chunk(self._read(chunk)) == chunk.digest for chunk in self._index.chunks())

    def _remove_strangers(self) -> None:
        """What this index cannot have written: other names, and files that are too long."""
        for name in self._disk.names(self._name):
            size, _ = self._index.members.get(name, (-1, ()))
            if (self._disk.size(f"{self._name}/{name}") or 0) > size:
                self._disk.remove(f"{self._name}/{name}")

    def _sort_chunks(self) -> list[Chunk]:
        """Fill `_missing`; returns the chunks that are in place."""
        present = []
        there_bytes = {}
        for name in self._index.members:
            self._disk.write_at(f"{self._name}/{name}", 0, b"")  # there, even if it has no bytes
            there_bytes[name] = self._disk.size(f"{self._name}/{name}") or 0
        for chunk in self._index.chunks():
            is_there = chunk.offset + chunk.size_bytes <= there_bytes[chunk.member]
            if is_there and digest_of_chunk(self._read(chunk)) == chunk.digest:
                present.append(chunk)
            else:
                self._missing.setdefault(chunk.digest, []).append(chunk)
        return present

    def _read(self, chunk: Chunk) -> bytes:
        return self._disk.read_at(f"{self._name}/{chunk.member}", chunk.offset, chunk.size_bytes)

    def _chunks_of(self, place: str) -> Iterator[bytes]:
        try:
            for name in self._disk.names(place):
                offset = 0
                while plaintext := self._disk.read_at(f"{place}/{name}", offset, CHUNK_BYTES):
                    yield plaintext
                    offset += CHUNK_BYTES
        except StorageError as error:
            raise _UnreadableError from error


class _UnreadableError(Exception):
    """A place that chunks could have been copied from; told apart from our own staging failing."""
