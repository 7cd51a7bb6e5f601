"""Which devices there are, and what each runs, from what the broker retains of them.

One look, no waiting for telemetry: the latency comes with `reported`. Following changes is left to `watch`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from converter.broker import Broker
from edge_agent import schema
from edge_agent.link.messages import (
    MessageError,
    ReleaseReport,
    Reported,
    StageReport,
    parse_availability,
    parse_reported,
)
from edge_agent.link.topics import Topics

_GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the broker knows it."""

    id: str
    online: bool | None = None  # None: it has never said
    reported: Reported | None = None
    problem: str | None = None  # what it retains cannot be read


def look(broker: Broker) -> list[Device]:
    """Every device that has ever said anything, by id."""
    topics = broker.topics
    # One after the other: mosquitto queues 1,000 messages for a client, and drops the rest.
    found = broker.retained([topics.availability("+")], grace_s=_GRACE_S)
    return gather(found | broker.retained([topics.reported("+")], grace_s=_GRACE_S), topics)


def gather(retained: Mapping[str, bytes], topics: Topics) -> list[Device]:
    """The devices behind retained messages (topic to payload)."""
    devices: dict[str, Device] = {}
    for topic, payload in sorted(retained.items()):
        of = topics.device_of(topic)
        if of is not None:
            device = devices.get(of[0], Device(of[0]))
            devices[of[0]] = _heard(device, of[1], payload)
    return list(devices.values())


def device_to_json(device: Device) -> dict[str, object]:
    tree: dict[str, object] = schema.dump(device)
    return {"id": device.id, "online": device.online, **tree}


def format_table(devices: list[Device]) -> str:
    """One line for each stage of each pipeline of each device, aligned."""
    heads = ("DEVICE", "STATE", "PIPELINE", "RELEASE", "PHASE", "LAST UPDATE", "P95")
    return align([heads, *(row for device in devices for row in _rows(device))])


def align(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its heads."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def describe_stage(stage: StageReport) -> tuple[str, str, str, str]:
    """Release, phase, last outcome and latency of a stage in a few words each."""
    release = f"{stage.model} {_version(stage.current) if stage.current else '(none yet)'}"
    phase = stage.phase if stage.candidate is None else f"{stage.phase} {_version(stage.candidate)}"
    if stage.held is not None:
        phase += f", does not take {stage.held.version} ({stage.held.reason})"
    if stage.problem is not None:
        phase += f" ({stage.problem.reason}: {stage.problem.detail})"
    last = "-"
    if stage.last is not None:
        why = f" ({stage.last.reason})" if stage.last.reason else ""
        last = f"{stage.last.result} {stage.last.version or stage.last.digest[:12]}{why}"
    return release, phase, last, "-" if stage.p95_ms is None else f"{stage.p95_ms:.1f} ms"


def _heard(device: Device, what: str, payload: bytes) -> Device:
    try:
        if what == "availability":
            return Device(device.id, parse_availability(payload), device.reported, device.problem)
        if what == "reported":
            return Device(device.id, device.online, parse_reported(payload), device.problem)
    except MessageError as error:
        return Device(device.id, device.online, device.reported, f"{what}: {error}")
    return device


def _rows(device: Device) -> list[tuple[str, ...]]:
    state = {True: "online", False: "offline", None: "unknown"}[device.online]
    stages = [
        (pipeline if len(stages) == 1 else f"{pipeline}/{name}", stage)
        for pipeline, stages in (device.reported.pipelines if device.reported else {}).items()
        for name, stage in stages.items()
    ]
    if not stages:
        return [(device.id, state, device.problem or "-", "-", "-", "-", "-")]
    return [(device.id, state, name, *describe_stage(stage)) for name, stage in stages]


def _version(release: ReleaseReport) -> str:
    return release.version or release.digest[:12]
