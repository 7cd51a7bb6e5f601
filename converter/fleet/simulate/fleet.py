"""Runs a fleet of simulated devices until all of them have settled on what is published, and says what it took."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from converter.fleet.simulate.device import Device
from converter.fleet.simulate.fetching import Tally
from converter.fleet.simulate.world import Behavior, Verifier, World
from edge_agent.errors import InputError
from edge_agent.link.broker import BrokerSettings, tls_context
from edge_agent.link.topics import Topics
from edge_agent.release.manifest import IDENTIFIER

_SPARE_FILES = 64
_LOOK_S = 0.1
_TOLD_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated."""

    model: str
    channel: str
    root: bytes  # root.json, as on every device
    devices: int
    name: str = "sim"  # ids are NAME-00001…
    connects_per_s: float = 500.0
    behavior: Behavior = field(default_factory=Behavior)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the fleet stands."""

    devices: int
    online: int
    versions: dict[str, int]  # version of the committed release ("none" without one) → devices
    settled: int  # devices that have done what they make of their channel's word
    rejected: int  # of them, those that have rejected the newest release
    holding: int  # and those that it is not for
    seconds: float
    chunks: int
    chunk_bytes: int  # payloads that all devices together received
    chunks_again: int  # that came to a device which had them
    spoilt: int
    connections: int


class Fleet:
    """Simulated devices on one loop. Entered, they connect at the plan's pace; left, they go offline in good order."""

    def __init__(self, plan: Plan, settings: BrokerSettings, topics: Topics) -> None:
        if not IDENTIFIER.fullmatch(f"{plan.name}-00000"):
            raise InputError(f"{plan.name!r} cannot begin a device id", hint="use 1 to 58 of a-z, 0-9, _ and -")
        _allow_open_files(plan.devices + _SPARE_FILES)
        self._plan = plan
        self._lost: dict[str, str] = {}
        self._moved = asyncio.Event()
        self.world = World(
            settings,
            topics,
            plan.model,
            plan.channel,
            Verifier(plan.root, plan.model, plan.channel),
            plan.behavior,
            tls_context(settings) if settings.tls else None,
            changed=lambda _: self._moved.set(),
            tell=self._lost.__setitem__,
        )
        self.devices = [Device(f"{plan.name}-{number:05}", self.world) for number in range(1, plan.devices + 1)]
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._starting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._starting = self._loop.create_task(self._start())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._starting is not None:
            self._starting.cancel()
        for device in self.devices:
            device.stop()
        await asyncio.sleep(_LOOK_S)  # what was written goes out

    async def settle(
        self, *, version: str | None, timeout_s: float, progress: Callable[[Outcome], None] = lambda _: None
    ) -> Outcome:
        """Until every device has settled on what is published (and that is `version`, where one is given).

        Returns where the fleet stands then, or after `timeout_s`.
        """
        deadline_s = self._loop.time() + timeout_s
        told_s = self._loop.time()
        while not self._has_settled(version) and (now_s := self._loop.time()) < deadline_s:
            if now_s - told_s >= _TOLD_EVERY_S:
                progress(self.outcome())
                told_s = now_s
            self._moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), min(_TOLD_EVERY_S, deadline_s - now_s))
            await asyncio.sleep(_LOOK_S)  # looking at thousands for each of them would take the time that they need
        return self.outcome()

    def outcome(self) -> Outcome:
        tallies = [device.tally for device in self.devices]
        versions: dict[str, int] = {}
        for device in self.devices:
            version = device.current.target.version if device.current else "none"
            versions[version] = versions.get(version, 0) + 1
        settled = [device for device in self.devices if device.has_settled]
        return Outcome(
            devices=len(self.devices),
            online=sum(device.online for device in self.devices),
            versions=versions,
            settled=len(settled),
            rejected=sum(
                device.desired is not None and device.record.refuses(device.desired.digest) for device in settled
            ),
            holding=sum(device.holds for device in settled),
            seconds=round(self._loop.time() - self._began_s, 3),
            chunks=_sum(tallies, lambda tally: tally.chunks),
            chunk_bytes=_sum(tallies, lambda tally: tally.chunk_bytes),
            chunks_again=_sum(tallies, lambda tally: tally.again),
            spoilt=_sum(tallies, lambda tally: tally.spoilt),
            connections=_sum(tallies, lambda tally: tally.connections),
        )

    @property
    def last_loss(self) -> str | None:
        """Why some device last lost its connection, for a person."""
        return next(reversed(self._lost.values()), None) if self._lost else None

    def _has_settled(self, version: str | None) -> bool:
        return all(
            device.has_settled
            and (version is None or (device.desired is not None and device.desired.version == version))
            for device in self.devices
        )

    async def _start(self) -> None:
        for device in self.devices:
            device.start()
            await asyncio.sleep(1 / self._plan.connects_per_s)


def _sum(tallies: list[Tally], of: Callable[[Tally], int]) -> int:
    return sum(of(tally) for tally in tallies)


def _allow_open_files(count: int) -> None:
    if sys.platform == "win32":  # has no such limit
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise InputError(
            f"{count} connections need as many open files; this system allows a process {hard}",
            hint="simulate fewer devices in a process, or raise the limit (ulimit -Hn)",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
