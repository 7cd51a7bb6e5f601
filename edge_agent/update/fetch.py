"""Getting a release: what the device has not got comes over a transport, everything else from its own disk.

Where a patch is shorter, it comes instead of the chunks it replaces (`patching`).

Verified here: the index against its signed digest, each chunk against the index, the whole artifact against its signed
digest and size. How chunks travel is left to the transport (`link`); where they lie, to `store` and `staging`; whether
to try again, to `updater`.
"""

import hashlib
from dataclasses import dataclass

from edge_agent.errors import ArtifactError, FetchError, Reason, RejectionError, StorageError
from edge_agent.release.chunks import CHUNK_BYTES, MAX_INDEX_BYTES, Index, parse_index
from edge_agent.release.document import Target
from edge_agent.release.manifest import Manifest
from edge_agent.release.sealing import MAX_KEYRING_BYTES
from edge_agent.update.patcher import Patcher
from edge_agent.update.patching import Patching
from edge_agent.update.sealed import Secret, no_secret, open_seal
from edge_agent.update.space import Reservation
from edge_agent.update.staging import Staging
from edge_agent.update.store import ReleaseStore
from edge_agent.update.transport import Cancelled, ChunkTransport, Trouble, collect_whole


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a release has cost."""

    fetched_bytes: int  # plaintext bytes that came over the transport, with index and keyring
    reused_bytes: int  # bytes of the members that the device already had
    patched_bytes: int = 0  # bytes of the members that patches made of what the device had


def fetch_release(
    target: Target,
    store: ReleaseStore,
    transport: ChunkTransport,
    *,
    cancelled: Cancelled,
    trouble: Trouble,
    secret: Secret = no_secret,
    patcher: Patcher | None = None,
) -> FetchReport | None:
    """Make the store hold the release, sound and durable. None when cancelled; what has come so far stays.

    `secret` gives the device's key, and is asked only for a release that is encrypted.
    Without a `patcher`, patches are not looked at.

    Raises:
        RejectionError: these bytes will never be the release that was signed.
        FetchError, StorageError: not now; it goes on from here when tried again.
    """
    with store.exclusive(target.digest, cancelled) as mine:
        if not mine:
            return None
        if store.holds(target.digest) and store.is_sound(target.digest):
            store.settle(target.digest)
            return FetchReport(0, target.size_bytes)
        try:
            with store.reserve(target.digest, target.size_bytes + _bytes_of_index(target)) as room:
                return _fetch(
                    target,
                    store,
                    transport,
                    room=room,
                    secret=secret,
                    patcher=patcher,
                    cancelled=cancelled,
                    trouble=trouble,
                )
        except StorageError:
            store.give_way(target.digest)
            raise


def check_named(target: Target, manifest: Manifest) -> None:
    """Raise RejectionError unless an artifact calls itself what the signed document calls it."""
    if (manifest.name, manifest.version) != (target.model, target.version):
        raise RejectionError(
            f"the signed document says {target.model} {target.version}, "
            f"the artifact {manifest.name} {manifest.version}",
            reason=Reason.WRONG_TARGET,
        )


def _fetch(
    target: Target,
    store: ReleaseStore,
    transport: ChunkTransport,
    *,
    room: Reservation,
    secret: Secret,
    patcher: Patcher | None,
    cancelled: Cancelled,
    trouble: Trouble,
) -> FetchReport | None:
    seal = None
    if target.keyring:
        seal = open_seal(target, store, transport, secret, cancelled=cancelled, trouble=trouble)
        if seal is None:
            return None
    read = _read_index(target, store, seal.of_index(transport) if seal else transport, cancelled, trouble)
    if read is None:
        return None
    index, list_bytes = read
    list_bytes += seal.fetched_bytes if seal else 0
    staging = Staging(store, target.digest, index, room)
    staging.copy_held()
    lacking_bytes, patch_bytes = staging.missing_bytes, 0
    if patcher is not None and target.patches and not target.keyring:  # what is encrypted has none
        patching = Patching(target, index, staging, store, trouble=trouble)
        patch_bytes = patching.run(transport, patcher, cancelled)
    missing_bytes = staging.missing_bytes
    try:
        source = seal.of_chunks(transport, index) if seal else transport
        source.collect(staging.missing, staging.put, cancelled=cancelled, trouble=trouble)
    finally:
        staging.flush()  # what has come stays, whatever ended it
    if staging.missing:
        if cancelled():
            return None
        raise FetchError(f"{len(staging.missing)} chunks did not arrive", reason=Reason.MISSING_CHUNK)
    _adopt(target, store, staging)
    fetched_bytes = list_bytes + patch_bytes + missing_bytes
    return FetchReport(fetched_bytes, index.size_bytes - lacking_bytes, lacking_bytes - missing_bytes)


def _bytes_of_index(target: Target) -> int:
    """At most, with the keyring."""
    if len(target.keyring) * CHUNK_BYTES > MAX_KEYRING_BYTES:
        raise ArtifactError(f"a keyring of {len(target.keyring)} chunks is too large", reason=Reason.INTEGRITY)
    if len(target.index_chunks) * CHUNK_BYTES > MAX_INDEX_BYTES:
        raise ArtifactError(f"an index of {len(target.index_chunks)} chunks is too large", reason=Reason.INTEGRITY)
    return (len(target.index_chunks) + len(target.keyring)) * CHUNK_BYTES


def _read_index(
    target: Target, store: ReleaseStore, transport: ChunkTransport, cancelled: Cancelled, trouble: Trouble
) -> tuple[Index, int] | None:
    """The index, from an earlier attempt or the transport, and the bytes fetched for it; None when cancelled."""
    name = store.index_name(target.digest)
    if (store.disk.size(name) or 0) > 0:
        kept = store.disk.read(name)
        if hashlib.sha256(kept).hexdigest() == target.index:
            return _check_index(parse_index(kept), target), 0
    content = collect_whole(target.index_chunks, transport, "index", cancelled=cancelled, trouble=trouble)
    if content is None:
        return None
    if hashlib.sha256(content).hexdigest() != target.index:
        raise ArtifactError("the chunks of the index do not make the index that was signed", reason=Reason.INTEGRITY)
    index = _check_index(parse_index(content), target)
    store.begin(target.digest)
    store.disk.remove(name)
    store.disk.write_at(name, 0, content)  # not durable: it is hashed again before it is used
    return index, len(content)


def _check_index(index: Index, target: Target) -> Index:
    if index.size_bytes > target.size_bytes:
        raise ArtifactError(
            f"the index lists {index.size_bytes} bytes, more than the {target.size_bytes} of the signed artifact",
            reason=Reason.INTEGRITY,
        )
    if bool(index.blobs) != bool(target.keyring):
        raise ArtifactError("index and keyring disagree about whether it is encrypted", reason=Reason.INTEGRITY)
    return index


def _adopt(target: Target, store: ReleaseStore, staging: Staging) -> None:
    try:
        store.adopt(target.digest, target.size_bytes)
    except ArtifactError:
        intact = staging.is_intact()
        store.drop_staging(target.digest)
        if not intact:  # the disk has lost what was written: no fault of the release
            raise StorageError(
                f"release {target.digest[:12]} reads back with other bytes than were written",
                hint="check the disk (dmesg, fsck); SD cards wear out",
            ) from None
        raise
