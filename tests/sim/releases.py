"""Releases to update to, small and made on the spot. Their models are noise: nothing here loads them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from converter.publish.patches import Base, make_patches
from edge_agent.errors import FetchError, Reason
from edge_agent.release import sealing
from edge_agent.release.archive import format_archive
from edge_agent.release.chunks import build_index, cut, digest_of_chunk, format_index, pack, unpack
from edge_agent.release.document import Target
from edge_agent.release.inputs import TensorInput
from edge_agent.release.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    FileEntry,
    Limits,
    Manifest,
    format_manifest,
)
from edge_agent.release.patch import apply_patch
from edge_agent.release.sealing import Purpose
from edge_agent.update.patcher import PatchJob

CREATED = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, eq=False)
class SimRelease:
    """An artifact with all that a publisher makes of it."""

    members: Mapping[str, bytes]
    artifact: bytes
    target: Target
    blobs: Mapping[str, bytes]  # digest → plaintext, chunks of the index among them

    @property
    def digest(self) -> str:
        return self.target.digest

    @property
    def chunk_digests(self) -> set[str]:
        return set(self.blobs) - set(self.target.index_chunks)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.artifact)
        return path


def noise(size_bytes: int, seed: str) -> bytes:
    return Random(seed).randbytes(size_bytes)


def make_release(
    version: str, model: bytes | None = None, *, name: str = "birds", labels: bytes = b"crow\nowl\n", **limits: float
) -> SimRelease:
    """A release of noise. `limits` are those of the manifest."""
    members = {MODEL_FILE: noise(130_000, version) if model is None else model, LABELS_FILE: labels}
    manifest = Manifest(
        name=name,
        version=version,
        task="raw",
        input=TensorInput(),
        files={name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in members.items()},
        created=CREATED,
        limits=Limits(**limits),  # type: ignore[arg-type]  # whole numbers are numbers
    )
    return publish({MANIFEST_FILE: format_manifest(manifest), **members}, name=name, version=version)


def publish(members: Mapping[str, bytes], *, name: str = "birds", version: str = "1") -> SimRelease:
    """What a publisher makes of members, right or wrong."""
    artifact = format_archive(members)
    index = format_index(build_index(members))
    index_chunks = list(cut(index))
    target = Target(
        model=name,
        channel="stable",
        version=version,
        digest=hashlib.sha256(artifact).hexdigest(),
        size_bytes=len(artifact),
        index=hashlib.sha256(index).hexdigest(),
        index_chunks=tuple(digest_of_chunk(chunk) for chunk in index_chunks),
        created=CREATED,
    )
    chunks = [chunk for content in members.values() for chunk in cut(content)]
    return SimRelease(members, artifact, target, {digest_of_chunk(chunk): chunk for chunk in (*index_chunks, *chunks)})


def seal_release(
    release: SimRelease, *recipients: bytes, content_key: bytes = bytes(32), **changes: object
) -> SimRelease:
    """The same release, encrypted for these public keys. `changes` are of the signed target, right or wrong."""
    sealed = {
        digest: sealing.seal(content_key, Purpose.CHUNK, pack(release.blobs[digest]))
        for digest in release.chunk_digests
    }
    plain = build_index(release.members)
    index = format_index(replace(plain, blobs={digest: digest_of_chunk(blob) for digest, blob in sealed.items()}))
    index_blobs = [sealing.seal(content_key, Purpose.INDEX, pack(chunk)) for chunk in cut(index)]
    keyring = list(cut(sealing.make_keyring(content_key, release.digest, recipients)))
    fields: dict[str, object] = {
        "index": digest_of_chunk(index),
        "index_chunks": tuple(map(digest_of_chunk, index_blobs)),
        "keyring": tuple(map(digest_of_chunk, keyring)),
        **changes,
    }
    target = replace(release.target, **fields)  # type: ignore[arg-type]  # chosen by name
    blobs = {digest_of_chunk(blob): blob for blob in (*sealed.values(), *index_blobs, *keyring)}
    return SimRelease(release.members, release.artifact, target, blobs)


def with_patches(release: SimRelease, *bases: SimRelease) -> SimRelease:
    """The release as it is published for devices that have one of `bases`."""
    made = make_patches(release.members, [Base("a base", 1, base.members) for base in bases])
    blobs = {digest: unpack(payload, digest) for digest, payload in made.chunks.items()}
    target = replace(release.target, patches=made.patches)
    return replace(release, target=target, blobs={**release.blobs, **blobs})


def patch_here(job: PatchJob) -> Iterator[bytes]:
    """A `Patcher` without a child process."""
    yield from cut(apply_patch(b"".join(job.base), b"".join(job.patch), job.result_bytes))


class SimTransport:
    """`ChunkTransport` over a dictionary. Counts what it carries."""

    def __init__(self, *releases: SimRelease) -> None:
        self.blobs: dict[str, bytes] = {}
        self.carried: list[str] = []  # digests, in order
        self.breaks_after: int | None = None  # chunks, then the link fails
        self.on_chunk: Callable[[str], None] = lambda digest: None  # before each
        self.add(*releases)

    def add(self, *releases: SimRelease) -> None:
        for release in releases:
            self.blobs.update(release.blobs)

    def collect(
        self,
        digests: Sequence[str],
        take: Callable[[str, bytes], None],
        *,
        cancelled: Callable[[], bool],
        trouble: Callable[[Reason, str], None],
    ) -> None:
        for digest in digests:
            if cancelled():
                return
            if self.breaks_after == 0:
                raise FetchError("the link broke", reason=Reason.MISSING_CHUNK)
            if digest not in self.blobs:
                trouble(Reason.MISSING_CHUNK, f"chunk {digest[:12]} is not there")
                continue
            self.on_chunk(digest)
            take(digest, self.blobs[digest])
            self.carried.append(digest)
            if self.breaks_after is not None:
                self.breaks_after -= 1
