"""What can only be told of all pipelines together: what needs [mqtt], and what two of them cannot share.

What one table says by itself is checked by that table.
"""

import os.path
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from edge_agent.config.pipeline import PipelineConfig, PipelineParts
from edge_agent.config.row_sources import SerialSource, StdinSource, TopicSource
from edge_agent.config.sinks import JsonlSink, MqttSink, PreviewSink, SamplesSink, SqliteSink
from edge_agent.config.sources import CameraSource, MicrophoneSource, SourceConfig

Pipeline = PipelineConfig | PipelineParts
Pipelines = Mapping[str, Pipeline]
Key = TypeVar("Key", bound=Hashable)


def problems_together(pipelines: Pipelines, *, has_mqtt: bool, has_trust: bool) -> Iterator[str]:
    """Each as a sentence that names the pipelines."""
    if has_mqtt and not has_trust:
        yield "[mqtt] needs [trust] root = ...: releases are only taken from those whose keys it names"
    for name, pipeline in pipelines.items():
        if not has_mqtt:
            yield from _without_mqtt(name, pipeline)
        if isinstance(pipeline.source, StdinSource) and str(pipeline.source.path) == "-":
            yield (
                f"the source of [pipeline.{name}] is standard input, which only `edge-agent infer` has: "
                "give the path of a named pipe"
            )
    yield from _same_device(pipelines)
    yield from _same_port(pipelines)
    yield from _same_file(pipelines)
    yield from _same_line(pipelines)
    yield from _same_snapshots(pipelines)
    yield from _same_samples(pipelines)


def _without_mqtt(name: str, pipeline: Pipeline) -> Iterator[str]:
    if isinstance(pipeline.source, TopicSource) and pipeline.source.url is None:
        yield f"the source of [pipeline.{name}] is a topic: it needs [mqtt], or a url of its own"
    if any(isinstance(sink, MqttSink) for sink in pipeline.sinks):
        yield f"a sink of [pipeline.{name}] is of kind mqtt: it needs [mqtt]; without a broker, use another kind"
    if any(isinstance(sink, SamplesSink) and sink.publish for sink in pipeline.sinks):
        yield f"samples of [pipeline.{name}] have publish = true: it needs [mqtt]; without a broker, leave it out"
    for trigger in pipeline.triggers:
        if trigger.topic is not None:
            yield f"trigger {trigger.name} of [pipeline.{name}] has a topic: it needs [mqtt]"


def _same_device(pipelines: Pipelines) -> Iterator[str]:
    devices = [(used, name) for name, pipeline in pipelines.items() if (used := _device_of(pipeline.source))]
    for (kind, device), names in _several(devices):
        yield (
            f"the sources of {_tables(names)} are one {kind}, {device!r}, which only one can read: "
            "give one pipeline both models as stages, or each a device of its own"
        )


def _device_of(source: SourceConfig | None) -> tuple[str, str] | None:
    """What a source has for itself alone; None: others may read it too."""
    match source:
        case CameraSource(device=device):
            return "camera", "csi" if device == "csi:0" else os.path.normpath(device)
        case SerialSource(device=device):
            return "serial port", os.path.normpath(device)
        case MicrophoneSource(device=device) if device.startswith(("hw:", "plughw:")):  # "default" is often shared
            return "microphone", device
    return None


def _same_port(pipelines: Pipelines) -> Iterator[str]:
    ports = [
        (sink.port, name)
        for name, pipeline in pipelines.items()
        for sink in pipeline.sinks
        if isinstance(sink, PreviewSink)
    ]
    for port, names in _several(ports):
        if len(set(names)) > 1:  # else: one preview is enough
            yield f"the previews of {_tables(names)} have one port, {port}: give each a port of its own"


def _same_file(pipelines: Pipelines) -> Iterator[str]:
    """A database may be shared by pipelines; one pipeline that writes it twice has each result twice."""
    users: dict[Path, list[tuple[str, str]]] = defaultdict(list)
    for name, pipeline in pipelines.items():
        for sink in pipeline.sinks:
            if isinstance(sink, JsonlSink | SqliteSink) and str(sink.path) != "-":
                users[sink.path].append((name, sink.kind))
    for path, found in users.items():
        shared = all(kind == "sqlite" for _, kind in found) and len(set(found)) == len(found)
        if len(found) > 1 and not shared:
            names = _tables([name for name, _ in found])
            yield f"several sinks of {names} write {str(path)!r}: give each a path of its own"


def _same_line(pipelines: Pipelines) -> Iterator[str]:
    lines = [
        ((os.path.normpath(trigger.gpio.chip), trigger.gpio.line), f"{trigger.name} of [pipeline.{name}]")
        for name, pipeline in pipelines.items()
        for trigger in pipeline.triggers
        if trigger.gpio is not None
    ]
    for (chip, line), triggers in _several(lines):
        yield (
            f"the triggers {' and '.join(triggers)} switch one GPIO line, {line} of {chip}, which only one can have: "
            "give each a line of its own"
        )


def _same_snapshots(pipelines: Pipelines) -> Iterator[str]:
    """Which pictures of a folder are a trigger's is told by its name: each would remove the other's."""
    folders = [
        ((trigger.snapshot, trigger.name), name)
        for name, pipeline in pipelines.items()
        for trigger in pipeline.triggers
        if trigger.snapshot is not None
    ]
    for (folder, trigger), names in _several(folders):
        if len(set(names)) > 1:  # else: several triggers are called so
            yield (
                f"the triggers {trigger} of {_tables(names)} keep pictures in {str(folder)!r}: "
                "give each a folder or a name of its own"
            )


def _same_samples(pipelines: Pipelines) -> Iterator[str]:
    """Each would count, and remove, the samples of the other."""
    folders = [
        (sink.folder, name)
        for name, pipeline in pipelines.items()
        for sink in pipeline.sinks
        if isinstance(sink, SamplesSink)
    ]
    for folder, names in _several(folders):
        if len(set(names)) > 1:  # else: one samples sink is enough
            yield f"the samples of {_tables(names)} have one folder, {str(folder)!r}: give each a folder of its own"


def _several(uses: list[tuple[Key, str]]) -> Iterator[tuple[Key, list[str]]]:
    """What is used more than once, with all who use it."""
    users: dict[Key, list[str]] = defaultdict(list)
    for what, user in uses:
        users[what].append(user)
    return ((what, found) for what, found in users.items() if len(found) > 1)


def _tables(names: list[str]) -> str:
    return " and ".join(f"[pipeline.{name}]" for name in dict.fromkeys(names))
