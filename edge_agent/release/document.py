"""The release document: a bundle of TUF metadata files, and what it says once its signatures have been checked.

Who may sign it, and the checking, is left to `trust`; how it travels, to `link`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from urllib.parse import urlsplit

from edge_agent import schema
from edge_agent.errors import Reason, TrustError
from edge_agent.release.manifest import DIGEST, IDENTIFIER, VERSION
from edge_agent.release.patch import Patch
from edge_agent.release.rollout import Rollout

MAX_SOURCES = 8
_SOURCE = re.compile(r"https://[^\s?#@\x00-\x1f\x7f-\U0010ffff]{1,500}")
MAX_DOCUMENT_BYTES = 60_000
SIGNED_FIELD = "created"  # of the timestamp: RFC 3339, UTC, when it was signed; the newest seen is a clock floor
_ROOT = re.compile(r"[1-9][0-9]{0,8}\.root\.json")
_PUSH_AGAIN = "push again; if something else writes to this topic, keep it away with the broker's access list"


@dataclass(frozen=True, slots=True)
class Lifts:
    """An order to forget the rejection of releases. A device carries it out once, and remembers its number."""

    number: int = 0  # of the document that gave it first; higher than any before on this channel
    digests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 0 or not all(DIGEST.fullmatch(digest) for digest in self.digests):
            raise ValueError("an order to lift rejections has a number and digests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """What TUF's own target entry (path, length, sha-256: those of the artifact) does not say."""

    model: str
    channel: str
    version: str
    index: str  # sha-256 of the index blob
    index_chunks: tuple[str, ...]  # an index larger than one chunk is cut like a member
    created: str  # RFC 3339, UTC
    device_class: str = ""  # the only class of devices it is for; empty: for any
    sources: tuple[str, ...] = ()  # https:// directories that hold the same blobs, asked before the broker
    keyring: tuple[str, ...] = ()  # chunks of the keyring; without any the release is not encrypted
    inventory: tuple[str, ...] = ()  # chunks of the list of an encrypted one's blobs, for who collects garbage
    patches: tuple[Patch, ...] = ()  # shorter ways to a member, for devices that hold what they start from
    rollout: Rollout = field(default_factory=Rollout)
    downgrade: bool = False  # an order to take this release also where a newer version serves
    lifts: Lifts = field(default_factory=Lifts)
    # what the channel gave before, newest first, each with its rollout as it stood; without `previous` of their own
    previous: tuple["Target", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Custom):
    """The signed content of a release document."""

    digest: str  # sha-256 of the artifact
    size_bytes: int  # of the artifact

    def __post_init__(self) -> None:
        for what, text in (("model", self.model), ("channel", self.channel)):
            if not IDENTIFIER.fullmatch(text):
                raise ValueError(f"{what} {text!r} is not an identifier")
        if not VERSION.fullmatch(self.version):
            raise ValueError(f"version {self.version!r} is not a version")
        digests = (self.digest, self.index, *self.index_chunks, *self.keyring, *self.inventory)
        if not all(DIGEST.fullmatch(text) for text in digests):
            raise ValueError("a digest is not 64 hexadecimal digits")
        if self.device_class and not IDENTIFIER.fullmatch(self.device_class):
            raise ValueError(f"device class {self.device_class!r} is not an identifier")
        if self.size_bytes <= 0 or not self.index_chunks:
            raise ValueError("an artifact has a size and an index")
        if any((each.model, each.channel) != (self.model, self.channel) for each in self.previous):
            raise ValueError("what the channel gave before is of another model or channel")
        check_sources(self.sources)


def check_sources(urls: Sequence[str]) -> None:
    """Raise ValueError unless all are https:// URLs of directories."""
    if len(urls) > MAX_SOURCES:
        raise ValueError(f"{len(urls)} sources; at most {MAX_SOURCES}")
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or not _SOURCE.fullmatch(url):
            raise ValueError(f"source {url[:100]!r} must be https://HOST[:PORT]/PATH, without user, query or fragment")


def target_path(model: str, channel: str) -> str:
    """The name under which a channel's artifact stands in the signed targets."""
    return f"{model}/{channel}"


def custom_of(target: Target) -> dict[str, object]:
    """The `custom` part of the signed target, as plain JSON."""
    tree = schema.dump(target)
    return {each.name: tree[each.name] for each in fields(Custom) if each.name in tree}


def target_of(custom: object, *, digest: str, size_bytes: int) -> Target:
    """The target that a signed entry describes.

    Raises:
        ValueError: it describes none.
    """
    try:
        read = schema.parse(Custom, custom, strict=False)
    except schema.SchemaError as error:
        raise ValueError("; ".join(error.problems)) from error
    said = {each.name: getattr(read, each.name) for each in fields(Custom)}
    return Target(**said, digest=digest, size_bytes=size_bytes)


def is_root_name(name: str) -> bool:
    """Whether a file of a document is called like a root."""
    return _ROOT.fullmatch(name) is not None


def parse_time_s(text: str) -> float:
    """RFC 3339 as seconds since the epoch; 0 where that cannot be read."""
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return 0.0


def format_document(files: Mapping[str, str]) -> bytes:
    """The payload of a release topic: metadata file name to its text."""
    return json.dumps(dict(sorted(files.items())), separators=(",", ":"), ensure_ascii=False).encode()


def parse_document(payload: bytes) -> dict[str, str]:
    """The metadata files in a payload. None of them has been checked.

    Raises:
        TrustError: too large, cut off, or not a bundle.
    """
    if len(payload) > MAX_DOCUMENT_BYTES:
        raise TrustError(
            f"the release document has {len(payload)} bytes; at most {MAX_DOCUMENT_BYTES} are read",
            reason=Reason.INTEGRITY,
            hint=_PUSH_AGAIN,
        )
    try:
        tree = json.loads(payload.decode())
    except (ValueError, RecursionError) as error:
        raise TrustError(
            f"the release document is not JSON: {error}", reason=Reason.INTEGRITY, hint=_PUSH_AGAIN
        ) from error
    if not isinstance(tree, dict) or not all(isinstance(text, str) for text in tree.values()):
        raise TrustError(
            "the release document is not an object of metadata files", reason=Reason.INTEGRITY, hint=_PUSH_AGAIN
        )
    return tree
