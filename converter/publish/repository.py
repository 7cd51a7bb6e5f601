"""Signing release documents, and reading the one that is published.

The number of a document is the time, or that of the one it follows plus one if that is more: a broker that has
forgotten its documents, or shows older ones again, must not make the next release look like one that devices have
seen. Its time of signing is never earlier than that of the one it follows either: devices take the newest they have
seen for the least that their clock can show. Sending is left to `push`; what devices check, to
`edge_agent.release.trust`; documents that wait for more signatures, to `pending`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from converter.publish import roots
from converter.publish.keys import Keys
from converter.publish.roots import Job
from edge_agent.errors import InputError, Reason, TrustError
from edge_agent.release import trust
from edge_agent.release.document import (
    MAX_DOCUMENT_BYTES,
    SIGNED_FIELD,
    Target,
    custom_of,
    format_document,
    is_root_name,
    parse_document,
    target_of,
    target_path,
)

TIMESTAMP_DAYS = 90  # how long a document is believed to be the newest word
_RELEASE_DAYS = 1095  # how long what it says is believed, freshly stamped
Role = TypeVar("Role", Targets, Snapshot, Timestamp)
Files = Mapping[str, str]  # metadata file name to its text, as in a document


class NewerRootError(TrustError):
    """A document of somebody whose keys have changed, and this laptop has not heard."""


@dataclass(frozen=True, slots=True)
class Published:
    """The document on the broker, signed by our keys or by keys that were ours."""

    target: Target
    number: int  # the next one must have more
    expires: datetime
    signed: datetime
    root: int  # the version of the root that it was signed under
    is_current: bool  # whether keys that count now have signed all of it, and it brings devices the newest root
    completed: datetime | None = (
        None  # when the last signature of its content was made; None: it was stamped anew since
    )
    revoked: tuple[str, ...] = ()  # keys that have signed it and that somebody else may have

    def is_due(self, now: datetime) -> bool:
        """Whether it had better be signed again: half its time is over, or keys have changed."""
        return not self.is_current or self.expires - now < timedelta(days=TIMESTAMP_DAYS / 2)

    def now(self, now: datetime) -> datetime:
        """The time to sign the next one with."""
        return max(now, self.signed)


@dataclass(frozen=True, slots=True)
class Lacking:
    """The first part of a document that too few have signed."""

    role: str
    job: Job
    signatures: int  # how many more are needed
    keyids: tuple[str, ...]  # who may give them


def sign_document(keys: Keys, target: Target, number: int, now: datetime) -> bytes:
    """A release document for `target`, numbered `number`, signed by all keys of this laptop.

    Raises:
        InputError: it is larger than what travels.
    """
    targets = _targets(target, number, now).to_bytes().decode()
    return finish_document(keys, {f"{number}.targets.json": targets}, number, now)


def restamp_document(keys: Keys, payload: bytes, target: Target, number: int, now: datetime) -> bytes:
    """The document in `payload` (which says `target`) with a new stamp, under our newest root.

    What still counts of it stays, so that the online key alone can do this as long as no other key has changed.
    """
    files = parse_document(payload)
    targets_name, snapshot_name = _names(files)
    targets, snapshot = _parse(Targets, files[targets_name]), _parse(Snapshot, files[snapshot_name])
    if not _lasts(keys, "targets", targets, now):
        return sign_document(keys, replace(target, created=_rfc3339(now)), number, now)
    kept = {targets_name: files[targets_name]}
    if _lasts(keys, "snapshot", snapshot, now):
        kept[snapshot_name] = files[snapshot_name]
    return finish_document(keys, kept, number, now)


def finish_document(keys: Keys, files: Files, number: int, now: datetime) -> bytes:
    """Sign what of `files` too few have signed, and make what follows from it: the snapshot, the stamp.

    Raises:
        InputError: it is larger than what travels, or the root has expired.
    """
    expiry = roots.describe(keys.root).expires
    if now >= expiry:
        raise InputError(
            f"root.json expired on {expiry:%Y-%m-%d}, and this laptop's clock shows {now:%Y-%m-%d}",
            hint="if the clock is right, make the next root with 'edgectl keys rotate online'",
        )
    targets_name, targets_text = _only(files, "targets.json")
    targets = _add_signatures(keys, "targets", _parse(Targets, targets_text))
    snapshot = _following_snapshot(files, targets, number, now)
    snapshot = _add_signatures(keys, "snapshot", snapshot)
    timestamp = _following_timestamp(files, snapshot, number, now)
    timestamp = _add_signatures(keys, "timestamp", timestamp)
    return _format(
        keys,
        {
            targets_name: targets.to_bytes().decode(),
            f"{snapshot.signed.version}.snapshot.json": snapshot.to_bytes().decode(),
            "timestamp.json": timestamp.to_bytes().decode(),
        },
    )


def lacking_signatures(root: bytes, files: Files) -> Lacking | None:
    """The first part that too few keys of `root` have signed; None where a device would believe the signatures."""
    jobs: tuple[tuple[str, Job, Any], ...] = (
        ("targets", "targets", Targets),
        ("snapshot", "online", Snapshot),
        ("timestamp", "online", Timestamp),
    )
    named = roots.parse_root(root).signed
    for role, job, kind in jobs:
        metadata = _parse(kind, _only(files, f"{role}.json")[1])
        found = named.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        if not found.verified:
            return Lacking(role, job, found.missing, tuple(sorted(found.unsigned)))
    return None


def read_target(files: Files) -> Target:
    """What the targets in `files` say. No signature has been checked.

    Raises:
        ValueError: nothing that can be used.
    """
    said = _parse(Targets, _only(files, "targets.json")[1]).signed
    entries = said.targets
    if said.delegations is not None:
        raise ValueError("the targets let other keys sign")
    if len(entries) != 1:
        raise ValueError(f"{len(entries)} targets, expected one")
    path, entry = next(iter(entries.items()))
    custom = entry.unrecognized_fields.get("custom")
    target = target_of(custom, digest=entry.hashes.get("sha256", ""), size_bytes=entry.length)
    if target_path(target.model, target.channel) != path:
        raise ValueError(f"the target is named {path}, and is of {target.model}/{target.channel}")
    return target


def read_document(keys: Keys, payload: bytes, *, model: str, channel: str) -> Published:
    """The document in `payload`, expired or not.

    It is judged by the roots in our key directory, whatever roots it brings: who has a key that once counted must
    not be able to talk the publisher into signing again what only they have signed.

    Raises:
        TrustError: it is not signed by our keys, damaged, or of another channel.
    """
    files, root = _under_our_roots(keys, parse_document(payload))
    epoch = 0.0  # long before anything expires: whether it has is not asked here
    oldest = keys.chain[0]
    verified = trust.verify(
        oldest, None, format_document(files), model=model, channel=channel, now_s=epoch, floor_s=epoch
    )
    files = {name: files[name] for name in (*_names(files), "timestamp.json")}  # what was verified, and nothing else
    is_current = lacking_signatures(keys.root, files) is None
    timestamp = _parse(Timestamp, files["timestamp.json"])
    # Devices forget what keys have said that no longer count: a stolen one can use up neither numbers nor time.
    stamp_counts = _counts(keys, "timestamp", timestamp)
    targets_number = int(_names(files)[0].partition(".")[0])
    return Published(
        target=verified.target,
        number=timestamp.signed.version if stamp_counts else 0,
        expires=timestamp.signed.expires.replace(tzinfo=UTC),
        signed=datetime.fromtimestamp(verified.signed_s if stamp_counts else epoch, UTC),
        root=root,
        is_current=is_current and root == roots.version_of(keys.root),
        completed=datetime.fromtimestamp(verified.signed_s, UTC)
        if timestamp.signed.version == targets_number
        else None,
        revoked=() if is_current else _revoked_signers(keys, files),
    )


def carried_roots(chain: tuple[bytes, ...]) -> Files:
    """The roots in every document: all but the first, which devices have."""
    carried = {f"{roots.version_of(root)}.root.json": root.decode() for root in chain}
    carried.pop("1.root.json", None)
    return carried


def next_number(published: Published | None, now: datetime) -> int:
    """The time in seconds, or what comes after the number that is there."""
    return max(int(now.timestamp()), published.number + 1 if published else 0)


# --- the parts of a document ------------------------------------------------------------------------------------


def _targets(target: Target, number: int, now: datetime) -> Metadata[Targets]:
    name = target_path(target.model, target.channel)
    entry = TargetFile(target.size_bytes, {"sha256": target.digest}, name, {"custom": custom_of(target)})
    return Metadata(Targets(version=number, expires=_after(now, _RELEASE_DAYS), targets={name: entry}))


def _following_snapshot(files: Files, targets: Metadata[Targets], number: int, now: datetime) -> Metadata[Snapshot]:
    """The snapshot in `files` where it is of these targets, else a new one."""
    meta = _meta(targets)
    there = [_parse(Snapshot, text) for name, text in files.items() if name.endswith(".snapshot.json")]
    if len(there) == 1 and there[0].signed.meta == {"targets.json": meta}:
        return there[0]
    return Metadata(Snapshot(version=number, expires=_after(now, _RELEASE_DAYS), meta={"targets.json": meta}))


def _following_timestamp(files: Files, snapshot: Metadata[Snapshot], number: int, now: datetime) -> Metadata[Timestamp]:
    meta, text = _meta(snapshot), files.get("timestamp.json")
    there = _parse(Timestamp, text) if text is not None else None
    if there is not None and (there.signed.snapshot_meta, there.signed.version) == (meta, number):
        return there
    said = {SIGNED_FIELD: _rfc3339(now)}
    expires = _after(now, TIMESTAMP_DAYS)
    return Metadata(Timestamp(version=number, expires=expires, snapshot_meta=meta, unrecognized_fields=said))


def _add_signatures(keys: Keys, role: str, metadata: Metadata[Role]) -> Metadata[Role]:
    """Ours, where they are still needed: one more would change what the next part is the hash of."""
    if not _counts(keys, role, metadata):
        for signer in _signers(keys, role):
            if signer.public_key.keyid not in metadata.signatures:
                metadata.sign(signer, append=True)
    return metadata


def _signers(keys: Keys, role: str) -> tuple[CryptoSigner, ...]:
    return keys.targets if role == "targets" else keys.online


def _counts(keys: Keys, role: str, metadata: Metadata[Any]) -> bool:
    named = roots.parse_root(keys.root).signed
    return named.get_verification_result(role, metadata.signed_bytes, metadata.signatures).verified


def _lasts(keys: Keys, role: str, metadata: Metadata[Any], now: datetime) -> bool:
    """Whether it is signed by keys that count now, and less than half of its time is over."""
    half = timedelta(days=_RELEASE_DAYS / 2)
    return _counts(keys, role, metadata) and metadata.signed.expires.replace(tzinfo=UTC) - now > half


def _format(keys: Keys, files: Files) -> bytes:
    """With the roots: a device that slept through several can follow them all."""
    carried = carried_roots(keys.chain)
    document = format_document({**carried, **files})
    if len(document) > MAX_DOCUMENT_BYTES:
        share = len(format_document(carried))
        raise InputError(
            f"the release document would have {len(document)} bytes, {share} of them for {len(carried)} roots; "
            f"at most {MAX_DOCUMENT_BYTES} travel",
            hint="move the oldest N.root.json out of the key directory: devices that have an older root.json than "
            "those that are left then need the newest one copied to them by hand",
        )
    return document


# --- reading ------------------------------------------------------------------------------------------------------


def _under_our_roots(keys: Keys, files: Files) -> tuple[dict[str, str], int]:
    """The document with our roots up to the one it was signed under, and the version of that."""
    ours = {roots.version_of(root): root.decode() for root in keys.chain}
    brought = [int(name.partition(".")[0]) for name in files if is_root_name(name)]
    under = max([min(ours), *brought])
    if under > max(ours):
        raise NewerRootError(
            f"it is signed under root {under}, and this laptop has root {max(ours)}",
            reason=Reason.SIGNATURE,
            hint="take over the newer roots from who made them: edgectl keys follow",
        )
    rest = {name: text for name, text in files.items() if not is_root_name(name)}
    return {**rest, **{f"{version}.root.json": text for version, text in ours.items() if version <= under}}, under


def _revoked_signers(keys: Keys, files: Files) -> tuple[str, ...]:
    revoked = set(roots.describe(keys.root).revoked)
    signers = {signature["keyid"] for text in files.values() for signature in json.loads(text)["signatures"]}
    return tuple(sorted(revoked & signers))


def _names(files: Files) -> tuple[str, str]:
    """The names of the targets and of the snapshot that the timestamp leads to."""
    timestamp = _parse(Timestamp, files["timestamp.json"]).signed
    snapshot = f"{timestamp.snapshot_meta.version}.snapshot.json"
    return f"{_parse(Snapshot, files[snapshot]).signed.meta['targets.json'].version}.targets.json", snapshot


def _only(files: Files, ending: str) -> tuple[str, str]:
    """The one file that is called so, with any number before.

    Raises:
        ValueError: there is none, or several.
    """
    found = [(name, text) for name, text in files.items() if name == ending or name.endswith(f".{ending}")]
    if len(found) != 1:
        raise ValueError(f"{len(found)} files are called {ending}, expected one")
    return found[0]


def _parse(kind: type[Role], text: str) -> Metadata[Role]:
    """Raises ValueError where it is something else."""
    try:
        metadata = Metadata[Any].from_bytes(text.encode())
    except RepositoryError as error:
        raise ValueError(str(error)) from error
    if not isinstance(metadata.signed, kind):
        raise ValueError(f"it is a {metadata.signed.type}, expected {kind.type}")  # noqa: TRY004  # callers catch one class
    return metadata


def _meta(metadata: Metadata[Any]) -> MetaFile:
    content = metadata.to_bytes()
    return MetaFile(metadata.signed.version, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


def _after(now: datetime, days: int) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + timedelta(days=days)


def _rfc3339(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="seconds")
