"""What a release document says once its signatures have been checked: which artifact a channel wants.

Who may sign it, and the checking, is left to `trust`; how it travels, to `link`.
"""

from dataclasses import dataclass

from edge_agent.release.manifest import DIGEST, IDENTIFIER, VERSION

MAX_DOCUMENT_BYTES = 60_000


@dataclass(frozen=True, slots=True)
class Target:
    """The signed content of a release document."""

    model: str
    channel: str
    version: str
    digest: str  # sha-256 of the artifact
    size_bytes: int  # of the artifact
    index: str  # sha-256 of the index blob
    index_chunks: tuple[str, ...]  # an index larger than one chunk is cut like a member
    created: str  # RFC 3339, UTC; the newest one seen is the device's clock floor

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
