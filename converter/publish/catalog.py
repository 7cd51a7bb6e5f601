"""The catalog: one retained message that lists every release that was pushed and not yet collected.

It is not signed. It says where to look and what may be garbage, never what is live: that, the documents on the broker
say themselves, and whatever they or the catalog's newest entries refer to is kept (`collect`). A push enters its
release before it looks for chunks on the broker, so that whoever collects knows of it; a collection marks itself before
it clears anything, so that a push knows of that.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from converter.broker import Broker
from edge_agent import schema
from edge_agent.clock import SystemClock
from edge_agent.errors import LinkError
from edge_agent.link.messages import MessageError, decode, encode
from edge_agent.release.document import Target
from edge_agent.release.manifest import DIGEST, IDENTIFIER

PUSH_LASTS = timedelta(hours=6)  # by then a push that has not ended was given up
_RETURN_S = 5.0
_SETTLED_S = 0.1  # how long after our own catalog has come round we look for another's
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A release in the catalog: enough to find every chunk of it."""

    model: str
    channel: str
    version: str
    digest: str
    index: str
    index_chunks: tuple[str, ...]
    entered: str  # RFC 3339, UTC: when a push of it began last
    published: str = ""  # when its document was published last; empty: never
    patch_chunks: tuple[str, ...] = ()
    keyring: tuple[str, ...] = ()  # chunks; of an encrypted release only
    inventory: tuple[str, ...] = ()  # chunks of the list of its blobs (`inventory`), likewise

    def __post_init__(self) -> None:
        if not (IDENTIFIER.fullmatch(self.model) and IDENTIFIER.fullmatch(self.channel)):
            raise ValueError(f"{self.model!r}/{self.channel!r} is no channel of a model")
        digests = (self.digest, self.index, *self.named)
        if not all(DIGEST.fullmatch(digest) for digest in digests) or not self.index_chunks:
            raise ValueError("a digest in the catalog is not 64 hexadecimal digits")

    @property
    def name(self) -> str:
        return f"{self.model} {self.version} on {self.channel}"

    @property
    def channel_of(self) -> tuple[str, str]:
        return self.model, self.channel

    @property
    def listing(self) -> str:
        """What lists the rest of its blobs, in a word."""
        return "inventory" if self.inventory else "index"

    @property
    def named(self) -> frozenset[str]:
        """The blobs that it names outright, without those that its index or inventory lists."""
        return frozenset((*self.index_chunks, *self.patch_chunks, *self.keyring, *self.inventory))

    def is_being_pushed(self, now: datetime) -> bool:
        """Whether a push of it has begun and not ended. A time that cannot be read is as good as now."""
        if self.entered == self.published:
            return False
        try:
            return now - datetime.fromisoformat(self.entered) < PUSH_LASTS
        except (ValueError, TypeError, OverflowError):
            return True


@dataclass(frozen=True, slots=True)
class CollectionMark:
    """The last collection, or the one under way."""

    run: str
    active: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    releases: tuple[Listed, ...] = ()
    collection: CollectionMark | None = None

    def enter(self, entry: Listed) -> "Catalog":
        """With `entry`, and what an older one of the same release and channel knew besides."""
        others = []
        for old in self.releases:
            # In the clear and encrypted, a release has different blobs, and so another index.
            if (old.channel_of, old.digest, old.index) != (entry.channel_of, entry.digest, entry.index):
                others.append(old)
            else:
                entry = replace(
                    entry,
                    published=entry.published or old.published,
                    patch_chunks=tuple(dict.fromkeys((*old.patch_chunks, *entry.patch_chunks))),
                    keyring=tuple(dict.fromkeys((*old.keyring, *entry.keyring))),
                )
        return replace(self, releases=(*others, entry))

    def was_collected_since(self, before: "Catalog") -> bool:
        """Whether a collection has run, or runs, that did not know of what was entered then."""
        return self.collection != before.collection or (self.collection is not None and self.collection.active)

    def without(self, gone: Collection[Listed]) -> "Catalog":
        """Without these entries. One that was entered anew meanwhile is another."""
        return replace(self, releases=tuple(entry for entry in self.releases if entry not in gone))


def listed(target: Target, now: datetime, *, published: bool) -> Listed:
    """The entry of a release."""
    at = now.astimezone(UTC).isoformat(timespec="seconds")
    return Listed(
        model=target.model,
        channel=target.channel,
        version=target.version,
        digest=target.digest,
        index=target.index,
        index_chunks=target.index_chunks,
        entered=at,
        published=at if published else "",
        patch_chunks=tuple(digest for patch in target.patches for digest in patch.chunks),
        keyring=target.keyring,
        inventory=target.inventory,
    )


def parse_catalog(payload: bytes) -> Catalog:
    """The catalog in a payload, without what cannot be read: it is a hint, and anybody may have written it."""
    try:
        tree = decode(payload)
    except MessageError:
        return Catalog()
    entries = tree.get("releases")
    found = (_parse(Listed, entry) for entry in entries) if isinstance(entries, list) else ()
    releases = tuple(entry for entry in found if entry is not None)
    return Catalog(releases, _parse(CollectionMark, tree.get("collection")))


def format_catalog(catalog: Catalog) -> bytes:
    """The payload; the oldest releases are left out where there is no room for all."""
    releases = list(catalog.releases)
    while True:
        tree = {"schema": 1, "releases": schema.dump(tuple(releases)), "collection": schema.dump(catalog.collection)}
        try:
            return encode(tree)
        except MessageError:
            releases = releases[1 + len(releases) // 10 :]


def read_catalog(broker: Broker) -> Catalog:
    """The catalog on the broker, on a connection that has not asked for it before; an empty one where there is none."""
    topic = broker.topics.catalog()
    return parse_catalog(broker.retained([topic]).get(topic, b""))


def change_catalog(connect: Callable[[], Broker], change: Callable[[Catalog], Catalog]) -> Catalog:
    """Replace the catalog by what `change` makes of it, until no other's comes after ours; returns what it was before.

    Raises:
        LinkError: the broker cannot be reached, or keeps us from writing or reading the catalog.
    """
    first: Catalog | None = None
    for _ in range(_ATTEMPTS):
        with connect() as broker:
            before = read_catalog(broker)
            first = first or before
            after = change(before)
            if after == before:
                return first
            payload = format_catalog(after)
            topic = broker.topics.catalog()
            broker.publish_retained(topic, payload)
            if _has_settled(broker, topic, payload):
                return first
    raise LinkError(f"the catalog {topic} is changed by others again and again", hint="run this again")


def _has_settled(broker: Broker, topic: str, payload: bytes) -> bool:
    """Whether ours is the last word after a moment.

    Raises:
        LinkError: it never came.
    """
    clock = SystemClock()
    deadline_s, last = clock.monotonic_s() + _RETURN_S, b""
    while (event := broker.next_event(deadline_s - clock.monotonic_s())) is not None:
        if event.topic == topic:
            last = event.payload
            deadline_s = clock.monotonic_s() + (_SETTLED_S if last == payload else _RETURN_S / 5)
    if not last:
        raise LinkError(
            f"the catalog {topic} does not come back from the broker",
            hint="check that the access list lets this user read and write it (docs/security.md)",
        )
    return last == payload


def _parse(kind: type[schema.T], tree: object) -> schema.T | None:
    try:
        return schema.parse(kind, tree, strict=False)
    except schema.SchemaError:
        return None
