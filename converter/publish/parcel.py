"""An artifact as it travels: the blobs that its chunks, index and keyring are sent as, and the target that names them.

Sending is left to `sending`; patches are made in `patches`, seals kept in `seals`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from converter.publish.inventory import format_inventory
from converter.publish.patches import Patches
from converter.publish.seals import ReleaseSeal
from edge_agent.release.archive import Artifact
from edge_agent.release.chunks import build_index, cut, digest_of_chunk, format_index, pack
from edge_agent.release.document import Target
from edge_agent.release.sealing import Purpose
from edge_agent.release.sealing import seal as encrypt


@dataclass(frozen=True, slots=True)
class Parcel:
    """An artifact as it travels."""

    target: Target
    chunks: dict[str, bytes]  # digest → payload

    def with_patches(self, patches: Patches) -> "Parcel":
        """Whatever is encrypted has none: they would tell what changes."""
        if self.target.keyring:
            return self
        return Parcel(replace(self.target, patches=patches.patches), {**self.chunks, **patches.chunks})


def wrap(
    artifact: Artifact,
    channel: str,
    now: datetime,
    *,
    device_class: str = "",
    sources: Sequence[str] = (),
    seal: ReleaseSeal | None = None,
) -> Parcel:
    """Cut an artifact, and its index, into chunks. May raise ValueError for a channel that is no identifier.

    With a `seal`, what travels for each chunk is encrypted.
    """
    plaintexts = {digest_of_chunk(chunk): chunk for content in artifact.members.values() for chunk in cut(content)}
    sealed = {digest: _seal_chunk(seal, Purpose.CHUNK, chunk) for digest, chunk in plaintexts.items()}
    blobs = {digest: digest_of_chunk(blob) for digest, blob in sealed.items()} if seal is not None else {}
    index = format_index(replace(build_index(artifact.members), blobs=blobs))
    index_blobs = [_seal_chunk(seal, Purpose.INDEX, chunk) for chunk in cut(index)]
    keyring = list(cut(seal.keyring)) if seal is not None else []
    inventory = list(cut(format_inventory(blobs.values())))
    target = Target(
        model=artifact.manifest.name,
        channel=channel,
        version=artifact.manifest.version,
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
        index=digest_of_chunk(index),
        index_chunks=tuple(map(digest_of_chunk, index_blobs)),
        created=now.astimezone(UTC).isoformat(timespec="seconds"),
        device_class=device_class,
        sources=tuple(sources),
        keyring=tuple(map(digest_of_chunk, keyring)),
        inventory=tuple(map(digest_of_chunk, inventory)),
    )
    # The index comes last: as long as it is not on the broker, `collect` knows that a push is under way
    travelling = (*sealed.values(), *index_blobs, *keyring, *inventory)
    return Parcel(target, {digest_of_chunk(blob): pack(blob) for blob in travelling})


def _seal_chunk(seal: ReleaseSeal | None, purpose: Purpose, chunk: bytes) -> bytes:
    return chunk if seal is None else encrypt(seal.content_key, purpose, pack(chunk))
