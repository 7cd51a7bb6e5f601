"""Garbage collection: clearing the chunks that no release refers to any more.

What is live is the union over every release document on the broker, whoever signed it, and over the newest entries of
the catalog; only what is left of older entries is cleared. So nothing that is forged can make a live chunk garbage
where the broker shows us all documents; where it does not (no wildcards), the catalog has to be trusted, and somebody
has to say so. Clearing is done release by release, what lists its blobs last, and looks before every few chunks
whether anybody has published: killed anywhere, it is simply done again.
"""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from converter.broker import Broker
from converter.publish.catalog import Catalog, CollectionMark, Listed, change_catalog, listed, parse_catalog
from converter.publish.inventory import OpaqueError, chunks_of
from edge_agent.errors import EdgeError, TrustError
from edge_agent.link.topics import MAX_FILTERS
from edge_agent.release.chunks import pack
from edge_agent.release.document import Target, parse_document, target_of
from edge_agent.release.rollout import EVERYBODY

_BATCH = 16
_ATTEMPTS = 5
_GRACE_S = 0.5
_TARGETS = "targets.json"


class CollectError(EdgeError):
    """Nothing (more) is cleared: what is live cannot be told from what is not."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did, or with `dry_run` would do."""

    kept: tuple[str, ...]  # releases, by name
    cleared: tuple[str, ...]
    chunks: int  # that were cleared
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Survey:
    """What is on the broker, at one moment."""

    kept: tuple[Listed, ...]
    garbage: tuple[Listed, ...]
    live: frozenset[str]
    seen: Mapping[str, bytes]  # topic → payload: what this was made of
    notes: tuple[str, ...] = ()


class _MovedError(Exception):
    """Somebody has published since we looked."""


@dataclass
class _Work:
    """What has been done, over all attempts."""

    chunks: set[str] = field(default_factory=set)
    releases: list[Listed] = field(default_factory=list)
    notes: dict[Listed, str] = field(default_factory=dict)


def collect(
    connect: Callable[[], Broker], *, dry_run: bool = False, trust_catalog: bool = False, now: datetime | None = None
) -> Collected:
    """Clear what is garbage. Interrupted, it is simply done again.

    Raises:
        LinkError: the broker cannot be reached, refuses something, or was lost.
        CollectError: what is live cannot be told for sure; says why.
    """
    now = now or datetime.now(UTC)
    run = secrets.token_hex(4)
    work = _Work()
    for _ in range(_ATTEMPTS):
        if not dry_run:  # a push that has looked for chunks before this is told to look again
            change_catalog(connect, partial(_mark, CollectionMark(run, active=True), ()))
        with connect() as reader, connect() as writer:
            survey = _survey(reader, now, trust_catalog=trust_catalog)
            if not dry_run:
                writer.check_can_publish()
            try:
                for entry in survey.garbage:
                    _clear(entry, survey, reader, None if dry_run else writer, work)
            except _MovedError:
                continue
        if not dry_run:
            change_catalog(connect, partial(_mark, CollectionMark(run), work.releases))
        kept, cleared = (tuple(dict.fromkeys(each.name for each in of)) for of in (survey.kept, work.releases))
        return Collected(kept, cleared, len(work.chunks), (*survey.notes, *work.notes.values()))
    raise CollectError(
        f"somebody published again and again while this looked; {len(work.chunks)} chunks were cleared",
        hint="run it again when no push is under way",
    )


def _mark(mark: CollectionMark, done: Collection[Listed], catalog: Catalog) -> Catalog:
    return replace(catalog.without(done), collection=mark)


def _survey(reader: Broker, now: datetime, *, trust_catalog: bool) -> _Survey:
    seen, catalog = _look(reader, trust_catalog=trust_catalog)
    documents = [target for topic, payload in sorted(seen.items()) for target in _targets(reader, topic, payload, now)]
    kept, garbage = sort_releases(documents, catalog, now)
    live: set[str] = set()
    notes: list[str] = []
    for entry in kept:
        live |= entry.named
        try:
            chunks = chunks_of(entry, reader)
        except OpaqueError as error:
            raise CollectError(
                f"{entry.name} is encrypted, and was pushed without a list of its blobs: only its recipients could "
                "tell them from garbage",
                hint="'edgectl push' it again, which adds the list and sends nothing twice; of a release before the "
                "present one, it is kept until two others were pushed",
            ) from error
        if chunks is not None:
            live |= chunks
        elif entry in documents or entry.is_being_pushed(now):
            raise CollectError(
                f"the {entry.listing} of {entry.name} is not on the broker, so its chunks cannot be told from garbage",
                hint="if it is just being pushed, wait for that; else 'edgectl push' or 'edgectl seed' it first",
            )
        else:
            notes.append(f"the {entry.listing} of {entry.name} is lost, so its chunks cannot be kept")
    return _Survey(tuple(kept), tuple(garbage), frozenset(live), seen, tuple(notes))


def sort_releases(documents: list[Listed], catalog: Catalog, now: datetime) -> tuple[list[Listed], list[Listed]]:
    """What is kept and what is garbage. Pure.

    Kept is what a document says, with the release before it where the document tells of one; else the newest other
    release that was published on the channel; and what is being pushed.
    """
    on_broker = {(entry.channel_of, entry.digest) for entry in documents}
    kept, garbage = list(documents), []
    channels = Counter(channel for channel, _ in on_broker)
    has_previous = {channel for channel, releases in channels.items() if releases > 1}  # its document says which
    for entry in sorted(catalog.releases, key=lambda entry: entry.published, reverse=True):
        if (entry.channel_of, entry.digest) in on_broker:
            kept.append(entry)  # it may list patches of an earlier document
        elif entry.published and entry.channel_of not in has_previous:
            has_previous.add(entry.channel_of)
            kept.append(entry)
        elif entry.is_being_pushed(now):
            kept.append(entry)
        else:
            garbage.append(entry)
    return kept, garbage


def _look(reader: Broker, *, trust_catalog: bool) -> tuple[dict[str, bytes], Catalog]:
    """Every document and the catalog; they stay subscribed."""
    topics = reader.topics
    catalog_topic = topics.catalog()
    everything = [topics.release("+", "+"), f"{topics.prefix}/+"]
    seen = reader.retained(everything, grace_s=_GRACE_S)
    shows_wildcards = catalog_topic in seen
    seen |= reader.retained([catalog_topic])
    catalog = parse_catalog(seen.get(catalog_topic, b""))
    named = sorted({topics.release(*entry.channel_of) for entry in catalog.releases})
    for start in range(0, len(named), MAX_FILTERS):
        seen |= reader.retained(named[start : start + MAX_FILTERS])
    if catalog_topic in seen and not shows_wildcards and not trust_catalog:
        raise CollectError(
            f"this broker shows no retained messages for wildcards, so only {catalog_topic} says which channels there "
            "are, and anybody who can write it could hide one",
            hint="if only publishers can write it, pass --trust-catalog",
        )
    return {topic: payload for topic, payload in seen.items() if _is_of_releases(topic, reader)}, catalog


def _is_of_releases(topic: str, reader: Broker) -> bool:
    return topic == reader.topics.catalog() or topic.startswith(reader.topics.release("", "")[:-1])


def _targets(reader: Broker, topic: str, payload: bytes, now: datetime) -> Iterator[Listed]:
    """What a document says, believed or not: whatever it says is kept."""
    if topic == reader.topics.catalog():
        return
    try:
        found = list(_targets_said(payload))
    except (TrustError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CollectError(
            f"the document on {topic} cannot be read, so what it refers to is not known: {error}",
            hint="push that channel again, or clear the topic with an empty retained message",
        ) from error
    for target in found:
        for needed in (target, *_earlier_needed(target)):
            yield listed(needed, now, published=True)


def _earlier_needed(target: Target) -> Iterator[Target]:
    """The release before, and, of a release that is not for all, what others follow: up to the first one that is."""
    for earlier in target.previous:
        yield earlier
        if _is_for_all(target) or _is_for_all(earlier):
            return


def _is_for_all(target: Target) -> bool:
    return target.rollout.percent == EVERYBODY and target.rollout.state != "halted"


def _targets_said(payload: bytes) -> Iterator[Target]:
    for name, text in parse_document(payload).items():
        if name == _TARGETS or name.endswith(f".{_TARGETS}"):
            for entry in json.loads(text)["signed"]["targets"].values():
                yield target_of(entry["custom"], digest=entry["hashes"]["sha256"], size_bytes=entry["length"])


def _clear(entry: Listed, survey: _Survey, reader: Broker, writer: Broker | None, work: _Work) -> None:
    """Clear what only this release refers to, what lists it last: as long as that is there, the rest can be found."""
    try:
        members = chunks_of(entry, reader)
    except OpaqueError:
        work.notes[entry] = f"kept {entry.name}, which is encrypted: only its recipients could tell what is of it"
        return
    if members is None:
        work.notes[entry] = f"the {entry.listing} of {entry.name} is lost: what is left of it, if anything, stays"
    listing = entry.inventory or entry.index_chunks
    spared = survey.live | work.chunks
    first = sorted(((members or set()) | entry.named) - set(listing) - spared)
    last = sorted(set(listing) - spared)
    for digests in (first, last):
        for start in range(0, len(digests), _BATCH):
            batch = digests[start : start + _BATCH]
            if writer is not None:
                _clear_batch(batch, survey, reader, writer)
            work.chunks |= set(batch)
    work.releases.append(entry)


def _clear_batch(batch: list[str], survey: _Survey, reader: Broker, writer: Broker) -> None:
    """Clear these, unless somebody has published; who has while they were cleared gets them back."""
    held = reader.fetch_chunks(batch)
    _check_unmoved(reader, survey)
    writer.publish_chunks([(digest, b"") for digest in batch], lambda _: None)
    try:
        _check_unmoved(reader, survey)
    except _MovedError:
        writer.publish_chunks([(digest, pack(plaintext)) for digest, plaintext in held.items()], lambda _: None)
        raise


def _check_unmoved(reader: Broker, survey: _Survey) -> None:
    while (event := reader.next_event(0)) is not None:
        if _is_of_releases(event.topic, reader) and survey.seen.get(event.topic) != event.payload:
            raise _MovedError
