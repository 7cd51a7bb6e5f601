"""Which releases the fleet really has, and their bytes: what patches are made against.

Devices say in `reported` what they run; where that release is in the catalog, its bytes come from the broker's chunks.
Nothing here fails a push: what cannot be had is told, and then there is no patch for it.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from converter.broker import Broker
from converter.publish.catalog import Listed, read_catalog
from converter.publish.patches import MAX_BASES, Base
from edge_agent.errors import ArtifactError, Reason
from edge_agent.link.messages import MessageError, Reported, parse_reported
from edge_agent.release.archive import format_archive
from edge_agent.release.chunks import parse_index
from edge_agent.release.document import Target

_GRACE_S = 0.3


@dataclass(frozen=True, slots=True)
class Held:
    """A release that devices have."""

    digest: str
    version: str | None
    devices: int


def fleet_bases(
    connect: Callable[[], Broker], model: str, channel: str, known: Sequence[Target]
) -> tuple[list[Base], list[str]]:
    """The bytes of what devices on this channel commonly have, and why those of others cannot be had, a line each.

    `known` are releases that may not be in the catalog.

    Raises:
        LinkError: the broker cannot be reached, or does not let us hear devices.
    """
    held = held_by_fleet(connect, model, channel)
    if not held:
        return [], []
    with connect() as broker:
        return find_bases(held, broker, [*read_catalog(broker).releases, *known])


def held_by_fleet(connect: Callable[[], Broker], model: str, channel: str) -> list[Held]:
    """What devices that follow this channel run, the commonest first, then what they would go back to.

    Raises:
        LinkError: the broker does not let us hear devices.
    """
    with connect() as broker:
        payloads = broker.retained([broker.topics.reported("+")], grace_s=_GRACE_S).values()
    return count_held((_parse(payload) for payload in payloads), model, channel)


def count_held(reports: Iterable[Reported | None], model: str, channel: str) -> list[Held]:
    """The same, of what devices have reported."""
    current: Counter[str] = Counter()
    previous: Counter[str] = Counter()
    versions: dict[str, str | None] = {}
    for reported in reports:
        stages = [stage for each in reported.pipelines.values() for stage in each.values()] if reported else []
        following = [stage for stage in stages if (stage.model, stage.channel) == (model, channel)]
        for count, releases in (
            (current, {stage.current for stage in following}),
            (previous, {stage.previous for stage in following}),
        ):
            named = {release.digest: release.version for release in releases if release is not None}
            count.update(named.keys())
            versions |= named
    order = [digest for digest, _ in current.most_common()]
    order += [digest for digest, _ in previous.most_common() if digest not in current]
    return [Held(digest, versions[digest], current[digest] or previous[digest]) for digest in order]


def find_bases(held: Sequence[Held], reader: Broker, known: Sequence[Target | Listed]) -> tuple[list[Base], list[str]]:
    """The bytes of the commonest of `held`, and why those of others cannot be had, a line each."""
    bases: list[Base] = []
    notes: list[str] = []
    for release in held[:MAX_BASES]:
        name = f"{release.version or release.digest[:12]}"
        where = next((each for each in known if each.digest == release.digest), None)
        if where is None:
            notes.append(f"no patch from {name} ({release.devices} devices): not in the catalog; see --patch-from")
            continue
        try:
            bases.append(Base(name, release.devices, _members(reader, where)))
        except ArtifactError as error:
            notes.append(f"no patch from {name} ({release.devices} devices): {error}; see --patch-from")
    if len(held) > MAX_BASES:
        notes.append(f"no patches from {len(held) - MAX_BASES} rarer releases: at most {MAX_BASES} are made against")
    return bases, notes


def _members(reader: Broker, release: Target | Listed) -> dict[str, bytes]:
    """The members of a release, off the broker; they are what its digest says."""
    content = _join(reader, release.index_chunks)
    if hashlib.sha256(content).hexdigest() != release.index:
        raise _no_longer_there()
    members = {}
    for name, (_, digests) in parse_index(content).members.items():
        members[name] = _join(reader, digests)
    if hashlib.sha256(format_archive(members)).hexdigest() != release.digest:
        raise _no_longer_there()
    return members


def _join(reader: Broker, digests: Sequence[str]) -> bytes:
    chunks = reader.fetch_chunks(digests)
    if not set(digests) <= set(chunks):
        raise _no_longer_there()
    return b"".join(chunks[digest] for digest in digests)


def _no_longer_there() -> ArtifactError:
    return ArtifactError("its chunks are no longer on the broker", reason=Reason.MISSING_CHUNK)


def _parse(payload: bytes) -> Reported | None:
    try:
        return parse_reported(payload)
    except MessageError:
        return None
