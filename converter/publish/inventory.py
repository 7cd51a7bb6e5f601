"""Every blob that a release needs, as anybody can tell it from what is on the broker.

Of a plain release its index says so. That of an encrypted one only its recipients can read; beside it lies its
inventory, in the clear: the digests of the sealed chunks and nothing else, which a broker's owner sees anyway. The
signed target names it, so that no forged one can make a live blob garbage. Devices do not read it.
"""

import hashlib
from collections.abc import Iterable

from converter.broker import Broker
from converter.publish.catalog import Listed
from edge_agent.errors import ArtifactError
from edge_agent.release.chunks import parse_index
from edge_agent.release.document import Target

_DIGEST_BYTES = 32
_GRACE_S = 1.0


class OpaqueError(Exception):
    """What lists the blobs of a release is all there, and cannot be read."""


def format_inventory(digests: Iterable[str]) -> bytes:
    """SHA-256 digests, 32 bytes each, sorted: their order must not tell what belongs to what."""
    return b"".join(map(bytes.fromhex, sorted(digests)))


def parse_inventory(content: bytes) -> set[str]:
    """Raises ValueError where it is none."""
    if not content or len(content) % _DIGEST_BYTES:
        raise ValueError(f"{len(content)} bytes, expected digests of {_DIGEST_BYTES}")
    return {content[start : start + _DIGEST_BYTES].hex() for start in range(0, len(content), _DIGEST_BYTES)}


def chunks_of(release: Target | Listed, reader: Broker) -> set[str] | None:
    """The blobs of the members of a release; None where what lists them is not on the broker.

    Raises:
        OpaqueError: it is there, and of no use: of an encrypted release that was pushed without an inventory.
        LinkError: the broker was lost.
    """
    listing = release.inventory or release.index_chunks
    found = reader.fetch_chunks(listing)
    if not set(listing) <= set(found):
        return None
    content = b"".join(found[digest] for digest in listing)
    try:
        if release.inventory:
            return parse_inventory(content)
        if hashlib.sha256(content).hexdigest() != release.index:
            raise ValueError("the index is not in the clear")  # noqa: TRY301  # one place for all
        return {chunk.digest for chunk in parse_index(content).chunks()}
    except (ValueError, ArtifactError) as error:
        raise OpaqueError(str(error)) from error


def lost_blobs(target: Target, reader: Broker) -> list[str]:
    """What of all that a release needs is not on the broker; where nobody can list it, of what is named outright.

    Raises:
        LinkError: the broker was lost.
    """
    try:
        chunks = chunks_of(target, reader) or set()
    except OpaqueError:
        chunks = set()
    patches = {digest for patch in target.patches for digest in patch.chunks}
    named = {*target.index_chunks, *target.keyring, *target.inventory}
    return reader.read_chunks(sorted(chunks | patches | named), grace_s=_GRACE_S)
