"""Laying out a release for a web server: one file, of which devices ask for the parts that they lack.

Several releases can share a directory. Copying it to the server is left to whatever the server likes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from converter.publish.parcel import Parcel
from converter.publish.succession import PublishError
from edge_agent.clock import SystemClock
from edge_agent.disk import open_disk
from edge_agent.errors import ArtifactError, FetchError, InputError
from edge_agent.link.https import HttpsSource
from edge_agent.link.pace import Pace
from edge_agent.release.chunks import unpack
from edge_agent.release.pack_file import SUFFIX, format_pack, parse_table


@dataclass(frozen=True, slots=True)
class Exported:
    """The file. Bytes as they travel, compressed."""

    file: str
    chunks: int
    size_bytes: int
    written: bool  # else it was there


def export(parcel: Parcel, directory: Path) -> Exported:
    """Write `directory`/<release>.pack, whole or not at all: a server may be serving it already.

    Keyring and index stand first: a device reads them first, and they come with the table.

    Raises:
        StorageError: the directory cannot be written to.
    """
    target = parcel.target
    chunks = {digest: parcel.chunks[digest] for digest in (*target.keyring, *target.index_chunks)} | parcel.chunks
    disk, name, content = open_disk(directory), target.digest + SUFFIX, format_pack(chunks)
    written = disk.size(name) != len(content) or disk.read(name) != content
    if written:
        disk.write_atomic(name, content)
    return Exported(name, len(chunks), len(content), written)


def read_exported(path: Path) -> dict[str, bytes]:
    """Every blob in an exported file, or in all of a directory, checked, digest to payload.

    Raises:
        InputError: there is none, or one is not what its name says.
    """
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no {SUFFIX} files", hint="make them: edgectl export FILE DIRECTORY")
    chunks: dict[str, bytes] = {}
    for file in files:
        chunks.update(_read(file))
    return chunks


def check_served(base: str, release: str, chunks: Mapping[str, bytes], ca_file: Path | None) -> None:
    """Whether the web server at `base` has all of a release: by its table, and its last byte.

    Raises:
        PublishError: it has not, or cannot be asked; says what to do.
    """
    clock = SystemClock()
    source = HttpsSource(base, release, Pace(clock), clock, ca_file=ca_file)
    try:
        table = source.read_places()
        last = list(table)[-1:]  # a copy that was cut off lacks it
        source.collect(last, lambda _digest, _content: None, cancelled=lambda: False, trouble=None)
    except FetchError as error:
        raise PublishError(
            f"{error}", hint="put there what 'edgectl export' made, or pass --unchecked-source"
        ) from error
    lacking = [digest for digest in chunks if digest not in table]
    if lacking:
        raise PublishError(
            f"{base}/{release}{SUFFIX} lacks {len(lacking)} of {len(chunks)} chunks",
            hint="export it anew and copy it there, or pass --unchecked-source",
        )


def _read(path: Path) -> dict[str, bytes]:
    try:
        content = path.read_bytes()
        places = parse_table(content)
        chunks = {digest: content[place.offset : place.end] for digest, place in places.items()}
        for digest, payload in chunks.items():
            unpack(payload, digest)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint="check who may read it") from error
    except ArtifactError as error:
        raise InputError(f"{path}: {error}", hint="export the release anew: edgectl export") from error
    return chunks
