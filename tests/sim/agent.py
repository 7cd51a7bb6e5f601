"""The agent's loop on its own: everything it works with is here, nothing blocks, and its time is a fake clock's."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from edge_agent.config.agent import parse_config
from edge_agent.inference.triggers.triggers import Ports
from edge_agent.link.events import Receipt
from edge_agent.link.messages import BenchReport, Reported, StageReport, decode, parse_bench, parse_reported
from edge_agent.release.document import Target
from edge_agent.service.agent import Agent
from edge_agent.service.documents import Channel
from edge_agent.service.inbox import Event, Quit
from edge_agent.service.parts import Parts
from edge_agent.service.pipelines import Pipelines
from edge_agent.service.reporting import StageName
from edge_agent.service.spool import Spool, Stream
from edge_agent.telemetry.outbox import Outbox
from edge_agent.telemetry.resources import ResourceMeter
from edge_agent.update.machine import Record
from tests.sim.clock import FakeClock

STAGE = StageName("birds", "main")
CHANNEL = Channel("finder", "stable")
CONFIG = {
    "device": {"id": "porch-pi", "labels": ["porch"]},
    "telemetry": {"interval_s": 30},
    "pipeline": {"birds": {"model": "finder", "source": {"kind": "folder", "path": "/nowhere"}}},
}


class SimInbox(SimpleQueue[Event]):
    """Instead of waiting for what happens next, it ends the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.quiet_turns = 0  # of the loop, in which nothing happens

    def get(self, block: bool = True, timeout: float | None = None) -> Event:  # noqa: FBT001, FBT002  # of the base
        assert block
        assert timeout is not None, "the loop has housekeeping to do"
        try:
            return super().get(block=False)
        except Empty:
            if self.quiet_turns == 0:
                return Quit()
            self.quiet_turns -= 1
            raise


class SimLink:
    """What would be on the broker."""

    def __init__(self) -> None:
        self.connected = True
        self.reported: list[Reported] = []
        self.benched: list[BenchReport] = []

    def publish_reported(self, payload: bytes) -> object:
        assert self.connected
        self.reported.append(parse_reported(payload))
        return None

    def publish_bench(self, payload: bytes) -> object:
        assert self.connected
        self.benched.append(parse_bench(payload))
        return None


class SimUpdater:
    """Remembers what it is told, and rolls back when the test says so."""

    def __init__(self) -> None:
        self.desired: list[Target | None] = []
        self.asked: list[Future[Record]] = []

    def desire(self, target: Target | None) -> None:
        self.desired.append(target)

    def roll_back(self) -> "Future[Record]":
        self.asked.append(Future())
        return self.asked[-1]


@dataclass
class SimWorker:
    pid: int | None = None
    pss_bytes: int | None = 40_000_000


class SimDocuments:
    def __init__(self) -> None:
        self.offered: list[tuple[Channel, bytes]] = []

    def offer(self, channel: Channel, payload: bytes) -> None:
        self.offered.append((channel, payload))


class SimSampler:
    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def asked(self, payload: bytes) -> None:
        self.heard.append(payload)


@dataclass
class SimSpoolBroker:
    """What the spool has published, each with the receipt that the test settles."""

    sent: list[tuple[Stream, Mapping[str, Any]]] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)

    def publish(self, stream: Stream, payload: bytes, then: Any) -> None:
        self.sent.append((stream, decode(payload)))
        self.receipts.append(Receipt(then))

    def of(self, stream: Stream) -> list[Mapping[str, Any]]:
        return [tree for name, tree in self.sent if name == stream]


class AgentSim:
    """An agent with one pipeline, `birds`, of one stage. `without_broker`: no link and no documents."""

    def __init__(
        self, folder: Path, *, without_broker: bool = False, threads: tuple[Thread, ...] = (), **config: Any
    ) -> None:
        self.clock = FakeClock()
        self.inbox = SimInbox()
        self.link = SimLink()
        self.updater = SimUpdater()
        self.documents = SimDocuments()
        self.sampler = SimSampler()
        self.broker = SimSpoolBroker()
        self.results: list[bytes] = []
        self.outbox = Outbox(folder / "outbox.db", capacity=1000)
        checked = parse_config(CONFIG | config)
        self.pipelines = Pipelines(
            checked.pipeline,
            self.clock,
            publish=lambda _, payload: self._take(payload),
            version_of=lambda _: "1.0",
            ports=lambda _: Ports(lambda _topic, _payload: True, lambda _seq, _path: False),
        )
        self.agent = Agent(
            Parts(
                config=checked,
                clock=self.clock,
                inbox=self.inbox,
                pipelines=self.pipelines,
                workers={"birds": SimWorker()},
                updaters={STAGE: self.updater},
                meter=ResourceMeter(folder),
                spool=Spool(self.outbox, self.broker.publish),
                threads=threads,
                documents=None if without_broker else self.documents,
                link=None if without_broker else self.link,
                sampler=None if without_broker else self.sampler,
            )
        )

    def happen(self, *events: Event) -> "AgentSim":
        """Have the loop work off these events."""
        for event in events:
            self.inbox.put(event)
        self.agent.run()
        return self

    def advance(self, seconds: float) -> "AgentSim":
        """Let time go by in which nothing happens."""
        self.clock.advance(seconds)
        self.inbox.quiet_turns = 1
        self.agent.run()
        return self

    @property
    def events(self) -> list[Mapping[str, Any]]:
        """Every event that the outbox has been given and not got rid of, oldest first."""
        self.outbox.rewind()
        return [decode(record.payload) for record in self.outbox.unsent(1000) if record.stream.startswith("event")]

    @property
    def stage(self) -> StageReport:
        """As last reported to the fleet."""
        return self.link.reported[-1].pipelines["birds"]["main"]

    def _take(self, payload: bytes) -> bool:
        self.results.append(payload)
        return True
