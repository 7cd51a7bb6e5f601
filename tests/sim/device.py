"""A device with one pipeline of one stage: the real journal, store, fetch and updater on a simulated disk."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from edge_agent.disk import Disk
from edge_agent.errors import Reason, RejectionError, WorkerCrashedError
from edge_agent.link.transports import AlternatingTransport, Source
from edge_agent.release.document import Target
from edge_agent.release.manifest import Manifest
from edge_agent.update.eligibility import Device
from edge_agent.update.fetch import fetch_release
from edge_agent.update.journal import Journal
from edge_agent.update.machine import Record
from edge_agent.update.parts import Parts
from edge_agent.update.patcher import Patcher
from edge_agent.update.probe import ProbeReport
from edge_agent.update.sealed import no_secret
from edge_agent.update.shadow import ShadowPlan
from edge_agent.update.status import Status
from edge_agent.update.store import ReleaseStore
from edge_agent.update.updater import Updater
from tests.sim.clock import FakeClock
from tests.sim.disk import SimDisk, Survival
from tests.sim.releases import SimTransport, patch_here
from tests.sim.serving import SimServer

DEVICE = Device("porch-pi", ("porch",))
REPORT = ProbeReport("sim 1", delegated=True, load_ms=1, p50_ms=1, p95_ms=1, memory_bytes=1, golden_vectors=0)


class WatchedJournal(Journal):
    """Knows what has been durably remembered: what the disk must not be older than."""

    def __init__(self, disk: Disk, pipeline: str, stage: str) -> None:
        super().__init__(disk, pipeline, stage)
        self.remembered: list[Record] = []
        self._read = Record()

    def read(self) -> Record:
        self._read = super().read()
        return self._read

    def settle(self) -> None:
        super().settle()
        self.remembered.append(self._read)

    def write(self, record: Record) -> None:
        super().write(record)
        self.remembered.append(record)


class SimDevice:
    """What survives a power cut is the disk; all else is built anew by `boot`."""

    def __init__(
        self,
        transport: SimTransport,
        *,
        disk: SimDisk | None = None,
        initial: Path | None = None,
        device: Device = DEVICE,
    ) -> None:
        self.transport = transport
        self.sources: list[Source] = []  # asked before it
        self.device = device
        self.initial = initial
        self.disk = disk or SimDisk()
        self.durable = Disk  # the code under test, or a broken one
        self.unproven: set[str] = set()  # releases that fail their probe, for `unproven_reason`
        self.unproven_reason = Reason.GOLDEN_MISMATCH
        self.sick: dict[str, set[str]] = {}  # names of SimServer's lists → digests
        self.patcher: Patcher = patch_here
        self.shadow: ShadowPlan | None = None
        self.desired: Target | None = None
        self.unable_probes = 0  # probes that cannot even be tried
        self.probes = 0
        self.on_probe: Callable[[], None] = lambda: None
        self.secret = no_secret
        self.reports: list[Status] = []
        self.on_report: Callable[[Status], None] = lambda status: None

    def boot(self) -> "SimDevice":
        """Start the agent on whatever is on the disk."""
        self.disk.operations = 0
        self.clock = FakeClock()
        self.server = SimServer(self.clock)
        for name, digests in self.sick.items():
            getattr(self.server, name).update(digests)
        self.reports = []
        disk = self.durable(self.disk)
        transport = AlternatingTransport(self.sources, self.transport, self.clock) if self.sources else self.transport
        self.journal = WatchedJournal(disk, "porch", "main")
        self.store = ReleaseStore(disk, Path("/state"))
        parts = Parts(
            journal=self.journal,
            store=self.store,
            fetch=partial(
                fetch_release, store=self.store, transport=transport, secret=self.secret, patcher=self.patcher
            ),
            probe=self._probe,
            server=self.server,
            clock=self.clock,
            keep=lambda: self.updater.digests,
            device=self.device,
            shadow=self.shadow,
            report=self._report,
        )
        self.updater = Updater(parts, initial=self.initial)
        self.updater.desire(self.desired)
        return self

    def run(self, desired: Target | None = None) -> Record:
        """Go on to rest, wanting something new if it is given."""
        if desired is not None:
            self.desired = desired
            self.updater.desire(desired)
        self.updater.run_to_rest()
        return self.record

    def run_for(self, seconds: float) -> Record:
        """Go on, through whatever is tried again in this time."""
        self.updater.run_to_rest()
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.updater.run_to_rest()
        return self.record

    @property
    def record(self) -> Record:
        """As the disk has it."""
        return Journal(Disk(self.disk), "porch", "main").read()

    @property
    def status(self) -> Status:
        return self.reports[-1]

    def lose_power(self, survival: Survival, chance: Random | None = None) -> None:
        self.disk = self.disk.after_power_cut(survival, chance)

    def lose_process(self) -> None:
        self.disk = self.disk.after_kill()

    def files(self) -> list[str]:
        """Every file and directory on the disk, sorted."""

        def below(directory: str) -> list[str]:
            found = []
            for name, is_directory in self.disk.entries(directory):
                path = name if directory == "." else f"{directory}/{name}"
                found += [path, *(below(path) if is_directory else [])]
            return found

        return below(".")

    def _report(self, status: Status) -> None:
        self.reports.append(status)
        self.on_report(status)

    def _probe(self, directory: Path, manifest: Manifest) -> ProbeReport:
        if self.unable_probes > 0:
            self.unable_probes -= 1
            raise WorkerCrashedError("the probe cannot be started: Cannot allocate memory")
        self.probes += 1
        self.on_probe()
        if directory.name in self.unproven:
            raise RejectionError("it does not do", reason=self.unproven_reason)
        return REPORT
