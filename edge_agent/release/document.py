"""The release document: a bundle of TUF metadata files, and what it says once its signatures have been checked.

Who may sign it, and the checking, is left to `trust`; how it travels, to `link`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from edge_agent import schema
from edge_agent.errors import Reason, TrustError
from edge_agent.release.manifest import DIGEST, IDENTIFIER, VERSION
from edge_agent.release.patch import Patch

MAX_DOCUMENT_BYTES = 60_000
_PUSH_AGAIN = "push again; if something else writes to this topic, keep it away with the broker's access list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """What TUF's own target entry (path, length, sha-256: those of the artifact) does not say."""

    model: str
    channel: str
    version: str
    index: str  # sha-256 of the index blob
    index_chunks: tuple[str, ...]  # an index larger than one chunk is cut like a member
    created: str  # RFC 3339, UTC; the newest one seen is the device's clock floor
    patches: tuple[Patch, ...] = ()  # shorter ways to a member, for devices that hold what they start from


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
        if not all(DIGEST.fullmatch(text) for text in (self.digest, self.index, *self.index_chunks)):
            raise ValueError("a digest is not 64 hexadecimal digits")
        if self.size_bytes <= 0 or not self.index_chunks:
            raise ValueError("an artifact has a size and an index")


def target_path(model: str, channel: str) -> str:
    """The name under which a channel's artifact stands in the signed targets."""
    return f"{model}/{channel}"


def custom_of(target: Target) -> dict[str, object]:
    """The `custom` part of the signed target, as plain JSON."""
    tree = schema.dump(target)
    return {field.name: tree[field.name] for field in fields(Custom) if field.name in tree}


def target_of(custom: object, *, digest: str, size_bytes: int) -> Target:
    """The target that a signed entry describes.

    Raises:
        ValueError: it describes none.
    """
    try:
        read = schema.parse(Custom, custom, strict=False)
    except schema.SchemaError as error:
        raise ValueError("; ".join(error.problems)) from error
    said = {field.name: getattr(read, field.name) for field in fields(Custom)}
    return Target(**said, digest=digest, size_bytes=size_bytes)


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
