"""The running agent: owns the one loop into which all the parts put what has happened.

Everything that blocks (MQTT, updates, workers, verification) has a thread of its own and only puts values into the
inbox. The loop keeps what is reported, feeds sinks and telemetry, and tells systemd that all is well. How the parts are
put together is `compose`'s; what happens to a release is decided in `update`; what a document means, in `documents`.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from queue import Empty
from typing import Any

from edge_agent import schema
from edge_agent.config.update import BENCH_CHANNEL
from edge_agent.errors import EdgeError, Reason, RejectionError, StorageError
from edge_agent.link.device import Ack, ReleaseDocument, SamplesAsked, SubscriptionRefused
from edge_agent.link.events import Connected, Disconnected, Failed
from edge_agent.link.messages import MessageError, Reported, StageReport, format_bench, format_reported
from edge_agent.notify import notify, watchdog_interval_s
from edge_agent.release.document import Target
from edge_agent.service.documents import Channel
from edge_agent.service.inbox import Asked, Benched, Changed, Desired, Event, Quit, Refused, RolledBack
from edge_agent.service.local import find_stage, stages_of, status_tree
from edge_agent.service.parts import Parts
from edge_agent.service.pipelines import Heard
from edge_agent.service.questions import Questions
from edge_agent.service.reporting import StageName, bench_report, event_of, reported, sentence, stage_report
from edge_agent.telemetry.report import telemetry_tree
from edge_agent.telemetry.resources import read_hardware
from edge_agent.update.benching import Answer
from edge_agent.update.machine import Record
from edge_agent.update.status import Problem, Status

_LOG = logging.getLogger(__name__)
_TICK_S = 1.0  # housekeeping at least this often


class Agent:
    """The loop. One thread, `run`'s, calls everything here; `questions` are for any."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_s = parts.clock.monotonic_s()
        self._stages = stages_of(parts.config)
        self._status: dict[StageName, Status] = {}
        self._refusals: dict[Channel, Problem] = {}
        self._link_problem: Problem | None = None
        self._reported: Reported | None = None  # on this connection, but for its time
        self._stale = True  # what is to be reported may have changed
        self._telemetry_due_s = self._started_s + parts.config.telemetry.interval_s
        self._watchdog_s = watchdog_interval_s()
        self._watchdog_due_s = self._started_s
        self._report_due_s = self._started_s + _TICK_S
        self._hardware = read_hardware()
        self.questions = Questions(parts.inbox.put)

    def run(self) -> None:
        """Until a Quit, or until all there was to do is done.

        Raises:
            BaseException: what ended a thread of the agent; systemd then starts it afresh.
        """
        notify("READY=1", "STATUS=starting")
        try:
            self._loop()
        finally:
            notify("STOPPING=1")
            self.questions.end()

    def _loop(self) -> None:
        while not self._is_done():
            try:
                event = self._parts.inbox.get(timeout=self._pause_s())
            except Empty:
                event = None
            if isinstance(event, Quit):
                if event.error is not None:
                    raise event.error
                return
            if event is not None:
                self._react(event)
            self._housekeep()
        notify("STATUS=every source has ended")
        _LOG.info("every source has ended")

    # --- what has happened ----------------------------------------------------------------------------------

    def _react(self, event: Event) -> None:
        match event:
            case Heard():
                self._heard(event)
            case Changed(name, status):
                self._changed(name, status)
            case Desired(channel, target):
                self._desired(channel, target)
            case Benched(answer):
                self._benched(answer)
            case Refused(channel, error):
                self._refused(channel, error)
            case Asked(request, answer):
                self._asked(request, answer)
            case RolledBack():
                self._rolled_back(event)
            case ReleaseDocument(model, channel_name, payload):
                if self._parts.documents is not None:
                    self._parts.documents.offer(Channel(model, channel_name), payload)
            case _:
                self._link_changed(event)

    def _desired(self, channel: Channel, target: Target) -> None:
        self._stale |= self._refusals.pop(channel, None) is not None
        if channel.channel == BENCH_CHANNEL and self._parts.bencher is not None:
            self._parts.bencher.desire(target)
        for name, stage in self._stages.items():
            if (stage.model, stage.channel) == (channel.model, channel.channel):
                self._parts.updaters[name].desire(target)

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
                self._link_problem = Problem(Reason.LINK, str(error), error.hint)  # for whoever asks on the device
                self._stale = True
            case SubscriptionRefused(()):
                self._link_problem = None
                self._stale = True
            case SubscriptionRefused(topics):
                detail = f"the broker refuses the subscription to {', '.join(topics)}"
                self._link_problem = Problem(Reason.LINK, detail, "give this device read access in the broker's ACL")
                self._stale = True
            case Ack(payload):
                self._parts.spool.acknowledged(payload)
            case SamplesAsked(payload):
                if self._parts.sampler is not None:
                    self._parts.sampler.asked(payload)
            case _:
                raise AssertionError(event)

    def _heard(self, heard: Heard) -> None:
        pipelines = self._parts.pipelines
        before = (pipelines.troubles(heard.pipeline), pipelines.library)
        events = pipelines.hear(heard)
        self._stale |= before != (pipelines.troubles(heard.pipeline), pipelines.library)
        for happened in events:
            self._tell(happened)

    def _changed(self, name: StageName, status: Status) -> None:
        before = self._status.get(name)
        self._status[name] = status
        self._stale = True
        happened = event_of(before, status)
        if happened is not None:
            self._tell({"pipeline": name.pipeline, "stage": name.stage, **happened})

    def _refused(self, channel: Channel, error: EdgeError) -> None:
        match error:
            case RejectionError() | StorageError():
                reason = error.reason
            case _:
                reason = Reason.SIGNATURE  # the trusted root is unusable: nobody's signature counts
        detail = f"the release document of {channel.model}/{channel.channel} is not followed: {error}"
        problem = Problem(reason, detail, error.hint)
        if self._refusals.get(channel) == problem:
            return  # judged again and refused again is not news
        self._refusals[channel] = problem
        self._stale = True
        self._tell({"kind": "document_refused", "reason": reason.value, "detail": detail, "hint": error.hint})

    def _benched(self, answer: Answer) -> None:
        release = {"version": answer.version, "digest": answer.digest}
        self._tell({"kind": "bench", **release, "reason": answer.reason, "detail": answer.detail or answer.outcome})
        if self._parts.link is not None:
            report = bench_report(answer, self._hardware, self._parts.clock.now_s())
            self._parts.link.publish_bench(format_bench(report))

    def _tell(self, happened: Mapping[str, object]) -> None:
        """Log an event and send it."""
        words = " ".join(f"{key}={value}" for key, value in happened.items() if value is not None)
        _LOG.info("%s", words)
        at_s = round(self._parts.clock.now_s(), 3)
        present = {key: value for key, value in happened.items() if value is not None}
        self._parts.spool.add("event", {"schema": 1, "at_s": at_s, **present})

    def _asked(self, request: Mapping[str, Any], answer: "Future[Mapping[str, Any]]") -> None:
        match request.get("ask"):
            case "status":
                answer.set_result(status_tree(self._parts.config.device_id, self._stage_reports()))
            case "rollback":
                self._roll_back(request, answer)
            case other:
                answer.set_exception(EdgeError(f"asked for {other!r}, expected status or rollback"))

    def _roll_back(self, request: Mapping[str, Any], answer: "Future[Mapping[str, Any]]") -> None:
        try:
            name = find_stage(self._parts.config, str(request.get("pipeline")), _text(request.get("stage")))
        except EdgeError as error:
            answer.set_exception(error)
            return

        def tell(done: "Future[Record]") -> None:  # on the updater's thread
            self._parts.inbox.put(RolledBack(name, done, answer))

        self._parts.updaters[name].roll_back().add_done_callback(tell)

    def _rolled_back(self, event: RolledBack) -> None:
        error = event.done.exception()
        if error is not None:
            event.answer.set_exception(error)
        else:
            event.answer.set_result({"stage": schema.dump(self._stage_reports()[event.name])})

    # --- housekeeping -----------------------------------------------------------------------------------------

    def _pause_s(self) -> float:
        due_s = min(self._telemetry_due_s, self._watchdog_due_s if self._watchdog_s else self._telemetry_due_s)
        return min(max(0.0, due_s - self._parts.clock.monotonic_s()), _TICK_S)

    def _housekeep(self) -> None:
        now_s = self._parts.clock.monotonic_s()
        # Several changes at once are one message; but results that never stop must not hold it up.
        if self._stale and (self._parts.inbox.empty() or now_s >= self._report_due_s):
            self._report()
        if not self._stale:
            self._report_due_s = now_s + _TICK_S
        for happened in self._parts.pipelines.take_events():
            self._tell(happened)
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
        notify(f"STATUS={'; '.join(f'{name.pipeline}: {sentence(report)}' for name, report in stages.items())}")
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
        said = replace(message, at_s=None)
        if said == self._reported:
            return
        self._reported = said
        try:
            link.publish_reported(format_reported(message))
        except MessageError as error:
            _LOG.error("%s", error)  # the message is all there is to say

    def _stage_reports(self) -> dict[StageName, StageReport]:
        reports = {}
        for name, config in self._stages.items():
            status = self._status.get(name)
            if status is not None:
                pipelines = self._parts.pipelines
                refusal = self._refusals.get(Channel(config.model, config.channel))
                trouble = refusal or pipelines.trouble(name.pipeline, name.stage) or self._link_problem
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


def _text(value: object) -> str | None:
    return None if value is None else str(value)
