"""A real process that updates on a real disk: `python -m tests.power.update_child STATE_DIR VERSION KILL_AT`.

It kills itself with SIGKILL before disk operation KILL_AT (0: never), and prints what it has committed at the end.
"""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_agent.disk import Disk, RealDisk
from edge_agent.update.fetch import fetch_release
from edge_agent.update.journal import Journal
from edge_agent.update.parts import Parts
from edge_agent.update.store import ReleaseStore
from edge_agent.update.updater import Updater
from tests.sim.clock import FakeClock
from tests.sim.device import DEVICE, REPORT
from tests.sim.releases import SimTransport, make_release, noise
from tests.sim.serving import SimServer

_CHANGING = ("write", "sync_file", "make_directory", "replace", "remove_file", "remove_directory", "sync_directory")
RELEASES = {version: make_release(version, noise(60_000, "shared") + noise(70_000, version)) for version in "12345"}


class DeadlyDisk(RealDisk):
    """Kills its process before a certain operation."""

    def __init__(self, root: Path, kill_at: int) -> None:
        super().__init__(root)
        self._kill_at = kill_at
        self.operations = 0
        for name in _CHANGING:
            setattr(self, name, partial(self._count, getattr(self, name)))

    def _count(self, operation: object, *arguments: object) -> object:
        self.operations += 1
        if self.operations == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        assert callable(operation)
        return operation(*arguments)


def update(state_dir: Path, version: str, kill_at: int = 0) -> Updater:
    """Update to `version` on the real disk under `state_dir`, to rest."""
    disk = Disk(DeadlyDisk(state_dir, kill_at))
    store = ReleaseStore(disk, state_dir)
    clock = FakeClock()
    parts = Parts(
        journal=Journal(disk, "porch", "main"),
        store=store,
        fetch=partial(fetch_release, store=store, transport=SimTransport(*RELEASES.values())),
        probe=lambda directory, manifest: REPORT,
        server=SimServer(clock),
        clock=clock,
        keep=lambda: updater.digests,
        device=DEVICE,
        report=lambda status: None,
    )
    updater = Updater(parts)
    updater.desire(replace(RELEASES[version].target, downgrade=True))  # whichever of them served before
    updater.run_to_rest()
    return updater


if __name__ == "__main__":
    update(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(f"committed {sys.argv[2]}")
