"""The composition root: starts every part of the agent with what it needs, and stops them in the reverse order."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.clock import Clock, SystemClock, is_synchronized
from edge_agent.config.agent import Config
from edge_agent.config.row_sources import TopicSource
from edge_agent.config.sinks import SamplesSink
from edge_agent.config.update import BENCH_CHANNEL
from edge_agent.control import ControlServer
from edge_agent.disk import AGENT, Disk, open_disk
from edge_agent.errors import ConfigError, FetchError, Reason
from edge_agent.inference.ipc import Snapshot
from edge_agent.inference.server import PipelineServer
from edge_agent.inference.triggers.triggers import Ports
from edge_agent.link.broker import read_settings
from edge_agent.link.device import DeviceLink
from edge_agent.link.events import Receipt
from edge_agent.link.pace import Pace
from edge_agent.link.subscription import Subscription, subscription_settings
from edge_agent.link.topics import Topics
from edge_agent.link.transports import Transports
from edge_agent.release.device_key import key_path, read_device_key
from edge_agent.release.document import Target
from edge_agent.release.trust import verify
from edge_agent.service.agent import Agent
from edge_agent.service.documents import Channel, Documents
from edge_agent.service.inbox import Benched, Changed, Desired, Inbox, Quit, Refused
from edge_agent.service.local import only_agent, stages_of, state_directory
from edge_agent.service.parts import Parts
from edge_agent.service.pipelines import Heard, Pipelines
from edge_agent.service.reporting import StageName
from edge_agent.service.spool import Spool, Stream
from edge_agent.telemetry.outbox import Outbox
from edge_agent.telemetry.resources import ResourceMeter
from edge_agent.update.benching import Bencher
from edge_agent.update.benching import Parts as BencherParts
from edge_agent.update.eligibility import Device
from edge_agent.update.fetch import FetchReport, fetch_release
from edge_agent.update.hold import Hold
from edge_agent.update.journal import Journal
from edge_agent.update.parts import Parts as UpdaterParts
from edge_agent.update.patcher import patch_in_child
from edge_agent.update.probe import Circumstances, probe
from edge_agent.update.sealed import Secret
from edge_agent.update.shadow import ShadowPlan, read_available_bytes
from edge_agent.update.status import Status, Versions
from edge_agent.update.store import ReleaseStore
from edge_agent.update.transport import Cancelled, ChunkTransport, Trouble
from edge_agent.update.updater import Updater

if TYPE_CHECKING:
    from edge_agent.service.sampling import SampleSender

_LOG = logging.getLogger(__name__)
Keep = Callable[[], Collection[str]]


def run_agent(config: Config) -> None:
    """Run the agent until it is told to stop, or has nothing left to do.

    Raises:
        EdgeError: it cannot start: another one runs, the state directory or the trusted root cannot be read.
    """
    state_dir = state_directory(config)
    with only_agent(state_dir), ExitStack() as stack:
        inbox = Inbox()
        agent = compose(config, state_dir, inbox, stack)
        stack.enter_context(ControlServer(state_dir, agent.questions.ask))
        stack.enter_context(_ends(inbox))
        _LOG.info("device %s, state in %s", config.device_id, state_dir)
        agent.run()


def compose(config: Config, state_dir: Path, inbox: Inbox, stack: ExitStack) -> Agent:
    """All parts, running; `stack` stops them, the last started first."""
    clock = SystemClock()
    disk = open_disk(state_dir, AGENT)
    store = ReleaseStore(disk, state_dir)
    spool = Spool(
        stack.enter_context(Outbox(state_dir / "outbox.db", capacity=config.telemetry.outbox_records)),
        lambda stream, payload, then: _publish(link, stream, payload, then),
    )
    pace = Pace(clock, config.update.max_bytes_per_s)
    link = _open_link(config, inbox, pace)
    documents = _open_documents(config, disk, clock, inbox) if link is not None else None
    pipelines = Pipelines(
        config.pipeline,
        clock,
        publish=lambda pipeline, payload: link is not None and link.publish_result(pipeline, payload),
        version_of=Versions(store).of,
        ports=lambda pipeline: Ports(
            publish=lambda name, payload: link is not None and link.publish_trigger(name, payload),
            snapshot=lambda seq, path: workers[pipeline].send(Snapshot(seq, str(path))),
        ),
    )
    if link is not None:
        stack.enter_context(link)
    sampler = _open_sampler(config, link, stack)
    stack.callback(pipelines.close)  # before the link is: what a sink has held back goes out
    workers = open_workers(config, inbox, stack)
    stop = threading.Event()
    broker: ChunkTransport = link if link is not None else _NoTransport()
    transports = Transports(broker, pace, clock, ca_file=config.update.ca_file)
    needed = _Needed()
    updaters = _open_updaters(config, store, transports, workers, inbox, stop=stop, keep=needed)
    needed.enter(*updaters.values())
    bencher = _open_bencher(config, store, transports, updaters, inbox, stop=stop, keep=needed)
    if bencher is not None:
        needed.enter(bencher)
    if documents is not None:
        for name, stage in stages_of(config).items():
            updaters[name].desire(documents.recall(Channel(stage.model, stage.channel)))
        stack.enter_context(documents)
    parts = Parts(
        config=config,
        clock=clock,
        inbox=inbox,
        pipelines=pipelines,
        workers=workers,
        updaters=updaters,
        meter=ResourceMeter(state_dir),
        spool=spool,
        threads=stack.enter_context(_running(updaters, workers, bencher, stop)),
        documents=documents,
        link=link,
        bencher=bencher,
        sampler=sampler,
    )
    return Agent(parts)


def _open_link(config: Config, inbox: Inbox, pace: Pace) -> DeviceLink | None:
    if config.mqtt is None:
        return None
    followed = [(stage.model, stage.channel) for stage in stages_of(config).values()]
    if config.update.bench:
        followed += [(model, BENCH_CHANNEL) for model in dict.fromkeys(model for model, _ in followed)]
    return DeviceLink(
        read_settings(config.mqtt),
        Topics(config.mqtt.prefix),
        config.device_id,
        followed,
        inbox.put,
        hears_asks=bool(_publishing(config)),
        window=config.mqtt.fetch_window,
        pace=pace,
    )


def _publishing(config: Config) -> dict[str, SamplesSink]:
    """By pipeline: whose samples may be sent."""
    sinks = {name: pipeline.samples for name, pipeline in config.pipeline.items()}
    return {name: sink for name, sink in sinks.items() if sink is not None and sink.publish}


def _open_sampler(config: Config, link: DeviceLink | None, stack: ExitStack) -> "SampleSender | None":
    sinks = _publishing(config)
    if link is None or not sinks:
        return None
    from edge_agent.service.sampling import SampleSender  # seldom needed

    return stack.enter_context(SampleSender(sinks, link.publish_sample))


def _open_documents(config: Config, disk: Disk, clock: Clock, inbox: Inbox) -> Documents:
    assert config.trust is not None, "the configuration says so"
    try:
        root = config.trust.root.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"trust.root: {config.trust.root}: {error.strerror}",
            hint="copy root.json here from the laptop, where 'edgectl keys init' made it",
        ) from error
    return Documents(
        disk,
        root,
        clock,
        verify,
        on_target=lambda channel, target: inbox.put(Desired(channel, target)),
        on_refusal=lambda channel, error: inbox.put(Refused(channel, error)),
        device_class=config.device.class_ or "",
        is_synchronized=is_synchronized,
    )


def open_workers(config: Config, inbox: Inbox, stack: ExitStack) -> dict[str, PipelineServer]:
    """The server of each pipeline. All workers are asked to end before the first one is waited for."""
    workers = {name: _open_worker(name, config, inbox, stack) for name in config.pipeline}
    for worker in workers.values():
        stack.callback(worker.end)
    return workers


def _open_worker(name: str, config: Config, inbox: Inbox, stack: ExitStack) -> PipelineServer:
    server = PipelineServer(
        name, config.pipeline[name], lambda word: inbox.put(Heard(name, word)), cores=_cores_of_each(config)
    )
    stack.enter_context(server)
    source = config.pipeline[name].source
    if isinstance(source, TopicSource):
        settings = subscription_settings(source, config.mqtt)
        client_id = f"edge-{config.device_id}-{name}"
        stack.enter_context(Subscription(settings, source.topic, server.feed, client_id=client_id))
    return server


def _cores_of_each(config: Config) -> int:
    """What a pipeline may use of the machine without starving the others."""
    return max(1, len(os.sched_getaffinity(0)) // len(config.pipeline))


def _open_updaters(
    config: Config,
    store: ReleaseStore,
    transports: Transports,
    workers: Mapping[str, PipelineServer],
    inbox: Inbox,
    *,
    stop: threading.Event,
    keep: Keep,
) -> dict[StageName, Updater]:
    updaters: dict[StageName, Updater] = {}
    for name, stage in stages_of(config).items():
        parts = UpdaterParts(
            journal=Journal(store.disk, name.pipeline, name.stage),
            store=store,
            fetch=partial(_fetch, store, transports, partial(_read_secret, config)),
            probe=partial(
                probe,
                told=Circumstances(config.pipeline[name.pipeline].threads, _cores_of_each(config), stage.delegate),
                stop=stop,
            ),
            server=workers[name.pipeline].stages[name.stage],
            shadow=_shadow_plan(config),
            clock=SystemClock(),
            keep=keep,
            device=Device(config.device_id, config.device.labels),
            report=partial(_report, inbox, name),
            hold=Hold(config.device_id, SystemClock(), quiet=config.update.quiet, spread_s=config.update.spread_s),
        )
        updaters[name] = Updater(parts, initial=stage.initial)
    return updaters


class _Needed:
    """What any part of this device still needs on the disk; the parts are entered as they are made."""

    def __init__(self) -> None:
        self._parts: list[Updater | Bencher] = []

    def enter(self, *parts: Updater | Bencher) -> None:
        self._parts += parts

    def __call__(self) -> frozenset[str]:
        return frozenset().union(*(part.digests for part in self._parts))


def _open_bencher(
    config: Config,
    store: ReleaseStore,
    transports: Transports,
    updaters: Mapping[StageName, Updater],
    inbox: Inbox,
    *,
    stop: threading.Event,
    keep: Keep,
) -> Bencher | None:
    """With the threads of the first pipeline, and no delegate: a release on the bench belongs to no stage."""
    if not config.update.bench or config.mqtt is None:
        return None
    threads = next(iter(config.pipeline.values())).threads
    parts = BencherParts(
        disk=store.disk,
        store=store,
        fetch=partial(_fetch, store, transports, partial(_read_secret, config)),
        probe=partial(probe, told=Circumstances(threads, _cores_of_each(config)), stop=stop),
        clock=SystemClock(),
        device=Device(config.device_id, config.device.labels),
        is_updating=lambda: any(updater.is_updating for updater in updaters.values()),
        hold=Hold(config.device_id, SystemClock(), quiet=config.update.quiet),
        keep=keep,
        tell=lambda answer: inbox.put(Benched(answer)),
    )
    return Bencher(parts)


def _fetch(
    store: ReleaseStore,
    transports: Transports,
    secret: Secret,
    target: Target,
    *,
    cancelled: Cancelled,
    trouble: Trouble,
) -> FetchReport | None:
    transport = transports.of(target)
    return fetch_release(
        target, store, transport, cancelled=cancelled, trouble=trouble, secret=secret, patcher=patch_in_child
    )


def _read_secret(config: Config) -> bytes:
    """Anew each time: one that is made or mended while the agent runs is found."""
    configured = config.trust.key_file if config.trust is not None else None
    return read_device_key(key_path(configured, state_directory(config)))


def _shadow_plan(config: Config) -> ShadowPlan | None:
    told = config.update
    if not told.shadow_share:
        return None
    return ShadowPlan(told.shadow_share, told.shadow_frames, told.shadow_longest_s, read_available_bytes)


def _report(inbox: Inbox, name: StageName, status: Status) -> None:
    inbox.put(Changed(name, status))


def _publish(link: DeviceLink | None, stream: Stream, payload: bytes, then: Callable[[Receipt], None]) -> None:
    assert link is not None, "the spool only sends once connected"
    publish = link.publish_event if stream == "event" else link.publish_telemetry
    publish(payload, then)


@contextmanager
def _running(
    updaters: Mapping[StageName, Updater],
    workers: Mapping[str, PipelineServer],
    bencher: Bencher | None,
    stop: threading.Event,
) -> Iterator[tuple[threading.Thread, ...]]:
    """Each updater on a thread of its own, and the bencher."""
    named: dict[str, Updater | Bencher] = {f"updater-{name}": updater for name, updater in updaters.items()}
    if bencher is not None:
        named["bencher"] = bencher
    threads = tuple(
        threading.Thread(target=part.run, args=(stop,), name=name, daemon=True) for name, part in named.items()
    )
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop.set()
        for worker in workers.values():
            worker.refuse()
        for part in named.values():
            part.wake()
        for thread in threads:
            thread.join()


@contextmanager
def _ends(inbox: Inbox) -> Iterator[None]:
    """SIGTERM, SIGINT and a thread that dies all end the loop; without one of its threads the agent is not one."""

    def died(what: threading.ExceptHookArgs) -> None:
        _LOG.critical("%s has died", what.thread.name if what.thread else "a thread", exc_info=what.exc_value)
        inbox.put(Quit(what.exc_value))

    before = {number: signal.signal(number, lambda *_: inbox.put(Quit())) for number in (signal.SIGTERM, signal.SIGINT)}
    hook, threading.excepthook = threading.excepthook, died
    try:
        yield
    finally:
        threading.excepthook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


class _NoTransport:
    """A device without a broker has what is on its disk."""

    def collect(self, digests: Sequence[str], take: object, *, cancelled: object, trouble: object) -> None:  # noqa: ARG002
        raise FetchError(
            f"{len(digests)} chunks are missing, and no broker is configured",
            reason=Reason.MISSING_CHUNK,
            hint="add [mqtt], or name the artifact with `initial`",
        )
