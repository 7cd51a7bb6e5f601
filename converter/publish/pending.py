"""What waits for signatures of other people: a release document, or a new root, in a file that goes round.

Nothing in such a file is believed: whoever signs is shown what it says, and signs only what follows from their own
root.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

from securesystemslib.signer import CryptoSigner

from converter.publish import repository, roots
from converter.publish.keys import Keys
from converter.publish.repository import Lacking
from edge_agent import schema
from edge_agent.errors import InputError
from edge_agent.release.document import (
    MAX_DOCUMENT_BYTES,
    Target,
    format_document,
    is_root_name,
    parse_document,
)

_MAX_BYTES = 4 * MAX_DOCUMENT_BYTES
_ANEW = "ask for the file again, or begin anew: it is made by 'edgectl push' or 'edgectl keys'"


@dataclass(frozen=True, slots=True)
class PendingRelease:
    """A release document of which some part is not signed by enough keys yet; what follows that part is left out."""

    number: int
    files: Mapping[str, str]
    kind: Literal["release"] = "release"

    @property
    def target(self) -> Target:
        """What it says.

        Raises:
            InputError: nothing that can be used.
        """
        try:
            return repository.read_target(self.files)
        except ValueError as error:
            raise InputError(f"the pending document cannot be used: {error}", hint=_ANEW) from error

    def lacking(self, keys: Keys) -> Lacking | None:
        """Whose signatures are needed next; None where it can be published."""
        try:
            return repository.lacking_signatures(keys.root, self.files)
        except ValueError as error:
            raise InputError(f"the pending document cannot be used: {error}", hint=_ANEW) from error


@dataclass(frozen=True, slots=True)
class PendingRoot:
    """A new root that is not signed by enough keys yet, with those before it."""

    roots: tuple[str, ...]  # the oldest first; the last one is the new one
    kind: Literal["root"] = "root"

    @property
    def chain(self) -> tuple[bytes, ...]:
        return tuple(root.encode() for root in self.roots)


Pending = PendingRelease | PendingRoot


def pend_document(keys: Keys, document: bytes, number: int) -> PendingRelease | None:
    """A document that we have signed, as far as it can be believed so far; None where nothing is lacking."""
    files = parse_document(document)
    lacking = repository.lacking_signatures(keys.root, files)
    if lacking is None:
        return None
    endings = {"targets": ("targets.json",), "snapshot": ("targets.json", "snapshot.json")}.get(lacking.role)
    kept = {name: text for name, text in files.items() if endings is None or name.endswith(endings)}
    return PendingRelease(number, {name: text for name, text in kept.items() if not is_root_name(name)})


def sign_release(pending: PendingRelease, keys: Keys, now: datetime) -> PendingRelease:
    """Add the signatures of this laptop.

    Raises:
        InputError: it says nothing that can be used, or nothing of ours is lacking.
    """
    lacking = pending.lacking(keys)
    if lacking is None:
        return pending
    _ = pending.target  # raises: what says nothing that can be used gets no signature, whoever asks
    mine = {signer.public_key.keyid for signer in (keys.targets if lacking.job == "targets" else keys.online)}
    if not mine & set(lacking.keyids):
        raise InputError(
            f"{lacking.signatures} more signatures of {lacking.job} keys are needed, and this laptop has no such key "
            "that has not signed",
            hint=f"these may sign: {', '.join(keyid[:8] for keyid in lacking.keyids)} (edgectl keys show)",
        )
    try:
        document = repository.finish_document(keys, pending.files, pending.number, now)
        whole = parse_document(document)
        again = pend_document(keys, document, pending.number)
    except ValueError as error:
        raise InputError(f"the pending document cannot be used: {error}", hint=_ANEW) from error
    kept = {name: text for name, text in whole.items() if not is_root_name(name)}
    return again or PendingRelease(pending.number, kept)


def document_of(pending: PendingRelease, keys: Keys, now: datetime) -> bytes:
    """The document, which lacks nothing any more, as it is published."""
    return repository.finish_document(keys, pending.files, pending.number, now)


def sign_root(pending: PendingRoot, mine: bytes, signers: tuple[CryptoSigner, ...]) -> PendingRoot:
    """Add signatures to a root that follows `mine`.

    Raises:
        InputError: it follows another one, or none of `signers` would count.
    """
    candidate = pending.chain[-1]
    try:
        lacking = roots.signatures(mine, candidate)
        metadata = roots.parse_root(candidate)
    except ValueError as error:
        raise InputError(
            f"the pending root cannot be used: {error}",
            hint=f"your root is version {roots.version_of(mine)}; if there are newer ones: edgectl keys follow",
        ) from error
    useful = [signer for signer in signers if signer.public_key.keyid in lacking.may_sign]
    if not useful and not lacking.complete:
        raise InputError(
            "this laptop has no root key whose signature is needed",
            hint=f"these may sign: {', '.join(sorted(keyid[:8] for keyid in lacking.may_sign))} (edgectl keys show)",
        )
    return PendingRoot((*pending.roots[:-1], roots.signed(metadata, useful).decode()))


def format_pending(pending: Pending) -> bytes:
    return json.dumps({"schema": 1, **schema.dump(pending)}, indent=1).encode()


def parse_pending(content: bytes) -> Pending:
    """Read a pending file; what it says is not checked.

    Raises:
        InputError: it is none.
    """
    try:
        return _pending_of(content)
    except (ValueError, RecursionError, schema.SchemaError) as error:
        raise InputError(f"this is not a pending file: {error}", hint=_ANEW) from error


def _pending_of(content: bytes) -> Pending:
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{len(content)} bytes, expected at most {_MAX_BYTES}")
    tree: Any = json.loads(content)
    kind = tree.get("kind") if isinstance(tree, dict) else None
    if kind == "release":
        return schema.parse(PendingRelease, tree, strict=False)
    if kind != "root":
        raise ValueError("no kind, expected release or root")
    pending = schema.parse(PendingRoot, tree, strict=False)
    if not pending.roots:
        raise ValueError("no roots")
    return pending


def check_chain(chain: tuple[bytes, ...]) -> None:
    """Raise InputError where the roots do not lead from one to the next, each signed by enough keys of both."""
    try:
        roots.version_of(chain[0])
        for before, after in pairwise(chain):
            roots.check_step(before, after)
    except ValueError as error:
        raise InputError(f"these roots do not follow each other: {error}", hint="ask for all of them again") from error


def size_in_documents(chain: tuple[bytes, ...]) -> int:
    """Bytes that the roots take in every release document."""
    return len(format_document(repository.carried_roots(chain)))
