"""The `.edge` file: a stored, deterministic zip of a manifest and the members it lists.

`write_archive` is the only writer and `digest_of` runs the same code into a hash, so the digest of a release can be
computed from its unpacked members: a device keeps them unpacked (the engine maps the model file) and can still
check at any time that it has what was signed. Cutting members into chunks is left to `chunks`.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.manifest import (
    GOLDEN_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    REPORT_FILE,
    Manifest,
    parse_manifest,
)

# The order in the file: what tells most about it comes first.
MEMBERS = (MANIFEST_FILE, MODEL_FILE, LABELS_FILE, GOLDEN_FILE, REPORT_FILE)
MAX_MANIFEST_BYTES = 1_000_000
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's own first day: no clock in the bytes
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened, checked `.edge` file."""

    path: Path
    digest: str
    size_bytes: int
    manifest: Manifest
    members: Mapping[str, bytes]


Blocks = Callable[[], Iterable[bytes]]


def write_archive(sink: IO[bytes], members: Mapping[str, Blocks]) -> None:
    """Write members (each a callable giving its content in blocks) into `sink`, which need not be seekable."""
    with zipfile.ZipFile(cast("IO[bytes]", _ForwardOnly(sink)), "w", zipfile.ZIP_STORED) as archive:
        for name in MEMBERS:
            if name in members:
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system = 3  # Unix, also when written on Windows
                entry.external_attr = 0o644 << 16
                with archive.open(entry, "w") as file:
                    for block in members[name]():
                        file.write(block)


def format_archive(members: Mapping[str, bytes]) -> bytes:
    """The bytes of an artifact that holds `members`."""
    buffer = io.BytesIO()
    write_archive(buffer, {name: _in_memory(content) for name, content in members.items()})
    return buffer.getvalue()


def digest_of(members: Mapping[str, Blocks]) -> tuple[str, int]:
    """sha-256 and size of the artifact that these members make, without building it."""
    sink = _HashingSink()
    write_archive(cast("IO[bytes]", sink), members)
    return sink.sha256.hexdigest(), sink.size_bytes


def read_artifact(path: Path) -> Artifact:
    """Open an `.edge` file and check that its members are those its manifest lists.

    Raises:
        ArtifactError: not a zip, damaged, members missing, unlisted or with another digest.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path}: {error.strerror or error}", reason=Reason.NOT_A_MODEL, hint="check the path"
        ) from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            stored = [info for info in archive.infolist() if info.filename in MEMBERS]
            if any(info.compress_type != zipfile.ZIP_STORED for info in stored):
                raise zipfile.BadZipFile("its members are compressed")  # noqa: TRY301 - and might be a bomb
            members = {info.filename: archive.read(info) for info in stored}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise not_whole(path, error) from error
    manifest = check_members(members)
    if format_archive(members) != content:
        raise ArtifactError(
            f"{path} was not written by 'edgectl convert': its bytes are not the canonical ones for its members",
            reason=Reason.INTEGRITY,
            hint="do not repack an artifact with another zip program",
        )
    return Artifact(path, hashlib.sha256(content).hexdigest(), len(content), manifest, members)


def not_whole(path: Path, error: Exception) -> ArtifactError:
    """For whoever reads a zip file and finds that it is none."""
    return ArtifactError(
        f"{path} is not a whole .edge artifact: {error}",
        reason=Reason.INTEGRITY,
        hint="make it with 'edgectl convert', or copy it again",
    )


def check_members(members: Mapping[str, bytes]) -> Manifest:
    """The manifest among `members`, once every other member has the digest it lists.

    Raises:
        ArtifactError: a member is missing, unlisted or other than listed.
    """
    if MANIFEST_FILE not in members:
        raise ArtifactError(f"the artifact holds no {MANIFEST_FILE}", reason=Reason.BAD_MANIFEST)
    if len(members[MANIFEST_FILE]) > MAX_MANIFEST_BYTES:
        raise ArtifactError(f"{MANIFEST_FILE} is larger than {MAX_MANIFEST_BYTES} bytes", reason=Reason.BAD_MANIFEST)
    manifest = parse_manifest(members[MANIFEST_FILE])
    found = set(members) - {MANIFEST_FILE}
    if found != set(manifest.files):
        difference = ", ".join(sorted(found ^ set(manifest.files)))
        raise ArtifactError(f"members and manifest disagree about {difference}", reason=Reason.INTEGRITY)
    for name, entry in manifest.files.items():
        content = members[name]
        if len(content) != entry.size_bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ArtifactError(f"{name} is not the one the manifest lists", reason=Reason.INTEGRITY)
    return manifest


def _in_memory(content: bytes) -> Blocks:
    return lambda: (content[start : start + _BLOCK_BYTES] for start in range(0, len(content), _BLOCK_BYTES))


class _ForwardOnly:
    """Hides that a sink can seek: zipfile then writes sizes behind each member, the same way into any sink."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink

    def write(self, content: bytes) -> int:
        return self._sink.write(content)

    def flush(self) -> None:
        self._sink.flush()


class _HashingSink:
    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        self.size_bytes += len(content)
        return len(content)

    def flush(self) -> None:
        """Nothing is held back."""
