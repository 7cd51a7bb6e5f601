"""Signing release documents, and reading the one that is published.

The number of a document is the time, or that of the one it follows plus one if that is more: a broker that has
forgotten its documents, or shows older ones again, must not make the next release look like one that devices have
seen. Sending is left to `push`; what devices check, to `edge_agent.release.trust`.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from converter.publish.keys import Keys
from edge_agent.release import trust
from edge_agent.release.document import Target, custom_of, format_document, parse_document, target_path

TIMESTAMP_DAYS = 90  # how long a document is believed to be the newest word
_RELEASE_DAYS = 1095  # how long what it says is believed, freshly stamped
Role = TypeVar("Role", Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class Published:
    """The document on the broker, signed by our keys."""

    target: Target
    number: int
    expires: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether it had better be signed again: half its time is over."""
        return self.expires - now < timedelta(days=TIMESTAMP_DAYS / 2)


def sign_document(keys: Keys, target: Target, number: int, now: datetime) -> bytes:
    """A release document for `target`, numbered `number`."""
    name = target_path(target.model, target.channel)
    entry = TargetFile(target.size_bytes, {"sha256": target.digest}, name, {"custom": custom_of(target)})
    lasts = _after(now, _RELEASE_DAYS)
    targets = _signed(Targets(version=number, expires=lasts, targets={name: entry}), keys.targets)
    snapshot = Snapshot(version=number, expires=lasts, meta={"targets.json": _meta(number, targets)})
    signed_snapshot = _signed(snapshot, keys.online)
    fresh = _after(now, TIMESTAMP_DAYS)
    timestamp = Timestamp(version=number, expires=fresh, snapshot_meta=_meta(number, signed_snapshot))
    signed_timestamp = _signed(timestamp, keys.online)
    return format_document(
        {
            f"{number}.targets.json": targets.decode(),
            f"{number}.snapshot.json": signed_snapshot.decode(),
            "timestamp.json": signed_timestamp.decode(),
        }
    )


def read_document(keys: Keys, payload: bytes, *, model: str, channel: str) -> Published:
    """The document in `payload`, expired or not.

    Raises:
        TrustError: it is not signed by our keys, damaged, or of another channel.
    """
    epoch = 0.0  # long before anything expires: whether it has is not asked here
    verified = trust.verify(keys.root, None, payload, model=model, channel=channel, now_s=epoch, floor_s=epoch)
    timestamp = Metadata[Timestamp].from_bytes(parse_document(payload)["timestamp.json"].encode()).signed
    return Published(verified.target, timestamp.version, timestamp.expires)


def next_number(published: Published | None, now: datetime) -> int:
    """The time in seconds, or what comes after the number that is there."""
    return max(int(now.timestamp()), published.number + 1 if published else 0)


def _signed(content: Role, signer: Signer) -> bytes:
    metadata = Metadata(content)
    metadata.sign(signer)
    return metadata.to_bytes()


def _meta(number: int, content: bytes) -> MetaFile:
    return MetaFile(number, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


def _after(now: datetime, days: int) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + timedelta(days=days)
