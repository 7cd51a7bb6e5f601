"""The keys that releases are signed with, and the root that tells devices which keys to believe.

Three Ed25519 keys, as files: `root.pem` signs only the root (keep it offline), `targets.pem` says which artifact a
channel gets, `online.pem` says that this is the newest word. What they sign is left to `repository`.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from edge_agent.errors import InputError

ROOT_FILE = "root.json"
ROLES = {"root": "root", "targets": "targets", "snapshot": "online", "timestamp": "online"}  # role → key
_ROOT_DAYS = 3650  # devices outlive laptops; replacing it needs a signature by the old one


@dataclass(frozen=True, slots=True)
class Keys:
    """What a publisher needs: the root as the devices have it, and the two keys that sign releases."""

    root: bytes
    targets: CryptoSigner
    online: CryptoSigner


def make_keys(directory: Path, *, now: datetime | None = None) -> list[Path]:
    """Make keys and root in `directory`. Returns the files made, the root last.

    Raises:
        InputError: there is one of them already; keys are never overwritten.
    """
    names = [*dict.fromkeys(f"{key}.pem" for key in ROLES.values()), ROOT_FILE]
    there = [name for name in names if (directory / name).exists()]
    if there:
        raise InputError(
            f"{directory} holds {', '.join(there)} already",
            hint="devices believe only these; make other keys in another directory",
        )
    signers = {key: CryptoSigner.generate_ed25519() for key in dict.fromkeys(ROLES.values())}
    expires = (now or datetime.now(UTC)).replace(microsecond=0) + timedelta(days=_ROOT_DAYS)
    root = Root(expires=expires, consistent_snapshot=True)
    for role, key in ROLES.items():
        root.add_key(signers[key].public_key, role)
    metadata = Metadata(root)
    metadata.sign(signers["root"])
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for key, signer in signers.items():
            _write_new(directory / f"{key}.pem", signer.private_bytes, mode=0o600)
        _write_new(directory / ROOT_FILE, metadata.to_bytes(), mode=0o644)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}", hint="choose a directory you may write to") from error
    return [directory / name for name in names]


def read_keys(directory: Path) -> Keys:
    """The keys in `directory`. `root.pem` is not needed to publish.

    Raises:
        InputError: files are missing or damaged, or the keys are not those the root names.
    """
    root = _read(directory / ROOT_FILE)
    try:
        named = Metadata[Root].from_bytes(root).signed
        return Keys(root, _read_signer(directory, named, "targets"), _read_signer(directory, named, "timestamp"))
    except (RepositoryError, UnsupportedAlgorithm, TypeError, ValueError) as error:  # TypeError: a passphrase is set
        raise InputError(
            f"the keys in {directory} cannot be used: {error}", hint="restore them from your backup of that directory"
        ) from error


def _read_signer(directory: Path, root: Root, role: str) -> CryptoSigner:
    path = directory / f"{ROLES[role]}.pem"
    signer = CryptoSigner(load_pem_private_key(_read(path), None))
    if signer.public_key.keyid not in root.roles[role].keyids:
        raise ValueError(f"{path.name} is not the {role} key that {ROOT_FILE} names")
    return signer


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}",
            hint="pass the directory of your keys with --keys; if there are none yet, make them: edgectl keys init",
        ) from error


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
