"""Live: what the fleet says, as one line for each thing that has changed.

Every message on a device's topics becomes at most a few lines; a `reported` that says nothing new becomes none.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from converter.broker import Broker
from converter.fleet.devices import describe_stage
from edge_agent import schema
from edge_agent.link.events import Received
from edge_agent.link.messages import (
    MessageError,
    StageReport,
    parse_availability,
    parse_event,
    parse_reported,
    parse_telemetry,
)
from edge_agent.link.topics import Topics

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that has happened."""

    device: str
    kind: str  # availability, reported, event, telemetry, problem
    text: str
    content: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self, now: datetime) -> str:
        tree = {"at": now.astimezone(UTC).isoformat(timespec="milliseconds"), "device": self.device, "kind": self.kind}
        return json.dumps({**tree, **self.content}, ensure_ascii=False)


class Watcher:
    """Turns messages into lines; remembers what was known before. Pure."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._online: dict[str, bool] = {}
        self._stages: dict[tuple[str, str, str], StageReport] = {}

    def lines(self, message: Received) -> list[Line]:
        of = self._topics.device_of(message.topic)
        if of is None or not message.payload:
            return []
        device, what = of
        try:
            return self._read(device, what, message.payload)
        except MessageError as error:
            return [Line(device, "problem", f"{what} cannot be read: {error}", {"detail": str(error)})]

    def _read(self, device: str, what: str, payload: bytes) -> list[Line]:
        match what:
            case "availability":
                return self._availability(device, online=parse_availability(payload))
            case "reported":
                return self._reported(device, payload)
            case "event":
                return [_event(device, payload)]
            case "telemetry":
                return _telemetry(device, payload)
            case _:
                return []

    def _availability(self, device: str, *, online: bool) -> list[Line]:
        if self._online.get(device) is online:
            return []
        self._online[device] = online
        return [Line(device, "availability", "is online" if online else "is offline", {"online": online})]

    def _reported(self, device: str, payload: bytes) -> list[Line]:
        lines = []
        for pipeline, stages in parse_reported(payload).pipelines.items():
            for name, stage in stages.items():
                before = self._stages.get((device, pipeline, name))
                self._stages[device, pipeline, name] = stage
                if before is None or describe_stage(before)[:3] != describe_stage(stage)[:3]:
                    release, phase, last, _ = describe_stage(stage)
                    text = f"{pipeline}: {release}, {phase}" + (f"; last update: {last}" if stage.last else "")
                    content = {"pipeline": pipeline, "stage": name, "report": schema.dump(stage)}
                    lines.append(Line(device, "reported", text, content))
        return lines


def watch(broker: Broker, device: str | None = None) -> Iterator[Line]:
    """Lines without end: first what is known already, then each change. Of one device, or of all."""
    topics, of = broker.topics, device or "+"
    broker.listen([topics.availability(of), topics.reported(of), topics.event(of), topics.telemetry(of)])
    watcher = Watcher(topics)
    while True:
        message = broker.next_event(_LOOK_S)
        if message is not None:
            yield from watcher.lines(message)


def _event(device: str, payload: bytes) -> Line:
    event = parse_event(payload)
    parts = [
        event.kind.replace("_", " "),
        " ".join(filter(None, (event.pipeline, event.version or (event.digest or "")[:12]))),
        ": ".join(filter(None, (event.reason, event.detail))),
    ]
    return Line(device, "event", " - ".join(filter(None, parts)), {"event": schema.dump(event)})


def _telemetry(device: str, payload: bytes) -> list[Line]:
    telemetry = parse_telemetry(payload)
    lines = []
    for name, pipeline in telemetry.pipelines.items():
        p95 = ", ".join(
            f"{stage} {figures['p95']:.1f}" for stage, figures in pipeline.latency_ms.items() if "p95" in figures
        )
        frames = pipeline.frames
        text = f"{name}: {frames.get('out', 0)} of {frames.get('in', 0)} frames, {frames.get('dropped', 0)} dropped"
        text += f"; p95 ms: {p95}" if p95 else ""
        content = {"pipeline": name, "at_s": telemetry.at_s, "telemetry": schema.dump(pipeline)}
        lines.append(Line(device, "telemetry", text, content))
    return lines
