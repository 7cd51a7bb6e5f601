"""The file in which a release lies on a web server: a table, then each chunk as it travels, one behind the other.

The table is not signed and needs no signature: each chunk is known by its digest, so a table that lies only makes its
server useless. Reading a part of such a file is left to `link.https`; writing one, to the publisher.
"""

import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.chunks import MAX_PAYLOAD_BYTES

MAGIC = b"edge-deploy pack 1\n"
SUFFIX = ".pack"
MAX_CHUNKS = 40_000  # a table of 1.4 MB; artifacts up to the 2 GB that an index can list
_COUNT = struct.Struct(">I")
_ENTRY = struct.Struct(">32sI")  # sha-256 of the plaintext, bytes of the payload


@dataclass(frozen=True, slots=True)
class Place:
    """Where a payload lies in the file."""

    offset: int
    size_bytes: int

    @property
    def end(self) -> int:
        return self.offset + self.size_bytes


def format_pack(chunks: Mapping[str, bytes]) -> bytes:
    """The whole file. `chunks`: digest to payload; what is asked for together stands together.

    Raises:
        ArtifactError: there are more than any device reads.
    """
    if len(chunks) > MAX_CHUNKS:
        raise _too_many(len(chunks))
    entries = b"".join(_ENTRY.pack(bytes.fromhex(digest), len(payload)) for digest, payload in chunks.items())
    return b"".join((MAGIC, _COUNT.pack(len(chunks)), entries, *chunks.values()))


def table_bytes(beginning: bytes) -> int:
    """How many bytes from the first one the table takes. `beginning`: the first bytes of the file.

    Raises:
        ArtifactError: it is no such file, or has more chunks than any release.
    """
    head = len(MAGIC) + _COUNT.size
    if len(beginning) < head or not beginning.startswith(MAGIC):
        raise ArtifactError(f"it is no pack: it begins with {beginning[:20]!r}", reason=Reason.INTEGRITY)
    (count,) = _COUNT.unpack_from(beginning, len(MAGIC))
    if count > MAX_CHUNKS:
        raise _too_many(count)
    return head + int(count) * _ENTRY.size


def parse_table(table: bytes, wanted: Container[str] | None = None) -> dict[str, Place]:
    """Digest to place: all, or those that are wanted. `table`: at least the file's first `table_bytes`.

    Raises:
        ArtifactError: it is no such table.
    """
    size = table_bytes(table)
    if len(table) < size:
        raise ArtifactError(f"a pack whose table is cut off after {len(table)} bytes", reason=Reason.INTEGRITY)
    places: dict[str, Place] = {}
    offset = size
    for digest, size_bytes in _ENTRY.iter_unpack(table[len(MAGIC) + _COUNT.size : size]):
        if size_bytes > MAX_PAYLOAD_BYTES:
            raise ArtifactError(f"a pack with a chunk of {size_bytes} bytes", reason=Reason.INTEGRITY)
        name = digest.hex()
        if wanted is None or name in wanted:
            places[name] = Place(offset, size_bytes)
        offset += size_bytes
    return places


def _too_many(count: int) -> ArtifactError:
    return ArtifactError(f"a pack of {count} chunks; at most {MAX_CHUNKS} are read", reason=Reason.INTEGRITY)
