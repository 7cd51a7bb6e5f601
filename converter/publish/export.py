"""Laying out the chunks of an artifact for a web server: one file a blob, named by its digest.

What is there already is left alone, so that several releases can share a directory. Copying it to the server is left to
whatever the server likes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.disk import open_disk
from edge_agent.errors import ArtifactError, InputError
from edge_agent.release.chunks import MAX_PAYLOAD_BYTES, unpack
from edge_agent.release.manifest import DIGEST


@dataclass(frozen=True, slots=True)
class Exported:
    """Files in the directory. Bytes as they travel, compressed."""

    files: int
    files_written: int
    bytes_written: int


def export(chunks: Mapping[str, bytes], directory: Path) -> Exported:
    """Write each payload to `directory`/<digest>, whole or not at all: a server may be serving it already.

    Raises:
        StorageError: the directory cannot be written to.
    """
    disk = open_disk(directory)
    written = {digest: payload for digest, payload in chunks.items() if disk.size(digest) != len(payload)}
    for digest, payload in written.items():
        disk.write_atomic(digest, payload)
    return Exported(len(chunks), len(written), sum(map(len, written.values())))


def read_exported(directory: Path) -> dict[str, bytes]:
    """Every blob in an exported directory, checked, digest to payload.

    Raises:
        InputError: there is none, or one is not what its name says.
    """
    chunks = {}
    for path in sorted(directory.iterdir()):
        if DIGEST.fullmatch(path.name):
            payload = _read(path)
            try:
                unpack(payload, path.name)
            except ArtifactError as error:
                raise InputError(f"{path}: {error}", hint="export the release anew: edgectl export") from error
            chunks[path.name] = payload
    if not chunks:
        raise InputError(f"{directory} holds no blobs", hint="make them: edgectl export FILE DIRECTORY")
    return chunks


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PAYLOAD_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint="check who may read it") from error
