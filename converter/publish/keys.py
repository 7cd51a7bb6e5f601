"""The key directory: private keys of this laptop as files, and every root since the first.

Ed25519 keys for three jobs: `root*.pem` signs only roots (keep it offline), `targets*.pem` says which artifact a
channel gets, `online*.pem` says that this is the newest word. What a root says is left to `roots`; what the keys sign,
to `repository`.

`root.json` is the root that counts; `1.root.json`, `2.root.json`, … are it and those before it. A new root counts from
the moment `root.json` is replaced, and by then every key of ours that it names is on the disk: a kill leaves the old
one or the new one.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.hazmat.primitives.serialization import load_pem_public_key as load_public_key
from securesystemslib.exceptions import FormatError
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError

from converter.publish import roots
from converter.publish.roots import JOBS, Job
from edge_agent.disk import Disk, RealDisk
from edge_agent.errors import EdgeError, InputError, StorageError

ROOT_FILE = "root.json"
MAKE = "pass the directory of your keys with --keys; if there are none yet, make them: edgectl keys init"
_BACKUP = "restore it from your backup of that directory"
_SECRET, _PUBLIC = 0o600, 0o644
_PRIVATE_NAME = re.compile(r"(root|targets|online)(-[0-9a-f]{8})?\.pem")


@dataclass(frozen=True, slots=True)
class Keys:
    """What a publisher needs: the root that counts, and the keys of this laptop that it names."""

    root: bytes
    targets: tuple[CryptoSigner, ...]
    online: tuple[CryptoSigner, ...]
    roots: tuple[bytes, ...] = ()  # without a gap, the oldest first, `root` last; empty: there is only `root`

    @property
    def chain(self) -> tuple[bytes, ...]:
        return self.roots or (self.root,)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key file of the directory."""

    job: Job
    file: str
    signer: CryptoSigner

    @property
    def keyid(self) -> str:
        return self.signer.public_key.keyid


class KeyDirectory:
    """A directory of keys. Reads each time anew; raises InputError for what cannot be read or written."""

    def __init__(self, disk: Disk, secrets: Disk, name: str = "the key directory") -> None:
        self._disk = disk
        self._secrets = secrets  # the same directory, whose new files are for their owner only
        self.name = name

    @classmethod
    def at(cls, directory: Path) -> Self:
        return cls(Disk(RealDisk(directory, mode=_PUBLIC)), Disk(RealDisk(directory, mode=_SECRET)), str(directory))

    # --- reading ------------------------------------------------------------------------------------------------

    def has_root(self) -> bool:
        return self._disk.exists(ROOT_FILE)

    def chain(self) -> tuple[bytes, ...]:
        """The roots without a gap, the oldest first; the last one counts.

        An older one that is missing ends the chain there: documents then carry fewer of them.
        """
        if not self.has_root():
            raise InputError(f"{self.name}/{ROOT_FILE}: there is no such file", hint=MAKE)
        with self._readable(ROOT_FILE):
            chain = [self._disk.read(ROOT_FILE)]
            version = roots.version_of(chain[0])
        while (version := version - 1) >= 1 and self._disk.exists(_name_of(version)):
            with self._readable(_name_of(version)):
                chain.insert(0, self._disk.read(_name_of(version)))
                roots.check_step(chain[0], chain[1])
        return tuple(chain)

    def private_keys(self) -> tuple[PrivateKey, ...]:
        """Every private key here, also those that no root names (yet, or any more)."""
        return tuple(self._private_keys())

    def signers(self, root: bytes, job: Job) -> tuple[CryptoSigner, ...]:
        """The keys here that `root` names for `job`; none where another laptop has them.

        Raises:
            InputError: there are keys for this job here, and `root` names none of them.
        """
        mine = [key for key in self._private_keys(job) if key.job == job]
        named = roots.keyids(root, job)
        found = tuple(key.signer for key in mine if key.keyid in named)
        if mine and not found:
            files = ", ".join(key.file for key in mine)
            what = "is not a key" if len(mine) == 1 else "are not keys"
            raise InputError(
                f"the keys in {self.name} cannot be used: {files} {what} that {ROOT_FILE} names for {job}",
                hint="a new key counts once a root names it: 'edgectl keys add' where a root key is, then "
                "'edgectl keys follow' here; else restore the right one from your backup",
            )
        return found

    def keys(self) -> Keys:
        """What a publisher needs. A root key is not; of several signers each has one of the others.

        Raises:
            InputError: files are missing or damaged, or the keys are not those the root names.
        """
        chain = self.chain()
        targets, online = self.signers(chain[-1], "targets"), self.signers(chain[-1], "online")
        if not targets and not online:
            raise InputError(f"{self.name} holds neither targets.pem nor online.pem", hint=MAKE)
        return Keys(chain[-1], targets, online, chain)

    # --- writing ------------------------------------------------------------------------------------------------

    def store(self, job: Job, signer: CryptoSigner, file: str | None = None) -> str:
        """Keep a new private key; returns its file. It counts once a root names it."""
        file = file or f"{job}-{signer.public_key.keyid[:8]}.pem"
        with self._writable():
            self._secrets.write_atomic(file, signer.private_bytes)
        return file

    def take(self, chain: tuple[bytes, ...]) -> None:
        """Let the last root of `chain` count. Keys it no longer names are set aside, not deleted."""
        with self._writable():
            for root in chain:
                name = _name_of(roots.version_of(root))
                if not self._disk.exists(name) or self._disk.read(name) != root:
                    self._disk.write_atomic(name, root)
            self._disk.write_atomic(ROOT_FILE, chain[-1])
        self._set_aside(chain)

    def _set_aside(self, chain: tuple[bytes, ...]) -> None:
        """Keys of older roots get a name that is not looked at."""
        for key in self._private_keys():
            once = any(key.keyid in roots.keyids(root, key.job) for root in chain[:-1])
            if once and key.keyid not in roots.keyids(chain[-1], key.job):
                with self._writable():
                    self._disk.rename(key.file, f"old.{key.job}-{key.keyid[:8]}.pem")

    # --- inside -------------------------------------------------------------------------------------------------

    def _private_keys(self, job: Job | None = None) -> Iterator[PrivateKey]:
        for file in self._disk.names("."):
            found = _PRIVATE_NAME.fullmatch(file)
            if found is not None and job in (None, found[1]):
                with self._readable(file):
                    of_job = next(each for each in JOBS if each == found[1])
                    yield PrivateKey(of_job, file, CryptoSigner(load_pem_private_key(self._disk.read(file), None)))

    @contextmanager
    def _readable(self, file: str) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise InputError(f"{self.name}/{error}", hint=MAKE) from error
        except TypeError as error:  # load_pem_private_key wants a passphrase
            raise InputError(
                f"the keys in {self.name} cannot be used: {file} is encrypted with a passphrase",
                hint="key files have none; decrypt it (openssl pkey), and keep the directory on an encrypted disk",
            ) from error
        except (RepositoryError, UnsupportedAlgorithm, ValueError, AttributeError, KeyError) as error:
            raise InputError(
                f"the keys in {self.name} cannot be used: {file} is damaged, or something else: {error}", hint=_BACKUP
            ) from error

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise InputError(f"{self.name}/{error}", hint="choose a directory you may write to, with space") from error


def make_keys(directory: Path, *, now: datetime | None = None) -> list[Path]:
    """Make keys and root in `directory`. Returns the files made, the root last.

    Raises:
        InputError: there is one of them already; keys are never overwritten.
    """
    names = [*(f"{job}.pem" for job in JOBS), ROOT_FILE]
    there = [name for name in names if (directory / name).exists()]
    if there:
        raise InputError(
            f"{directory} holds {', '.join(there)} already",
            hint="devices believe only these; make other keys in another directory (if an 'init' was cut off before it "
            "made root.json, they are nobody's: remove them)",
        )
    make_directory(directory)
    keys = KeyDirectory.at(directory)
    made = {job: CryptoSigner.generate_ed25519() for job in JOBS}
    for job, signer in made.items():
        keys.store(job, signer, f"{job}.pem")
    root = roots.first_root({job: signer.public_key for job, signer in made.items()}, now or datetime.now(UTC))
    keys.take((roots.signed(root, (made["root"],)),))
    return [directory / name for name in names]


def make_directory(directory: Path) -> None:
    """For its owner only, where it is new."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}", hint="choose a directory you may write to") from error


def read_keys(directory: Path) -> Keys:
    """The keys in `directory`, see `KeyDirectory.keys`."""
    return KeyDirectory.at(directory).keys()


def make_signer(directory: Path, job: Job) -> tuple[Path, Path]:
    """A new private key in `directory`, which no root names yet, and its public part (PEM): what goes to others."""
    make_directory(directory)
    private = Ed25519PrivateKey.generate()
    file = KeyDirectory.at(directory).store(job, CryptoSigner(private))
    public = (directory / file).with_suffix(".pub")
    write_file(public, private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return directory / file, public


def read_public(path: Path) -> SSlibKey:
    """A public key from a PEM file.

    Raises:
        InputError: it holds none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint="pass the .pub file of the other signer") from error
    if b"PRIVATE KEY" in content:
        raise InputError(
            f"{path} is a private key, which nobody else should ever have",
            hint="ask its owner for the .pub file beside it, and to make another key",
        )
    try:
        return SSlibKey.from_crypto(load_public_key(content))
    except (UnsupportedAlgorithm, ValueError, FormatError) as error:
        raise InputError(
            f"{path} is not a public key: {error}", hint="'edgectl keys new' writes a .pub file"
        ) from error


def read_bytes(path: Path, hint: str) -> bytes:
    """A file that was named on the command line."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint=hint) from error


def _name_of(version: int) -> str:
    return f"{version}.root.json"


def check_is_new(path: Path, hint: str) -> None:
    """Nothing that exists is overwritten."""
    if path.exists():
        raise InputError(f"{path} is there already", hint=hint)


def write_file(path: Path, content: bytes) -> None:
    """Durably."""
    try:
        Disk(RealDisk(path.parent, mode=_PUBLIC)).write_atomic(path.name, content)
    except EdgeError as error:
        raise InputError(f"{path.parent}/{error}", hint="choose a directory you may write to, with space") from error
