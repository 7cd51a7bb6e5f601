"""Cutting an artifact into content-addressed chunks, and the index that lists them.

Each member is cut from its own first byte, so that a changed manifest does not shift the model's chunks and a device
re-uses every chunk it already holds. A chunk travels as zlib of its plaintext under the sha-256 of the plaintext.
How chunks travel is left to `link`; how they are put together, to `update.fetch`.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.archive import MEMBERS
from edge_agent.release.manifest import DIGEST

CHUNK_BYTES = 60_000  # with topic and headers below 64 KiB, which every hosted broker takes
MAX_BLOB_BYTES = CHUNK_BYTES + 64  # what may lie under one digest: an encrypted chunk is a little longer
MAX_PAYLOAD_BYTES = MAX_BLOB_BYTES + 64  # of a blob as it travels; zlib adds that much to noise
MAX_INDEX_BYTES = 60_000 * 40  # an index of 40 chunks: artifacts up to about 2 GB
_COMPRESSION = 6


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk belongs: `size_bytes` of `member` from `offset`."""

    digest: str
    member: str
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Index:
    """Which chunks make which member; itself published as a blob."""

    members: Mapping[str, tuple[int, tuple[str, ...]]]  # name → size in bytes, digests in order
    blobs: Mapping[str, str] = field(default_factory=dict)  # of an encrypted release: chunk → blob it is sealed in

    def __post_init__(self) -> None:
        for name, (size, digests) in self.members.items():
            if name not in MEMBERS:
                raise ValueError(f"{name!r} is not a member of an artifact")
            if size < 0 or len(digests) != -(-size // CHUNK_BYTES):
                raise ValueError(f"{name}: {len(digests)} chunks cannot make {size} bytes")
            if not all(DIGEST.fullmatch(digest) for digest in digests):
                raise ValueError(f"{name}: a chunk digest is not 64 hexadecimal digits")

        if self.blobs:
            chunks = {digest for _, digests in self.members.values() for digest in digests}
            if set(self.blobs) != chunks or len(set(self.blobs.values())) != len(chunks):
                raise ValueError("chunks and blobs do not match")
            if not all(DIGEST.fullmatch(digest) for digest in self.blobs.values()):
                raise ValueError("the digest of a blob is not 64 hexadecimal digits")

    def chunks(self) -> Iterator[Chunk]:
        """Every chunk of every member, in order. A digest that occurs twice comes twice."""
        for name, (size, digests) in self.members.items():
            for number, digest in enumerate(digests):
                offset = number * CHUNK_BYTES
                yield Chunk(digest, name, offset, min(CHUNK_BYTES, size - offset))

    @property
    def size_bytes(self) -> int:
        return sum(size for size, _ in self.members.values())


def cut(content: bytes) -> Iterator[bytes]:
    """`content` in chunks of `CHUNK_BYTES`, the last one shorter."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def digest_of_chunk(plaintext: bytes) -> str:
    return hashlib.sha256(plaintext).hexdigest()


def build_index(members: Mapping[str, bytes]) -> Index:
    """The index of an artifact's members."""
    ordered = (name for name in MEMBERS if name in members)
    return Index(
        {name: (len(members[name]), tuple(digest_of_chunk(chunk) for chunk in cut(members[name]))) for name in ordered}
    )


def format_index(index: Index) -> bytes:
    tree = {name: {"size": size, "chunks": list(digests)} for name, (size, digests) in index.members.items()}
    blobs = {"blobs": dict(index.blobs)} if index.blobs else {}
    whole = {"schema": 1, "chunk_bytes": CHUNK_BYTES, "members": tree, **blobs}
    return json.dumps(whole, separators=(",", ":")).encode()


def parse_index(content: bytes) -> Index:
    """Read an index whose digest has been checked.

    Raises:
        ArtifactError: it does not describe an artifact.
    """
    try:
        tree = json.loads(content)
        if tree["chunk_bytes"] != CHUNK_BYTES:
            raise ValueError(f"chunks of {tree['chunk_bytes']} bytes; this agent reads {CHUNK_BYTES}")  # noqa: TRY301
        return Index(
            {
                str(name): (int(member["size"]), tuple(str(digest) for digest in member["chunks"]))
                for name, member in tree["members"].items()
            },
            {str(chunk): str(blob) for chunk, blob in tree.get("blobs", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ArtifactError(f"the index cannot be read: {error}", reason=Reason.INTEGRITY) from error


def pack(plaintext: bytes) -> bytes:
    """What travels for a chunk."""
    return zlib.compress(plaintext, _COMPRESSION)


def unpack(payload: bytes, digest: str) -> bytes:
    """The plaintext of a payload: inflated with a hard bound, then hashed.

    Raises:
        ArtifactError: the payload is not the chunk with this digest.
    """
    plaintext = inflate(payload, digest)
    if digest_of_chunk(plaintext) != digest:
        raise _another(digest)
    return plaintext


def inflate(payload: bytes, digest: str) -> bytes:
    """What is in a payload, bounded and of whatever content; `digest` is for the message.

    Raises:
        ArtifactError: it is more than a blob holds, or no zlib.
    """
    inflater = zlib.decompressobj()
    try:
        plaintext = inflater.decompress(payload, MAX_BLOB_BYTES + 1)
    except zlib.error as error:
        raise ArtifactError(f"chunk {digest[:12]} does not inflate: {error}", reason=Reason.CORRUPT_CHUNK) from error
    if len(plaintext) > MAX_BLOB_BYTES:
        raise _another(digest)
    return plaintext


def _another(digest: str) -> ArtifactError:
    return ArtifactError(f"chunk {digest[:12]} has other bytes than its name says", reason=Reason.CORRUPT_CHUNK)
