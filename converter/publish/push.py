"""Publishing an artifact: the chunks the broker lacks, proof that they arrived, then the signed document.

The order is the safety: devices hear of a release only once every byte of it has been read back. What signs is left
to `repository`; cutting an artifact up, to `parcel`; patches to `patches`, what was ever pushed to `catalog`; sending
and proof, to `sending`.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from converter.broker import Broker
from converter.publish import repository, succession
from converter.publish.bases import fleet_bases
from converter.publish.catalog import Catalog, Listed, change_catalog, listed
from converter.publish.keys import Keys
from converter.publish.needs import answering
from converter.publish.parcel import Parcel, wrap
from converter.publish.patches import Patches, PatchesUnavailableError, PatchMade, bases_of, make_patches
from converter.publish.pending import PendingRelease, pend_document
from converter.publish.repository import NewerRootError, Published
from converter.publish.seals import ReleaseSeal
from converter.publish.sending import Progress, Sent, await_documents, send_chunks
from converter.publish.succession import PublishError
from edge_agent.errors import LinkError, TrustError
from edge_agent.release.archive import Artifact
from edge_agent.release.document import Target
from edge_agent.release.rollout import Rollout

_CLEARED_S = 0.3

Pend = Callable[[PendingRelease], str]  # keeps what lacks signatures of others; says where


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    model: str
    version: str
    channel: str
    digest: str
    document: int  # its number on the channel
    published: bool  # False: the channel had this release already, and keeps its document
    sent: Sent
    rollout: Rollout
    pending: str | None = None  # where the document waits for signatures of others; it is not published then
    patches: tuple[PatchMade, ...] = ()
    notes: tuple[str, ...] = ()  # what was left undone, and is no error
    needs_answered: int = 0  # chunks that devices missed meanwhile
    healed: int = 0  # chunks that a collection had cleared meanwhile


@dataclass(frozen=True, slots=True)
class PatchFrom:
    """What patches are made against: what the fleet has, unless `fleet` is False, and these artifacts."""

    fleet: bool = True
    artifacts: tuple[Artifact, ...] = ()


NO_PATCHES = PatchFrom(fleet=False)


def push(
    artifact: Artifact,
    channel: str,
    keys: Keys,
    connect: Callable[[], Broker],
    *,
    progress: Progress,
    rollout: Rollout | None = None,
    pend: Pend | None = None,
    replace_foreign: bool = False,
    device_class: str = "",
    sources: Sequence[str] = (),
    seal: ReleaseSeal | None = None,
    unencrypted: bool = False,
    patch_from: PatchFrom = NO_PATCHES,
    now: datetime | None = None,
) -> Pushed:
    """Publish `artifact` on `channel`, for everybody or for a `rollout`. Interrupted, it is simply done again.

    Nothing is sent twice. A release that the channel gives already keeps its rollout and its orders. `pend` is given
    the document where keys of others must sign it too; the chunks are on the broker by then.

    Raises:
        LinkError: the broker cannot be reached, refuses something, or was lost.
        TrustError: what is published there is not signed by these keys (unless `replace_foreign`).
        PublishError: chunks or document did not come back, somebody else published at the same time, or the artifact
            cannot follow what the channel gives: it is older, or it is the same one with another rollout.
    """
    now = now or datetime.now(UTC)
    parcel = wrap(artifact, channel, now, device_class=device_class, sources=sources, seal=seal)
    target = parcel.target
    with ExitStack() as parts:
        writer, reader = parts.enter_context(connect()), parts.enter_context(connect())
        writer.check_can_publish()
        topic = reader.topics.release(target.model, target.channel)
        payload = reader.retained([topic]).get(topic)
        there = read_published(payload, keys, target.model, channel, replace_foreign=replace_foreign)
        if there is not None and there.target.keyring and not (target.keyring or unencrypted):
            raise PublishError(
                f"the releases of {target.model} on {channel} are encrypted, and this one would not be",
                hint="say for whom with --encrypt-to, or that it may be read by all with --unencrypted",
            )
        succession.check(target, rollout, there)
        catalog, notes = _enter(connect, listed(target, now, published=False))
        if seal is not None:
            patches = Patches()
        elif there is not None and there.target.digest == target.digest and not there.revoked:
            patches = Patches(there.target.patches)  # their bytes are on the broker, and nowhere else
        else:
            patches = _patches(patch_from, artifact, channel, there, connect)
        parcel = parcel.with_patches(patches)
        target = parcel.target
        answers = parts.enter_context(answering(connect, parcel.chunks))
        sent = send_chunks(parcel.chunks, writer, reader, progress)
        newest = reader.newest(topic)
        if newest is not None:  # somebody has published while the chunks travelled
            there = read_published(newest, keys, target.model, channel, replace_foreign=replace_foreign)
            succession.check(target, rollout, there)
        same = there is not None and succession.is_given(target, there.target)
        kept = None
        if there is not None and same and not there.is_due(now):
            signed, number = there.target, there.number
        else:
            now = there.now(now) if there is not None else now
            number = repository.next_number(there, now)
            signed = succession.follow(target, rollout, there, now)
            kept = announce(writer, reader, keys, signed, number, now, pend)
        after, _ = _enter(connect, listed(signed, now, published=kept is None))
        healed = _send_cleared(parcel, writer, reader) if after.was_collected_since(catalog) else 0
        pushed = _pushed(signed, number, sent, published=kept is None and not same)
    return replace(
        pushed,
        pending=kept,
        patches=patches.made,
        notes=(*notes, *patches.skipped),
        needs_answered=answers.sent,
        healed=healed,
    )


def _enter(connect: Callable[[], Broker], entry: Listed) -> tuple[Catalog, list[str]]:
    """List the release, before it is looked at what of it is there; returns the catalog as it was."""
    try:
        return change_catalog(connect, lambda catalog: catalog.enter(entry)), []
    except LinkError as error:
        return Catalog(), [f"the release is not in the catalog, so 'edgectl gc' does not know of it: {error}"]


def _patches(
    what: PatchFrom, artifact: Artifact, channel: str, there: Published | None, connect: Callable[[], Broker]
) -> Patches:
    """The patches that are made, and why others are not. No patch is no reason not to push."""
    notes: list[str] = []
    bases = bases_of(what.artifacts)
    if what.fleet:
        try:
            known = [there.target] if there is not None else []
            found, notes = fleet_bases(connect, artifact.manifest.name, channel, known)
            bases += found
        except LinkError as error:
            notes = [f"no patches: what the fleet has cannot be read: {error}"]
    try:
        patches = make_patches(artifact.members, bases)
    except PatchesUnavailableError as error:
        return Patches(skipped=(*notes, f"{error}; {error.hint}"))
    return replace(patches, skipped=(*notes, *patches.skipped))


def _send_cleared(parcel: Parcel, writer: Broker, reader: Broker) -> int:
    """Send again what a collection has cleared after we had found it; returns how many chunks."""
    lost = reader.read_chunks(list(parcel.chunks), grace_s=_CLEARED_S)
    writer.publish_chunks([(digest, parcel.chunks[digest]) for digest in lost], lambda _: None)
    return len(lost)


def read_published(
    payload: bytes | None, keys: Keys, model: str, channel: str, *, replace_foreign: bool = False
) -> Published | None:
    """What a channel gives; None where it has never given anything.

    Raises:
        TrustError: the document is not signed by these keys (unless `replace_foreign`).
    """
    if payload is None:
        return None
    try:
        return repository.read_document(keys, payload, model=model, channel=channel)
    except NewerRootError:
        raise
    except TrustError as error:
        if replace_foreign:
            return None
        raise TrustError(
            f"there is a document on this channel that these keys did not sign: {error}",
            reason=error.reason,
            hint="pass the directory of the right keys with --keys, or replace it: edgectl push --replace-foreign",
        ) from error


def announce(  # noqa: PLR0917  # what a document is made of
    writer: Broker, reader: Broker, keys: Keys, target: Target, number: int, now: datetime, pend: Pend | None
) -> str | None:
    """Sign a release document and publish it; or, where keys of others must sign it too, have it kept and say where.

    `reader` must listen to its topic.

    Raises:
        PublishError: it did not come back, somebody else published at the same time, or there is nobody to keep it.
    """
    document = repository.sign_document(keys, target, number, now)
    pending = pend_document(keys, document, number)
    if pending is not None:
        return _kept(pending, pend)
    topic = reader.topics.release(target.model, target.channel)
    writer.publish_retained(topic, document)
    await_documents(reader, {topic: document})
    return None


def _kept(pending: PendingRelease, pend: Pend | None) -> str:
    if pend is None:
        raise PublishError("other people must sign this too", hint="'edgectl push' makes a file that goes round")
    return pend(pending)


def _pushed(target: Target, number: int, sent: Sent, *, published: bool) -> Pushed:
    return Pushed(target.model, target.version, target.channel, target.digest, number, published, sent, target.rollout)
