"""What a root says, and the next one: which keys count for which job, and how many of them must sign.

Pure: bytes and values in, bytes and values out. A new root needs the signatures of enough keys of the one before and of
enough of its own. Where roots are kept is left to `keys`; how they travel, to `repository`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from edge_agent.errors import InputError

Job = Literal["root", "targets", "online"]
JOBS: tuple[Job, ...] = ("root", "targets", "online")
TUF_ROLES: Mapping[Job, tuple[str, ...]] = {
    "root": ("root",),
    "targets": ("targets",),
    "online": ("snapshot", "timestamp"),
}
_ROOT_DAYS = 3650  # devices outlive laptops; replacing it needs a signature by the old one
_REVOKED = "x-revoked"  # a field of ours in the signed root: keys that somebody else may have


@dataclass(frozen=True, slots=True)
class JobReport:
    """Who may do a job."""

    keyids: tuple[str, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class RootReport:
    """What a root says."""

    version: int
    expires: datetime
    jobs: Mapping[Job, JobReport]
    revoked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signatures:
    """How far a new root is signed: by keys of the one before, and by its own."""

    lacking_old: int
    lacking_new: int
    may_sign: frozenset[str]  # who has not, and would count

    @property
    def complete(self) -> bool:
        return self.lacking_old <= 0 and self.lacking_new <= 0


def first_root(keys: Mapping[Job, Key], now: datetime) -> Metadata[Root]:
    """Version 1, unsigned: one key for each job."""
    root = Root(expires=_expiry(now), consistent_snapshot=True)
    for job, key in keys.items():
        for role in TUF_ROLES[job]:
            root.add_key(key, role)
    return Metadata(root)


def next_root(before: bytes, now: datetime) -> Metadata[Root]:
    """The root after `before`, unsigned, so far saying the same."""
    root = parse_root(before).signed
    root.version += 1
    root.expires = _expiry(now)
    return Metadata(root)


def add_key(root: Root, job: Job, key: Key) -> None:
    """Let `key` sign for `job` too.

    Raises:
        InputError: it may already, or was revoked.
    """
    if key.keyid in root.roles[TUF_ROLES[job][0]].keyids:
        raise InputError(f"{key.keyid[:8]} is a key for {job} already", hint="see 'edgectl keys show'")
    if key.keyid in _revoked(root):
        raise InputError(f"{key.keyid[:8]} has been revoked", hint="make another key: edgectl keys new")
    for role in TUF_ROLES[job]:
        root.add_key(key, role)


def remove_key(root: Root, job: Job, keyid: str) -> None:
    for role in TUF_ROLES[job]:
        root.revoke_key(keyid, role)


def mark_revoked(root: Root, keyid: str) -> None:
    """Remember that somebody else may have this key: what it has signed is not signed again by `refresh`."""
    root.unrecognized_fields[_REVOKED] = sorted({*_revoked(root), keyid})


def set_threshold(root: Root, job: Job, threshold: int) -> None:
    for role in TUF_ROLES[job]:
        root.roles[role].threshold = threshold


def check_thresholds(root: Root) -> None:
    """Raise InputError where a job could never be done."""
    for job in JOBS:
        role = root.roles[TUF_ROLES[job][0]]
        if not 1 <= role.threshold <= len(role.keyids):
            raise InputError(
                f"{job} would need {role.threshold} signatures and have {len(role.keyids)} keys",
                hint=f"first add a key (edgectl keys add {job}), or put another in its place (edgectl keys rotate "
                f"{job}), or lower the threshold (edgectl keys threshold {job} N)",
            )


def find_keyid(root: Root, text: str) -> str:
    """The key id that begins with `text`.

    Raises:
        InputError: none or several do.
    """
    found = [keyid for keyid in root.keys if keyid.startswith(text.lower())]
    if len(found) != 1 or len(text) < 4:
        raise InputError(
            f"{len(found)} keys have an id that begins with {text!r}; expected one, named by 4 digits or more",
            hint="see 'edgectl keys show'",
        )
    return found[0]


def jobs_of(root: Root, keyid: str) -> tuple[Job, ...]:
    return tuple(job for job in JOBS if keyid in root.roles[TUF_ROLES[job][0]].keyids)


def signed(metadata: Metadata[Root], signers: Iterable[CryptoSigner]) -> bytes:
    """With signatures added."""
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def signatures(before: bytes, candidate: bytes) -> Signatures:
    """How far `candidate`, which follows `before`, is signed."""
    old, new = parse_root(before).signed, parse_root(candidate)
    found = new.signed.get_root_verification_result(old, new.signed_bytes, new.signatures)
    by_old, by_new = found.first, found.second
    lacking_old = by_old.threshold - len(by_old.signed)
    lacking_new = by_new.threshold - len(by_new.signed)
    may_sign = [*(by_old.unsigned if lacking_old > 0 else ()), *(by_new.unsigned if lacking_new > 0 else ())]
    return Signatures(lacking_old, lacking_new, frozenset(may_sign))


def check_step(before: bytes, after: bytes) -> None:
    """Raise ValueError where `after` is not what follows `before`, signed by enough keys of both."""
    versions = version_of(before), version_of(after)
    if versions[1] != versions[0] + 1:
        raise ValueError(f"root {versions[1]} does not follow root {versions[0]}")
    found = signatures(before, after)
    if not found.complete:
        raise ValueError(
            f"root {versions[1]} lacks {max(found.lacking_old, 0)} signatures of keys of root {versions[0]} and "
            f"{max(found.lacking_new, 0)} of its own"
        )


def parse_root(content: bytes) -> Metadata[Root]:
    """Raises ValueError where it is none."""
    try:
        metadata = Metadata[Any].from_bytes(content)
    except RepositoryError as error:
        raise ValueError(str(error)) from error
    if not isinstance(metadata.signed, Root):
        raise ValueError(f"it is a {metadata.signed.type}, not a root")  # noqa: TRY004  # callers catch one class
    return cast("Metadata[Root]", metadata)


def version_of(root: bytes) -> int:
    return parse_root(root).signed.version


def keyids(root: bytes, job: Job) -> frozenset[str]:
    return frozenset(parse_root(root).signed.roles[TUF_ROLES[job][0]].keyids)


def describe(root: bytes) -> RootReport:
    said = parse_root(root).signed
    jobs = {}
    for job in JOBS:
        role = said.roles[TUF_ROLES[job][0]]
        jobs[job] = JobReport(tuple(role.keyids), role.threshold)
    return RootReport(said.version, said.expires.replace(tzinfo=UTC), jobs, tuple(_revoked(said)))


def differences(before: bytes, after: bytes) -> list[str]:
    """What changes, a line each: what somebody who signs `after` agrees to."""
    old, new = describe(before), describe(after)
    lines = [f"root {old.version} becomes root {new.version}, which lasts until {new.expires:%Y-%m-%d}"]
    for job in JOBS:
        was, will = old.jobs[job], new.jobs[job]
        lines += [f"{job}: key {keyid[:8]} is added" for keyid in will.keyids if keyid not in was.keyids]
        lines += [f"{job}: key {keyid[:8]} no longer counts" for keyid in was.keyids if keyid not in will.keyids]
        if was.threshold != will.threshold:
            lines.append(f"{job}: {will.threshold} signatures are needed instead of {was.threshold}")
    lines += [f"key {keyid[:8]} is marked as revoked" for keyid in new.revoked if keyid not in old.revoked]
    return lines


def _revoked(root: Root) -> list[str]:
    found = root.unrecognized_fields.get(_REVOKED, [])
    return [keyid for keyid in found if isinstance(keyid, str)] if isinstance(found, list) else []


def _expiry(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + timedelta(days=_ROOT_DAYS)
