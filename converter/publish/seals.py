"""The content keys of encrypted releases, kept beside the signing keys: `content/<digest>.json`, for their owner only.

Kept, so that a push that was interrupted sends nothing twice, a broker can be seeded, and a device can be added to a
release that is out. Whoever was a recipient of a release once can read that one for ever; the next one has a new key.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent import schema
from edge_agent.disk import Disk, open_private
from edge_agent.errors import InputError
from edge_agent.release.sealing import KEY_BYTES, format_public, make_key, make_keyring


@dataclass(frozen=True, slots=True)
class ReleaseSeal:
    """What seals the blobs of one release, and the keyring that goes with them."""

    content_key: bytes
    keyring: bytes


@dataclass(frozen=True, slots=True)
class _Kept:
    content_key: str
    keyring: str
    recipients: tuple[str, ...]


def seal_for(keys: Path, digest: str, recipients: Mapping[str, bytes]) -> ReleaseSeal:
    """The seal of the artifact `digest` for these public keys: the kept one where nothing has changed.

    Raises:
        InputError: a recipient's key is of small order, or what was kept cannot be read.
        StorageError: it cannot be kept.
    """
    disk = open_private(keys)
    kept = _read(disk, digest)
    names = tuple(sorted(format_public(public) for public in recipients.values()))
    if kept is not None and kept.recipients == names:
        return _seal_of(kept)
    content_key = make_key() if kept is None else _seal_of(kept).content_key
    try:
        keyring = make_keyring(content_key, digest, recipients.values())
    except ValueError as error:
        raise InputError(
            f"a recipient's key cannot be used: {error}", hint="take what 'edge-agent keys show' prints on the device"
        ) from error
    tree = _Kept(_to_text(content_key), _to_text(keyring), names)
    disk.write_atomic(_name(digest), json.dumps(schema.dump(tree)).encode())
    return ReleaseSeal(content_key, keyring)


def kept_seal(keys: Path, digest: str) -> ReleaseSeal | None:
    """The seal that this artifact was encrypted with before, by whoever uses these keys."""
    if not keys.is_dir():
        return None
    kept = _read(open_private(keys), digest)
    return None if kept is None else _seal_of(kept)


def _read(disk: Disk, digest: str) -> _Kept | None:
    if not disk.exists(_name(digest)):
        return None
    try:
        return schema.parse(_Kept, json.loads(disk.read(_name(digest))), strict=False)
    except (ValueError, schema.SchemaError) as error:
        raise _unreadable(digest, error) from error


def _seal_of(kept: _Kept) -> ReleaseSeal:
    try:
        seal = ReleaseSeal(
            base64.b64decode(kept.content_key, validate=True), base64.b64decode(kept.keyring, validate=True)
        )
        if len(seal.content_key) != KEY_BYTES:
            raise ValueError(f"a content key of {len(seal.content_key)} bytes")  # noqa: TRY301  # one place for all
    except ValueError as error:
        raise _unreadable("…", error) from error
    return seal


def _unreadable(digest: str, error: Exception) -> InputError:
    return InputError(
        f"the content key content/{digest[:12]}… beside the signing keys is damaged: {error}",
        hint="restore it, or remove it: then everything is encrypted and sent anew",
    )


def _name(digest: str) -> str:
    return f"content/{digest}.json"


def _to_text(content: bytes) -> str:
    return base64.b64encode(content).decode()
