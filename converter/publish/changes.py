"""Changing which keys count: a new root, made, signed as far as this laptop can, and taken over once it is complete.

What a root says is left to `roots`, the files to `keys`, and what is lacking to `pending`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Root

from converter.publish import pending as pendings
from converter.publish import roots
from converter.publish.keys import KeyDirectory
from converter.publish.pending import PendingRoot
from converter.publish.roots import Job
from edge_agent.errors import InputError


@dataclass(frozen=True, slots=True)
class Change:
    """A new root."""

    lines: tuple[str, ...]  # what it changes
    version: int
    pending: PendingRoot | None  # where more signatures are needed; else it counts already
    made: str | None = None  # the file of a new private key


def rotate(keys: KeyDirectory, job: Job, now: datetime, *, stolen: bool = False) -> Change:
    """A new key in place of this laptop's for `job`. `stolen`: the old one is marked as revoked."""
    mine = keys.signers(keys.chain()[-1], job)
    if not mine:
        raise InputError(
            f"this laptop has no key for {job}, so there is none to replace",
            hint=f"revoke somebody else's with 'edgectl keys revoke KEYID'; add one with 'edgectl keys add {job}'",
        )
    fresh = CryptoSigner.generate_ed25519()

    def replace(root: Root) -> None:
        for signer in mine:
            roots.remove_key(root, job, signer.public_key.keyid)
            if stolen:
                roots.mark_revoked(root, signer.public_key.keyid)
        roots.add_key(root, job, fresh.public_key)

    return _change(keys, replace, now, (job, fresh))


def add(keys: KeyDirectory, job: Job, public: Key | None, now: datetime) -> Change:
    """One more key for `job`: of another signer, or (None) a new one of this laptop."""
    fresh = CryptoSigner.generate_ed25519() if public is None else None
    added = public if public is not None else fresh.public_key if fresh is not None else None
    assert added is not None
    return _change(keys, lambda root: roots.add_key(root, job, added), now, (job, fresh) if fresh is not None else None)


def revoke(keys: KeyDirectory, text: str, now: datetime) -> Change:
    """The key whose id begins with `text` counts for nothing any more, and what it has signed is not signed again."""

    def remove(root: Root) -> None:
        keyid = roots.find_keyid(root, text)
        for job in roots.jobs_of(root, keyid):
            roots.remove_key(root, job, keyid)
        roots.mark_revoked(root, keyid)

    return _change(keys, remove, now)


def set_threshold(keys: KeyDirectory, job: Job, threshold: int, now: datetime) -> Change:
    """How many signatures `job` needs."""
    return _change(keys, lambda root: roots.set_threshold(root, job, threshold), now)


def show(keys: KeyDirectory, pending: PendingRoot) -> list[str]:
    """What a new root changes of the one that counts here, a line each."""
    mine = keys.chain()[-1]
    _check_is_new(keys.chain(), pending.chain[-1])
    return roots.differences(mine, pending.chain[-1])


def sign(keys: KeyDirectory, pending: PendingRoot) -> Change:
    """Add this laptop's signatures to a new root, and take it over if that is enough."""
    mine = _before(keys, pending)
    _check_is_new(mine, pending.chain[-1])
    mine_signers = tuple(key.signer for key in keys.private_keys() if key.job == "root")
    again = pendings.sign_root(pending, mine[-1], mine_signers)
    return _finish(keys, mine, again.chain[-1], made=None)


def follow(keys: KeyDirectory, chain: Sequence[bytes]) -> tuple[int, int]:
    """Take over newer roots of other signers: from which version to which.

    A directory without a root takes what it is given: what it should be, its giver must have said otherwise.

    Raises:
        InputError: they do not follow ours, or not each other, or one has a number that another one has here.
    """
    found = sorted(set(chain), key=_version)
    mine = keys.chain() if keys.has_root() else ()
    before = _version(mine[-1]) if mine else 0
    _check_agreement((*mine, *found))
    newer = list({_version(root): root for root in found if _version(root) > before}.values())
    whole = (*mine, *newer)
    if not newer:
        return before, before
    pendings.check_chain(whole)
    keys.take(whole)
    return before, _version(whole[-1])


def _change(
    keys: KeyDirectory, change: Callable[[Root], None], now: datetime, fresh: tuple[Job, CryptoSigner] | None = None
) -> Change:
    chain = keys.chain()
    metadata = roots.next_root(chain[-1], now)
    change(metadata.signed)
    roots.check_thresholds(metadata.signed)
    signers = [key.signer for key in keys.private_keys() if key.job == "root"]
    if fresh is not None and fresh[0] == "root":
        signers.append(fresh[1])
    unsigned = metadata.to_bytes()
    useful = roots.signatures(chain[-1], unsigned).may_sign
    candidate = roots.signed(metadata, [signer for signer in signers if signer.public_key.keyid in useful])
    made = keys.store(*fresh) if fresh is not None else None  # before any root that names it
    return _finish(keys, chain, candidate, made)


def _finish(keys: KeyDirectory, chain: tuple[bytes, ...], candidate: bytes, made: str | None) -> Change:
    complete = roots.signatures(chain[-1], candidate).complete
    lines = tuple(roots.differences(chain[-1], candidate))
    whole = (*chain, candidate)
    if complete:
        keys.take(whole)
    pending = None if complete else PendingRoot(tuple(root.decode() for root in whole))
    return Change(lines, roots.version_of(candidate), pending, made)


def _before(keys: KeyDirectory, pending: PendingRoot) -> tuple[bytes, ...]:
    """Our roots, with those that the file brings before the new one."""
    if not keys.has_root():
        raise InputError(
            "this laptop has no root.json yet, so it cannot tell whose root this is",
            hint="take over that of the other signers first: edgectl keys follow N.root.json…",
        )
    follow(keys, pending.chain[:-1])
    return keys.chain()


def _check_is_new(chain: tuple[bytes, ...], candidate: bytes) -> None:
    """Whether no root with its number counts here; and raises where it is none."""
    version = _version(candidate)
    if version not in {_version(root) for root in chain}:
        return
    _check_agreement((*chain, candidate))
    raise InputError(
        f"root {version} counts here already, so nothing is left to sign",
        hint="bring it to the devices: edgectl refresh; and to other signers: edgectl keys follow",
    )


def _check_agreement(found: Sequence[bytes]) -> None:
    """Whether roots with the same number say the same: of two that were made at the same time only one can count."""
    said: dict[int, bytes] = {}
    for root in found:
        version, content = _version(root), roots.parse_root(root).signed_bytes
        if said.setdefault(version, content) == content:
            continue
        if version == 1:
            raise InputError(
                "these roots do not follow each other: they begin with different ones, of people who share no keys",
                hint="check that --keys and the files are of the same signers",
            )
        raise InputError(
            f"two different roots have the number {version}: two people have changed keys at the same time",
            hint=f"agree on one of them, and make the other's changes anew from there; devices that have taken one "
            f"root {version} refuse the other",
        )


def _version(root: bytes) -> int:
    try:
        return roots.version_of(root)
    except ValueError as error:
        raise InputError(f"this is not a root: {error}", hint="pass files that are called N.root.json") from error
