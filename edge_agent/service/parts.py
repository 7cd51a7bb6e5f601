"""What the agent's loop works with: its ports, handed over by the composition root."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.config.agent import Config
from edge_agent.release.document import Target
from edge_agent.service.documents import Channel
from edge_agent.service.inbox import Inbox
from edge_agent.service.pipelines import Pipelines
from edge_agent.service.reporting import StageName
from edge_agent.service.spool import Spool
from edge_agent.telemetry.resources import ResourceMeter
from edge_agent.update.machine import Record


class Worker(Protocol):
    """What is to be known of a worker process; None while there is none."""

    @property
    def pid(self) -> int | None: ...
    @property
    def pss_bytes(self) -> int | None: ...


class StageUpdater(Protocol):
    """`update.updater.Updater`, for any thread."""

    def desire(self, target: Target | None) -> None: ...
    def roll_back(self) -> "Future[Record]": ...


class Measurer(Protocol):
    """`update.benching.Bencher`, for any thread."""

    def desire(self, target: Target) -> None: ...


class Judge(Protocol):
    """`documents.Documents`: verifies, and tells what comes of it through the inbox."""

    def offer(self, channel: Channel, payload: bytes) -> None: ...


class Reporter(Protocol):
    """`link.device.DeviceLink`, as far as the loop uses it."""

    @property
    def connected(self) -> bool: ...
    def publish_reported(self, payload: bytes) -> object: ...
    def publish_bench(self, payload: bytes) -> object: ...


class Sampler(Protocol):
    """`sampling.SampleSender`: answers on a thread of its own."""

    def asked(self, payload: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Started and stopped by `compose`."""

    config: Config
    clock: Clock
    inbox: Inbox
    pipelines: Pipelines
    workers: Mapping[str, Worker]  # by pipeline
    updaters: Mapping[StageName, StageUpdater]
    meter: ResourceMeter
    spool: Spool
    threads: tuple[Thread, ...]  # those that must live as long as the agent
    documents: Judge | None  # None, as the link: no broker is configured
    link: Reporter | None
    bencher: Measurer | None = None  # None: this device measures nothing for others
    sampler: Sampler | None = None  # None: this device sends no samples
