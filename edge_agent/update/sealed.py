"""Fetching an encrypted release: its content key, and a transport that opens what another one brings.

What the device holds already is found by the digests of plaintext, which only the encrypted index tells; so no byte is
fetched for known content here either. On the device's own disk a release lies in the clear.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.errors import FetchError, Reason
from edge_agent.release.chunks import Index, cut, digest_of_chunk, inflate, unpack
from edge_agent.release.document import Target
from edge_agent.release.sealing import Purpose, open_keyring, unseal
from edge_agent.update.store import ReleaseStore
from edge_agent.update.transport import Cancelled, ChunkTransport, Trouble, collect_whole

Secret = Callable[[], bytes]  # `release.device_key.read_device_key` of a path; raises FetchError NO_KEY


def no_secret() -> bytes:
    """Of a device that has none."""
    raise FetchError("the release is encrypted, and this device has no key", reason=Reason.NO_KEY)


@dataclass(frozen=True, slots=True)
class Seal:
    """What opens the blobs of one release."""

    content_key: bytes
    fetched_bytes: int  # of the keyring

    def of_index(self, transport: ChunkTransport) -> ChunkTransport:
        return _Opened(transport, lambda blob: blob, self._open_index)

    def of_chunks(self, transport: ChunkTransport, index: Index) -> ChunkTransport:
        return _Opened(transport, index.blobs.__getitem__, self._open_chunk)

    def _open_index(self, digest: str, blob: bytes) -> bytes:
        return inflate(unseal(self.content_key, Purpose.INDEX, blob), digest)

    def _open_chunk(self, digest: str, blob: bytes) -> bytes:
        return unpack(unseal(self.content_key, Purpose.CHUNK, blob), digest)


class _Opened:
    """`ChunkTransport` of plaintext over one of sealed blobs. `blob_of`: where a chunk is sealed."""

    def __init__(
        self, inner: ChunkTransport, blob_of: Callable[[str], str], opened: Callable[[str, bytes], bytes]
    ) -> None:
        self._inner = inner
        self._blob_of = blob_of
        self._opened = opened

    def collect(
        self, digests: Sequence[str], take: Callable[[str, bytes], None], *, cancelled: Cancelled, trouble: Trouble
    ) -> None:
        chunk_of: Mapping[str, str] = {self._blob_of(digest): digest for digest in digests}

        def open_and_take(blob: str, content: bytes) -> None:
            take(chunk_of[blob], self._opened(chunk_of[blob], content))

        self._inner.collect(tuple(chunk_of), open_and_take, cancelled=cancelled, trouble=trouble)


def open_seal(
    target: Target,
    store: ReleaseStore,
    transport: ChunkTransport,
    secret: Secret,
    *,
    cancelled: Cancelled,
    trouble: Trouble,
) -> Seal | None:
    """The seal of a release; None when cancelled. The keyring is kept, so that trying again needs no network for it.

    Raises:
        FetchError: NO_KEY: this device has no key, or is no recipient; or the keyring cannot be had now.
        ArtifactError: the keyring is none.
    """
    mine = secret()
    fetched_bytes, name = 0, store.keyring_name(target.digest)
    keyring = store.disk.read(name) if (store.disk.size(name) or 0) > 0 else b""
    if tuple(digest_of_chunk(chunk) for chunk in cut(keyring)) != target.keyring:
        fetched = collect_whole(target.keyring, transport, "keyring", cancelled=cancelled, trouble=trouble)
        if fetched is None:
            return None
        keyring = fetched
        store.begin(target.digest)
        store.disk.remove(name)
        store.disk.write_at(name, 0, keyring)  # not durable: it is hashed again before it is used
        fetched_bytes = len(keyring)
    content_key = open_keyring(keyring, target.digest, mine)
    if content_key is None:
        raise FetchError(
            f"{target.model} {target.version} is encrypted for other devices, not for this one",
            reason=Reason.NO_KEY,
            hint="add what 'edge-agent keys show' prints on this device to the recipients, and push the release again",
        )
    return Seal(content_key, fetched_bytes)
