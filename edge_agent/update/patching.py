"""Members made by a patch instead of fetched: where that is surely fewer bytes, and never at the price of a release.

A patch is used only where a release on this disk holds the member that it starts from, byte for byte, and only where it
is smaller than the chunks that are missing. It lies under `staging/<digest>.patch/` meanwhile, fetched and resumed like
a release. Its digest is checked before it is used, and each chunk of what it makes against the signed index. Any error
of it is told, and what is missing then is fetched as chunks. How a patch is applied is left to `patcher`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_agent.errors import ArtifactError, FetchError, Reason, StorageError
from edge_agent.release.chunks import CHUNK_BYTES, Index, digest_of_chunk
from edge_agent.release.document import Target
from edge_agent.release.patch import FORMAT, MAX_MEMBER_BYTES, Patch, PatchError
from edge_agent.update.patcher import Patcher, PatchJob
from edge_agent.update.staging import Staging
from edge_agent.update.store import ReleaseStore
from edge_agent.update.transport import Cancelled, ChunkTransport, Trouble

_PACKING_BYTES = 32  # zlib adds less to a chunk that does not compress


@dataclass(frozen=True, slots=True)
class _Choice:
    patch: Patch
    base: str  # the file on the disk
    result_bytes: int


class Patching:
    """The patches of one release that is being fetched. `staging` holds all that this disk could give."""

    def __init__(
        self, target: Target, index: Index, staging: Staging, store: ReleaseStore, *, trouble: Trouble
    ) -> None:
        self._target = target
        self._index = index
        self._staging = staging
        self._store = store
        self._trouble = trouble

    def run(self, transport: ChunkTransport, patcher: Patcher, cancelled: Cancelled) -> int:
        """Patch what can be patched; returns the bytes that were fetched for it.

        Whatever goes wrong with a patch is no error here. Not all is done when `cancelled()`.

        Raises:
            StorageError: the release's own staging cannot be written.
        """
        chosen = list(self._choose())
        if not chosen:
            return 0
        try:
            patches, fetched_bytes = self._fetch([choice.patch for choice in chosen], transport, cancelled)
        except (FetchError, ArtifactError, StorageError, ValueError) as error:
            self._give_up(f"patches cannot be fetched: {error}")
            return 0
        if cancelled():
            return fetched_bytes
        for choice in chosen:
            try:
                self._apply(choice, patches, patcher)
            except PatchError as error:
                self._give_up(f"the patch for {choice.patch.member} cannot be used: {error}")
            finally:
                self._staging.flush()
        return fetched_bytes

    def _choose(self) -> Iterator[_Choice]:
        """For each member the smallest patch that is worth it here."""
        for member, (size_bytes, _) in self._index.members.items():
            missing_bytes = self._staging.missing_bytes_of(member)
            if not 0 < size_bytes <= MAX_MEMBER_BYTES or not missing_bytes:
                continue
            of_member = [patch for patch in self._target.patches if (patch.member, patch.format) == (member, FORMAT)]
            for patch in sorted(of_member, key=lambda patch: patch.size_bytes):
                if not _is_worth_it(patch, missing_bytes):
                    continue
                base = self._store.find_member(member, patch.base, MAX_MEMBER_BYTES)
                if base is not None:
                    yield _Choice(patch, base, size_bytes)
                    break

    def _fetch(self, patches: Sequence[Patch], transport: ChunkTransport, cancelled: Cancelled) -> tuple[Staging, int]:
        """The patches on the disk, and the bytes that came for them. Gives up at the first chunk that does not come."""
        index = Index({patch.member: (patch.size_bytes, patch.chunks) for patch in patches})
        lost: list[str] = []
        with self._store.space.reserve(index.size_bytes) as room:
            staging = Staging(self._store, self._target.digest, index, room, suffix=".patch")
            before_bytes = staging.missing_bytes
            try:
                transport.collect(
                    staging.missing,
                    staging.put,
                    cancelled=lambda: bool(lost) or cancelled(),
                    trouble=lambda _, detail: lost.append(detail),
                )
            finally:
                staging.flush()
        if staging.missing and not cancelled():
            raise PatchError(lost[0] if lost else f"{len(staging.missing)} chunks did not arrive")
        return staging, before_bytes - staging.missing_bytes

    def _apply(self, choice: _Choice, patches: Staging, patcher: Patcher) -> None:
        patch = choice.patch
        name = f"{patches.name}/{patch.member}"
        if self._digest_of(name) != patch.digest:
            raise PatchError("its bytes are not those that were signed")
        job = PatchJob(
            self._blocks(choice.base), self._store.disk.size(choice.base) or 0,
            self._blocks(name), patch.size_bytes, choice.result_bytes,
        )  # fmt: skip
        _, digests = self._index.members[patch.member]
        number = -1
        for number, plaintext in enumerate(patcher(job)):
            if number >= len(digests) or digest_of_chunk(plaintext) != digests[number]:
                raise PatchError(f"it does not make the {patch.member} that was signed")
            self._staging.put(digests[number], plaintext)
        if number + 1 != len(digests):
            raise PatchError(f"it makes {number + 1} of {len(digests)} chunks of {patch.member}")

    def _digest_of(self, name: str) -> str:
        sha256 = hashlib.sha256()
        for block in self._blocks(name):
            sha256.update(block)
        return sha256.hexdigest()

    def _blocks(self, name: str) -> Iterator[bytes]:
        try:
            yield from self._store.blocks(name)
        except StorageError as error:  # swept meanwhile, or a sector that cannot be read
            raise PatchError(str(error)) from error

    def _give_up(self, detail: str) -> None:
        self._trouble(Reason.BAD_PATCH, f"{detail}; its chunks are fetched instead")


def _is_worth_it(patch: Patch, missing_bytes: int) -> bool:
    """Whether the patch is surely fewer bytes on the wire than the chunks missing here, `missing_bytes` inflated.

    The publisher has told what the chunks that the base lacks weigh, packed and inflated. Of those this device may hold
    some more; each weighs at most what it inflates to.
    """
    held_bytes = max(0, patch.replaces_plain_bytes - missing_bytes)
    held_chunks = held_bytes // CHUNK_BYTES + 1
    travels_bytes = patch.size_bytes + _PACKING_BYTES * len(patch.chunks)
    return travels_bytes < patch.replaces_bytes - held_bytes - _PACKING_BYTES * held_chunks
