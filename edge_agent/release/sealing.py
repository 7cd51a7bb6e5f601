"""Encrypting the blobs of a release for the devices that may read it: keys, the keyring, and what travels.

A release has a content key of its own, fresh and random. Its chunks and its index are sealed with it by
ChaCha20-Poly1305 (RFC 8439) and named by the sha-256 of what comes of it. The keyring holds the content key once for
each recipient, wrapped as age does it (https://age-encryption.org/v1, "The X25519 recipient type"): X25519 with an
ephemeral key, HKDF-SHA-256 over the shared secret with both public keys as salt, ChaCha20-Poly1305 with a zero nonce,
because that key seals one thing only. Unlike age's, a keyring has one ephemeral key for all recipients, so that a
device computes one exchange and finds its entry by a tag that nobody else can compute. That the keyring is the
publisher's is said by the signed target, which names it.

The nonce of a chunk is a MAC of what is sealed, under a key derived for that alone, and travels in front: so the same
release sealed again gives the same bytes, and equal nonces mean equal content. With a counter the key would have to
be thrown away with every interrupted push, or another zlib on another laptop would one day seal other bytes under a
nonce that was used.

cryptography is imported when something is sealed or opened, never before: a device without encryption does not pay
for it.
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

from edge_agent.errors import ArtifactError, Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEY_BYTES = 32
MAX_KEYRING_BYTES = 60_000 * 40  # about 42,000 recipients
PUBLIC_PREFIX = "edge-x25519:"
SECRET_PREFIX = "edge-x25519-secret:"  # noqa: S105  # what a secret begins with
_NONCE_BYTES = 12
_TAG_BYTES = 8
_WRAPPED_BYTES = KEY_BYTES + 16
_ENTRY_BYTES = _TAG_BYTES + _WRAPPED_BYTES
_MAGIC = b"edge-deploy keyring 1\n"


class Purpose(Enum):
    """What a blob is: sealed as one, it cannot be opened as another."""

    CHUNK = b"edge-deploy chunk 1"
    INDEX = b"edge-deploy index 1"


# --- keys -------------------------------------------------------------------------------------------------------


def make_key() -> bytes:
    """A random X25519 secret, or content key."""
    return secrets.token_bytes(KEY_BYTES)


def public_of(secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def format_public(public: bytes) -> str:
    return PUBLIC_PREFIX + _to_text(public)


def parse_public(text: str) -> bytes:
    """The public key in `edge-x25519:…`, or ValueError. Whether it is of any use is found by `make_keyring`."""
    return _from_text(text, PUBLIC_PREFIX)


def format_secret(secret: bytes) -> str:
    return SECRET_PREFIX + _to_text(secret)


def parse_secret(text: str) -> bytes:
    """The secret key in `edge-x25519-secret:…`, or ValueError, which does not repeat it."""
    return _from_text(text, SECRET_PREFIX)


# --- content ----------------------------------------------------------------------------------------------------


def seal(content_key: bytes, purpose: Purpose, content: bytes) -> bytes:
    """What only those who have the key can read, 28 bytes longer."""
    cipher, nonce_key = _content_cipher(content_key)
    nonce = hmac.digest(nonce_key, purpose.value + b"\n" + content, "sha256")[:_NONCE_BYTES]
    return nonce + cipher.encrypt(nonce, content, purpose.value)


def unseal(content_key: bytes, purpose: Purpose, blob: bytes) -> bytes:
    """What was sealed.

    Raises:
        ArtifactError: with another key, as something else, or not at all.
    """
    from cryptography.exceptions import InvalidTag

    cipher, _ = _content_cipher(content_key)
    try:
        return cipher.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], purpose.value)
    except (InvalidTag, ValueError) as error:  # ValueError: too short for a nonce
        raise ArtifactError(
            "a blob of this release was not encrypted with the key in its keyring",
            reason=Reason.INTEGRITY,
            hint="push the release again",
        ) from error


# --- the keyring ------------------------------------------------------------------------------------------------


def make_keyring(content_key: bytes, digest: str, recipients: Iterable[bytes]) -> bytes:
    """The content key of the artifact `digest` for each of the public keys; how many there are is all it tells.

    Raises:
        ValueError: a key is of small order: anybody could read what is wrapped for it.
    """
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    ephemeral = make_key()
    public = public_of(ephemeral)
    entries = []
    for recipient in dict.fromkeys(recipients):
        tag, key = _wrapping(ephemeral, recipient, public + recipient, digest)
        entries.append(tag + ChaCha20Poly1305(key).encrypt(bytes(_NONCE_BYTES), content_key, digest.encode()))
    return _MAGIC + public + b"".join(sorted(entries))  # sorted: their order must not tell who they are


def open_keyring(keyring: bytes, digest: str, secret: bytes) -> bytes | None:
    """The content key; None where the holder of `secret` is no recipient.

    Raises:
        ArtifactError: it is no keyring, or was not made for this artifact.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    start = len(_MAGIC) + KEY_BYTES
    if not keyring.startswith(_MAGIC) or len(keyring) < start or (len(keyring) - start) % _ENTRY_BYTES:
        raise _no_keyring(f"it has {len(keyring)} bytes")
    public = keyring[len(_MAGIC) : start]
    try:
        tag, key = _wrapping(secret, public, public + public_of(secret), digest)
    except ValueError as error:
        raise _no_keyring("its key is of small order") from error
    for offset in range(start, len(keyring), _ENTRY_BYTES):
        if hmac.compare_digest(keyring[offset : offset + _TAG_BYTES], tag):
            wrapped = keyring[offset + _TAG_BYTES : offset + _ENTRY_BYTES]
            try:
                return ChaCha20Poly1305(key).decrypt(bytes(_NONCE_BYTES), wrapped, digest.encode())
            except InvalidTag as error:
                raise _no_keyring("the entry for this device was altered") from error
    return None


def _wrapping(mine: bytes, theirs: bytes, salt: bytes, digest: str) -> tuple[bytes, bytes]:
    """Tag and wrapping key that the two share. ValueError: the exchange gives zero (RFC 7748, section 6.1)."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    try:
        shared = X25519PrivateKey.from_private_bytes(mine).exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:
        raise ValueError("a key of small order") from error
    derived = _derive(shared, salt, b"edge-deploy keyring 1\n" + digest.encode(), _TAG_BYTES + KEY_BYTES)
    return derived[:_TAG_BYTES], derived[_TAG_BYTES:]


def _content_cipher(content_key: bytes) -> "tuple[ChaCha20Poly1305, bytes]":
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    derived = _derive(content_key, b"", b"edge-deploy content 1", 2 * KEY_BYTES)
    return ChaCha20Poly1305(derived[:KEY_BYTES]), derived[KEY_BYTES:]


def _derive(secret: bytes, salt: bytes, purpose: bytes, size_bytes: int) -> bytes:
    """HKDF-SHA-256 (RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), size_bytes, salt or None, purpose).derive(secret)


def _no_keyring(why: str) -> ArtifactError:
    return ArtifactError(
        f"the keyring of this release cannot be used: {why}", reason=Reason.INTEGRITY, hint="push the release again"
    )


def _to_text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def _from_text(text: str, prefix: str) -> bytes:
    if text.startswith(prefix):
        rest = text.removeprefix(prefix)
        try:
            key = base64.b64decode(rest + "=" * (-len(rest) % 4), altchars=b"-_", validate=True)
        except ValueError:
            key = b""
        if len(key) == KEY_BYTES and _to_text(key) == rest:
            return key
    raise ValueError(f"no key: expected {prefix} and 43 characters")
