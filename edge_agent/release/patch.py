"""A patch: a shorter way to a member for a device that holds a certain other one.

The bytes are those of bsdiff ("BSDIFF40": Colin Percival, "Naive differences of executable code", 2003), whose three
parts are compressed already. Applying them needs nothing but the standard library. A patch is foreign input: every
length in it is checked before anything is made, and what it inflates to is bounded by the size of the member it makes.
Which patch is used, and with which limits of memory, is left to `update.patching`; making them, to the laptop.
"""

import bz2
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.manifest import DIGEST

FORMAT = "bsdiff40"
MAX_MEMBER_BYTES = 32_000_000  # of base and result: both are in memory while they are patched
MAX_PATCH_CHUNKS = 200  # of all patches of a document together: their digests stand in it
_MAGIC = b"BSDIFF40"
_HEADER = struct.Struct("<8s3Q")
_TRIPLE = struct.Struct("<3Q")
_SIGN = 1 << 63
_TRIPLES_AT_LEAST, _BYTES_PER_TRIPLE = 1000, 16  # what a result of some size may be made of; a useful patch has fewer
_SUMMED_TOGETHER = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What the signed target says of a patch. Its bytes travel as chunks."""

    member: str  # of base and result, by name
    base: str  # sha-256 of the whole member that it starts from
    digest: str  # sha-256 of the patch
    size_bytes: int
    chunks: tuple[str, ...]
    replaces_bytes: int  # as they travel: the chunks of the member that the base has not
    replaces_plain_bytes: int  # the same chunks inflated
    format: str = FORMAT

    def __post_init__(self) -> None:
        if not all(DIGEST.fullmatch(text) for text in (self.base, self.digest, *self.chunks)):
            raise ValueError("a digest of a patch is not 64 hexadecimal digits")
        if self.size_bytes <= 0 or not 0 < len(self.chunks) <= MAX_PATCH_CHUNKS:
            raise ValueError(f"a patch of {self.size_bytes} bytes in {len(self.chunks)} chunks")


class PatchError(ArtifactError):
    """A patch that does not make what it was published for. The whole chunks do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=Reason.BAD_PATCH)


def apply_patch(base: bytes, patch: bytes, size_bytes: int) -> bytes:
    """The member of `size_bytes` that `patch` makes out of `base`.

    Raises:
        PatchError: it is not whole, makes another size, or would need more than such a member can.
    """
    control, diff, extra = _parts(patch, size_bytes)
    result = bytearray()
    position = diff_at = extra_at = 0
    for copied, added, skipped in _triples(control):
        room = size_bytes - len(result)
        if copied < 0 or added < 0 or copied + added > room:
            raise PatchError(f"the patch makes more than the {size_bytes} bytes it names")
        if diff_at + copied > len(diff) or extra_at + added > len(extra):
            raise PatchError("the patch takes more bytes than it brings")
        _add(result, base, position, diff[diff_at : diff_at + copied])
        result += extra[extra_at : extra_at + added]
        diff_at, extra_at, position = diff_at + copied, extra_at + added, position + copied + skipped
    if len(result) != size_bytes:
        raise PatchError(f"the patch makes {len(result)} bytes, expected {size_bytes}")
    return bytes(result)


def _parts(patch: bytes, size_bytes: int) -> tuple[bytes, bytes, bytes]:
    """Control, diff and extra block, inflated."""
    if len(patch) < _HEADER.size:
        raise PatchError(f"a patch of {len(patch)} bytes has no header")
    magic, control_bytes, diff_bytes, result_bytes = _HEADER.unpack_from(patch)
    if magic != _MAGIC:
        raise PatchError(f"the patch begins with {magic!r}, expected {_MAGIC!r}")
    if result_bytes != size_bytes:
        raise PatchError(f"the patch is for {result_bytes} bytes, expected {size_bytes}")
    control_end, diff_end = _HEADER.size + control_bytes, _HEADER.size + control_bytes + diff_bytes
    if diff_end > len(patch):
        raise PatchError("the patch is cut off")
    triples = _TRIPLES_AT_LEAST + size_bytes // _BYTES_PER_TRIPLE
    control = _inflate(patch[_HEADER.size : control_end], triples * _TRIPLE.size)
    if len(control) % _TRIPLE.size:
        raise PatchError("the control block of the patch is not whole")
    return control, _inflate(patch[control_end:diff_end], size_bytes), _inflate(patch[diff_end:], size_bytes)


def _inflate(content: bytes, most_bytes: int) -> bytes:
    inflater = bz2.BZ2Decompressor()
    try:
        plaintext = inflater.decompress(content, most_bytes + 1)
    except (OSError, ValueError, EOFError) as error:
        raise PatchError(f"a block of the patch does not inflate: {error}") from error
    if len(plaintext) > most_bytes:
        raise PatchError(f"a block of the patch inflates to more than {most_bytes} bytes")
    if not inflater.eof:
        raise PatchError("a block of the patch is cut off")
    return plaintext


def _triples(control: bytes) -> Iterator[tuple[int, int, int]]:
    """Bytes to add to the base, bytes to add from the extra block, bytes to skip in the base."""
    for copied, added, skipped in _TRIPLE.iter_unpack(control):
        yield _signed(copied), _signed(added), _signed(skipped)


def _signed(number: int) -> int:
    """Sign and magnitude, not two's complement."""
    return _SIGN - number if number & _SIGN else number


def _add(result: bytearray, base: bytes, position: int, diff: bytes) -> None:
    """Append `diff` plus the base from `position`, byte by byte without carry; outside of the base is 0."""
    for start in range(0, len(diff), _SUMMED_TOGETHER):
        part = diff[start : start + _SUMMED_TOGETHER]
        first = position + start
        old = base[max(first, 0) : max(first + len(part), 0)]
        if first < 0:
            old = bytes(min(-first, len(part))) + old
        result += _sum(part, old.ljust(len(part), b"\0"))


def _sum(left: bytes, right: bytes) -> bytes:
    if not left.strip(b"\0"):
        return right  # by far the most of a patch
    size = len(left)
    low, high = _masks(size)
    a, b = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    # Seven bits of each byte cannot carry into the next one; the eighth is added without its carry.
    return ((a & low) + (b & low) ^ (a ^ b) & high).to_bytes(size, "little")


def _masks(size: int) -> tuple[int, int]:
    return _small_masks(size) if size < 256 or size == _SUMMED_TOGETHER else _make_masks(size)


def _make_masks(size: int) -> tuple[int, int]:
    return int.from_bytes(b"\x7f" * size, "little"), int.from_bytes(b"\x80" * size, "little")


@cache
def _small_masks(size: int) -> tuple[int, int]:
    return _make_masks(size)
