"""The running agent: owns the one loop into which all the parts put what has happened.

Everything that blocks (MQTT, updates, workers, verification) has a thread of its own and only puts values into the
inbox. The loop keeps what is reported, feeds sinks and telemetry, and tells systemd that all is well. How the parts are
put together is `compose`'s; what happens to a release is decided in `update`; what a document means, in `documents`.
"""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from edge_agent import schema
from edge_agent.clock import Clock
from edge_agent.config import Config
from edge_agent.errors import EdgeError, Reason, RejectionError
from edge_agent.link.device import Ack, DeviceEvent, DeviceLink, ReleaseDocument, SubscriptionRefused
from edge_agent.link.events import Connected, Disconnected, Failed
from edge_agent.link.messages import MessageError, StageReport, format_reported
from edge_agent.notify import notify, watchdog_interval_s
from edge_agent.release.document import Target
from edge_agent.service.documents import Channel, Documents
from edge_agent.service.local import find_stage, stages_of, status_tree
from edge_agent.service.pipelines import Heard, Pipelines
from edge_agent.service.reporting import StageName, event_of, reported, stage_report
from edge_agent.service.spool import Spool
from edge_agent.telemetry.report import telemetry_tree
from edge_agent.telemetry.resources import ResourceMeter, read_hardware
from edge_agent.update.status import Problem, Status
from edge_agent.update.updater import Updater

_LOG = logging.getLogger(__name__)
_TICK_S = 1.0  # housekeeping at least this often
_ROLLBACK_S = 50.0


@dataclass(frozen=True, slots=True)
class Changed:
    """An updater has something new to report."""

    name: StageName
    status: Status


@dataclass(frozen=True, slots=True)
class Desired:
    """A believed document says what a channel wants."""

    channel: Channel
    target: Target


@dataclass(frozen=True, slots=True)
class Refused:
    """A document was not believed, or could not be remembered."""

    channel: Channel
    error: EdgeError


@dataclass(frozen=True, slots=True)
class Asked:
    """A person asks through the control socket."""

    request: Mapping[str, Any]
    answer: "Future[Mapping[str, Any]]"


@dataclass(frozen=True, slots=True)
class Quit:
    """Stop; `error` is what a thread of ours died of."""

    error: BaseException | None = None


Event = Heard | Changed | Desired | Refused | Asked | Quit | DeviceEvent
Inbox = SimpleQueue[Event]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop works with, started and stopped by `compose`."""

    config: Config
    clock: Clock
    inbox: Inbox
    pipelines: Pipelines
    workers: Mapping[str, Any]  # pipeline → PipelineServer
    updaters: Mapping[StageName, Updater]
    meter: ResourceMeter
    spool: Spool
    threads: tuple[threading.Thread, ...]  # those that must live as long as the agent
    documents: Documents | None
    link: DeviceLink | None


class Agent:
    """The loop. One thread, `run`'s, calls everything here but `answer`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_s = parts.clock.monotonic_s()
        self._stages = stages_of(parts.config)
        self._status: dict[StageName, Status] = {}
        self._refusals: dict[Channel, Problem] = {}
        self._link_problem: Problem | None = None
        self._reported: bytes | None = None
        self._stale = True  # what is to be reported may have changed
        self._telemetry_due_s = self._started_s + parts.config.telemetry.interval_s
        self._watchdog_s = watchdog_interval_s()
        self._watchdog_due_s = self._started_s
        self._hardware = read_hardware()

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """For the control socket's thread: have the loop answer, and wait for it."""
        future: Future[Mapping[str, Any]] = Future()
        self._parts.inbox.put(Asked(request, future))
        return future.result(_ROLLBACK_S)

    def run(self) -> None:
        """Until a Quit, or until all there was to do is done.

        Raises:
            BaseException: what ended a thread of the agent; systemd then starts it afresh.
        """
        notify("READY=1", "STATUS=starting")
        while True:
            try:
                event = self._parts.inbox.get(timeout=self._pause_s())
            except Empty:
                event = None
            if isinstance(event, Quit):
                notify("STOPPING=1")
                if event.error is not None:
                    raise event.error
                return
            if event is not None:
                self._react(event)
            self._housekeep()
            if self._is_done():
                notify("STOPPING=1", "STATUS=every source has ended")
                return

    # --- what has happened ----------------------------------------------------------------------------------

    def _react(self, event: Event) -> None:
        match event:
            case Heard():
                self._heard(event)
            case Changed(name, status):
                self._changed(name, status)
            case Desired(channel, target):
                self._stale |= self._refusals.pop(channel, None) is not None
                for name, stage in self._stages.items():
                    if (stage.model, stage.channel) == (channel.model, channel.channel):
                        self._parts.updaters[name].desire(target)
            case Refused(channel, error):
                self._refused(channel, error)
            case Asked(request, answer):
                self._asked(request, answer)
            case ReleaseDocument(model, channel_name, payload):
                if self._parts.documents is not None:
                    self._parts.documents.offer(Channel(model, channel_name), payload)
            case _:
                self._link_changed(event)

    def _link_changed(self, event: Event) -> None:
        match event:
            case Connected(protocol=protocol):
                _LOG.info("connected to the broker, MQTT %s", protocol)
                self._link_problem = None
                self._reported = None  # the broker may have forgotten it
                self._stale = True
                self._parts.spool.connected()
            case Disconnected(reason=reason):
                _LOG.warning("the connection to the broker has ended: %s", reason)
                self._parts.spool.disconnected()
            case Failed(error, retry_in_s):
                _LOG.warning("%s (next try in %.0f s)%s", error, retry_in_s, f"; {error.hint}" if error.hint else "")
            case SubscriptionRefused(topics):
                detail = f"the broker refuses the subscription to {', '.join(topics)}"
                self._link_problem = Problem(Reason.LINK, detail, "give this device read access in the broker's ACL")
                self._stale = True
            case Ack(payload):
                self._parts.spool.acknowledged(payload)
            case _:
                raise AssertionError(event)

    def _heard(self, heard: Heard) -> None:
        pipelines = self._parts.pipelines
        before = (pipelines.trouble(heard.pipeline), pipelines.library)
        happened = pipelines.hear(heard)
        self._stale |= before != (pipelines.trouble(heard.pipeline), pipelines.library)
        if happened is not None:
            self._tell(happened)

    def _changed(self, name: StageName, status: Status) -> None:
        before = self._status.get(name)
        self._status[name] = status
        self._stale = True
        happened = event_of(before, status)
        if happened is not None:
            self._tell({"pipeline": name.pipeline, "stage": name.stage, **happened})

    def _refused(self, channel: Channel, error: EdgeError) -> None:
        reason = error.reason if isinstance(error, RejectionError) else Reason.DISK_FAILED
        detail = f"the release document of {channel.model}/{channel.channel} is not followed: {error}"
        self._refusals[channel] = Problem(reason, detail, error.hint)
        self._stale = True
        self._tell({"kind": "document_refused", "reason": reason.value, "detail": detail, "hint": error.hint})

    def _tell(self, happened: Mapping[str, object]) -> None:
        """Log an event and send it."""
        words = " ".join(f"{key}={value}" for key, value in happened.items() if value is not None)
        _LOG.info("%s", words)
        at_s = round(self._parts.clock.now_s(), 3)
        present = {key: value for key, value in happened.items() if value is not None}
        self._parts.spool.add("event", {"schema": 1, "at_s": at_s, **present})

    def _asked(self, request: Mapping[str, Any], answer: "Future[Mapping[str, Any]]") -> None:
        try:
            match request.get("ask"):
                case "status":
                    answer.set_result(status_tree(self._parts.config.device_id, self._stage_reports()))
                case "rollback":
                    self._roll_back(request, answer)
                case other:
                    raise EdgeError(f"asked for {other!r}, expected status or rollback")  # noqa: TRY301
        except EdgeError as error:
            answer.set_exception(error)

    def _roll_back(self, request: Mapping[str, Any], answer: "Future[Mapping[str, Any]]") -> None:
        name = find_stage(self._parts.config, str(request.get("pipeline")), request.get("stage"))
        done = self._parts.updaters[name].roll_back()

        def tell_result(future: "Future[Any]") -> None:
            error = future.exception()
            if error is not None:
                answer.set_exception(error)
                return
            status = Status(future.result(), versions=self._status[name].versions)
            answer.set_result({"stage": schema.dump(stage_report(self._stages[name], status))})

        done.add_done_callback(tell_result)

    # --- housekeeping -----------------------------------------------------------------------------------------

    def _pause_s(self) -> float:
        due_s = min(self._telemetry_due_s, self._watchdog_due_s if self._watchdog_s else self._telemetry_due_s)
        return min(max(0.0, due_s - self._parts.clock.monotonic_s()), _TICK_S)

    def _housekeep(self) -> None:
        if self._stale and self._parts.inbox.empty():
            self._report()
        now_s = self._parts.clock.monotonic_s()
        if now_s >= self._telemetry_due_s:
            self._telemetry_due_s = now_s + self._parts.config.telemetry.interval_s
            self._send_telemetry(now_s)
        if self._watchdog_s is not None and now_s >= self._watchdog_due_s:
            self._watchdog_due_s = now_s + self._watchdog_s
            if all(thread.is_alive() for thread in self._parts.threads):
                notify("WATCHDOG=1")
        self._parts.spool.flush()

    def _report(self) -> None:
        """Publish `reported` if it has changed, and say it to systemd."""
        self._stale = False
        stages = self._stage_reports()
        notify(f"STATUS={'; '.join(f'{name.pipeline}: {_sentence(report)}' for name, report in stages.items())}")
        link = self._parts.link
        if link is None or not link.connected:
            self._reported = None
            return
        message = reported(
            hardware=self._hardware,
            library=self._parts.pipelines.library,
            labels=self._parts.config.device.labels,
            stages=stages,
            at_s=self._parts.clock.now_s(),
        )
        try:
            payload = format_reported(message)
        except MessageError as error:
            _LOG.error("%s", error)  # the message is all there is to say
            return
        if payload != self._reported:
            link.publish_reported(payload)
            self._reported = payload

    def _stage_reports(self) -> dict[StageName, StageReport]:
        reports = {}
        for name, config in self._stages.items():
            status = self._status.get(name)
            if status is not None:
                pipelines = self._parts.pipelines
                refusal = self._refusals.get(Channel(config.model, config.channel))
                trouble = refusal or pipelines.trouble(name.pipeline) or self._link_problem
                p95_ms = pipelines.p95_ms(name.pipeline)
                reports[name] = stage_report(config, status, trouble=trouble, p95_ms=p95_ms)
        return reports

    def _send_telemetry(self, now_s: float) -> None:
        workers = self._parts.workers
        figures = self._parts.pipelines.take_figures({name: worker.pss_bytes for name, worker in workers.items()})
        pids = [worker.pid for worker in workers.values() if worker.pid is not None]
        tree = telemetry_tree(
            at_s=self._parts.clock.now_s(),
            uptime_s=now_s - self._started_s,
            pipelines=figures,
            resources=self._parts.meter.read(pids).to_json(),
        )
        self._parts.spool.add("telemetry", tree)
        self._stale = True  # the latency in `reported`

    def _is_done(self) -> bool:
        """Without a broker, an agent whose sources were played once has nothing left to do."""
        return (
            self._parts.link is None
            and self._parts.pipelines.all_ended
            and all(status.record.candidate is None for status in self._status.values())
        )


def _sentence(report: StageReport) -> str:
    """The update machine's sentence for `systemctl status`."""
    serving = f"{report.model} {report.current.version}" if report.current else "nothing installed"
    if report.candidate is not None:
        return f"{serving}, {report.phase} {report.candidate.version or report.candidate.digest[:12]}"
    return f"{serving} ({report.problem.reason})" if report.problem else serving
