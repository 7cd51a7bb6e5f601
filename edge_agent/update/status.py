"""What an updater tells the rest of the agent of its stage. How it travels is left to `link.messages`."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from edge_agent.errors import FetchError, Reason, RejectionError, StorageError, WorkerCrashedError
from edge_agent.release.document import Target
from edge_agent.update.eligibility import Held, Named
from edge_agent.update.fetch import FetchReport
from edge_agent.update.journal import ForeignRecordError, Journal
from edge_agent.update.machine import Record
from edge_agent.update.probe import ProbeReport
from edge_agent.update.store import ReleaseStore


@dataclass(frozen=True, slots=True)
class Problem:
    """Why it is not going on just now. Not an outcome: it heals by itself, or somebody heals it."""

    reason: Reason
    detail: str
    hint: str | None = None

    @classmethod
    def of(cls, error: FetchError | StorageError | RejectionError | WorkerCrashedError) -> "Problem":
        reason = Reason.CRASH_LOOP if isinstance(error, WorkerCrashedError) else error.reason
        return cls(reason, str(error), error.hint)

    @classmethod
    def of_lost_record(cls, journal: Journal) -> "Problem | None":
        """That `journal` has set its record aside; None when it has not."""
        if journal.set_aside is None:
            return None
        return cls(
            Reason.DISK_FAILED,
            f"{journal.name} was corrupt and is set aside as {journal.set_aside}",
            "what the fleet wants is installed again; check the disk (dmesg, fsck)",
        )

    @classmethod
    def of_foreign_record(cls, error: ForeignRecordError) -> "Problem":
        """That this agent is older than its record: it serves what was committed, and takes nothing."""
        return cls(Reason.INCOMPATIBLE, f"{error}: nothing is taken, what was committed serves", error.hint)


@dataclass(frozen=True, slots=True)
class Status:
    """All there is to report of one stage."""

    record: Record
    desired: Target | None = None
    problem: Problem | None = None
    held: Held | None = None  # what of the desired is not taken, and why
    versions: Mapping[str, str] = field(default_factory=dict)  # by digest, of the releases that are known
    probe: ProbeReport | None = None  # of the last candidate that passed its probe
    fetched: FetchReport | None = None  # of the last candidate that came over the transport


class Versions:
    """Which version a digest is: remembered from when its release was on the disk, or from what was desired."""

    def __init__(self, store: ReleaseStore) -> None:
        self._store = store
        self._seen: dict[str, Named] = {}

    def named(self, digest: str) -> Named | None:
        """What a release calls itself. None: it is not on the disk, and was not while anybody asked."""
        if digest not in self._seen:
            with suppress(RejectionError):
                manifest = self._store.manifest(digest)
                self._seen[digest] = Named(manifest.name, manifest.version)
        return self._seen.get(digest)

    def of(self, digest: str) -> str | None:
        """Its version; None as for `named`."""
        named = self.named(digest)
        return None if named is None else named.version

    def known(self, record: Record, desired: Target | None) -> dict[str, str]:
        """By digest, of the releases that the record names."""
        for target in (desired, *desired.previous) if desired is not None else ():
            self._seen[target.digest] = Named(target.model, target.version)
        named = record.digests | ({record.last.digest} if record.last else frozenset())
        return {digest: version for digest in sorted(named) if (version := self.of(digest)) is not None}
