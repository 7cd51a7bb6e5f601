"""What an updater works with: its ports, handed over by the composition root."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.release.document import Target
from edge_agent.release.manifest import Manifest
from edge_agent.update.eligibility import Device
from edge_agent.update.fetch import FetchReport
from edge_agent.update.journal import Journal
from edge_agent.update.probe import ProbeReport
from edge_agent.update.shadow import ShadowPlan
from edge_agent.update.status import Problem, Status
from edge_agent.update.store import ReleaseStore
from edge_agent.update.transport import Cancelled, Trouble
from edge_agent.update.watch import Server


class Fetch(Protocol):
    """`fetch.fetch_release` with its store and transport."""

    def __call__(self, target: Target, *, cancelled: Cancelled, trouble: Trouble) -> FetchReport | None: ...


def never(target: Target) -> None:
    """The hold of a device that may fetch at any time."""


@dataclass(frozen=True, slots=True)
class Parts:
    journal: Journal
    store: ReleaseStore  # one for all updaters of the device
    fetch: Fetch
    probe: Callable[[Path, Manifest], ProbeReport]
    server: Server
    clock: Clock
    keep: Callable[[], Collection[str]]  # what any stage of this device still needs: `Updater.digests` of all of them
    device: Device
    shadow: ShadowPlan | None = field(default=None, kw_only=True)  # None: candidates go on trial without one
    report: Callable[[Status], None]  # called after every change, on the updater's thread; must not raise
    hold: Callable[[Target], Problem | None] = never  # why a fetch may not go on now (`hold.Hold`)
