"""Making patches against what the fleet has: which bases are worth it, and what each patch saves.

A patch is published only where it is much smaller than the chunks it replaces, and only once it has been applied here
with the device's own code. Where the bytes of a base come from is left to `bases`; bsdiff is the extra `converter`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.errors import EdgeError
from edge_agent.release.archive import Artifact
from edge_agent.release.chunks import cut, digest_of_chunk, pack
from edge_agent.release.patch import MAX_MEMBER_BYTES, MAX_PATCH_CHUNKS, Patch, apply_patch

MAX_BASES = 3  # releases that patches are made against: the commonest of the fleet
WORTH_SHARE = 0.9  # of the bytes of the chunks it replaces: a larger patch is not published
_WORTH_BYTES = 1000  # a patch costs everybody some hundred bytes of the document


class PatchesUnavailableError(EdgeError):
    """bsdiff is not installed here."""


@dataclass(frozen=True, slots=True)
class Base:
    """A release that devices have, with the bytes of its members."""

    name: str  # for a person: "birds 1.0.0" or a file
    devices: int  # that have it; 0: not learned from the fleet
    members: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class PatchMade:
    """What is told of a patch that is published."""

    member: str
    base: str  # the name of its base
    devices: int
    bytes: int
    instead_of_bytes: int


@dataclass(frozen=True, slots=True)
class Patches:
    """All patches of a release, with their chunks as they travel."""

    patches: tuple[Patch, ...] = ()
    chunks: Mapping[str, bytes] = field(default_factory=dict)  # digest → payload
    made: tuple[PatchMade, ...] = ()
    skipped: tuple[str, ...] = ()  # why others were not made, a line each


def bases_of(artifacts: Iterable[Artifact]) -> list[Base]:
    """Releases that stand in files here."""
    return [Base(artifact.path.name, 0, artifact.members) for artifact in artifacts]


def make_patches(members: Mapping[str, bytes], bases: Sequence[Base]) -> Patches:
    """Patches that make `members` out of those of `bases`, as far as they are worth it.

    Raises:
        PatchesUnavailableError: bsdiff is not installed.
    """
    patches: list[Patch] = []
    chunks: dict[str, bytes] = {}
    made: list[PatchMade] = []
    skipped: list[str] = []
    seen: set[tuple[str, str]] = set()
    for base in bases:
        for member, content in members.items():
            old = base.members.get(member)
            key = (member, hashlib.sha256(old or b"").hexdigest())
            if old is None or old == content or key in seen:
                continue
            seen.add(key)
            found = make_patch(member, old, content)
            if isinstance(found, str):
                skipped.append(f"no patch for {member} from {base.name}: {found}")
                continue
            patch, plaintext = found
            if sum(len(other.chunks) for other in (*patches, patch)) > MAX_PATCH_CHUNKS:
                skipped.append(f"no patch for {member} from {base.name}: the document has no room for more")
                continue
            patches.append(patch)
            chunks |= {digest_of_chunk(chunk): pack(chunk) for chunk in cut(plaintext)}
            made.append(PatchMade(member, base.name, base.devices, patch.size_bytes, patch.replaces_bytes))
    return Patches(tuple(patches), chunks, tuple(made), tuple(skipped))


def make_patch(member: str, base: bytes, content: bytes) -> tuple[Patch, bytes] | str:
    """The patch from `base` to `content` and its bytes; or why none is published."""
    held = {digest_of_chunk(chunk) for chunk in cut(base)}
    missing = {digest_of_chunk(chunk): chunk for chunk in cut(content) if digest_of_chunk(chunk) not in held}
    replaces_bytes = sum(len(pack(chunk)) for chunk in missing.values())
    if replaces_bytes <= _WORTH_BYTES:
        return f"its chunks are {replaces_bytes:,} bytes"
    if max(len(base), len(content)) > MAX_MEMBER_BYTES or not base:
        return f"patches are for members of at most {MAX_MEMBER_BYTES / 1e6:.0f} MB"
    plaintext = _diff(base, content)
    if len(plaintext) > min(WORTH_SHARE * replaces_bytes, replaces_bytes - _WORTH_BYTES):
        return f"{len(plaintext):,} bytes instead of {replaces_bytes:,} are not worth it"
    chunks = tuple(digest_of_chunk(chunk) for chunk in cut(plaintext))
    if len(chunks) > MAX_PATCH_CHUNKS:
        return f"{len(plaintext):,} bytes are too many for one"
    if apply_patch(base, plaintext, len(content)) != content:
        raise EdgeError(f"the patch for {member} does not make what it was made from", hint="push with --no-patches")
    patch = Patch(
        member=member,
        base=hashlib.sha256(base).hexdigest(),
        digest=hashlib.sha256(plaintext).hexdigest(),
        size_bytes=len(plaintext),
        chunks=chunks,
        replaces_bytes=replaces_bytes,
        replaces_plain_bytes=sum(map(len, missing.values())),
    )
    return patch, plaintext


def _diff(base: bytes, content: bytes) -> bytes:
    try:
        import bsdiff4
    except ImportError as error:
        raise PatchesUnavailableError(
            "patches cannot be made: bsdiff4 is not installed",
            hint="pip install 'edge-deploy[converter]', or make none: push --no-patches, export without --patch-from",
        ) from error
    made: bytes = bsdiff4.diff(base, content)
    return made
