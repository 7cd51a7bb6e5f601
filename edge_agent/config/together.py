"""What can only be told of all pipelines together: what needs [mqtt], and what two of them cannot share.

What one table says by itself is checked by that table.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_agent.config.pipeline import PipelineConfig, PipelineParts
from edge_agent.config.row_sources import StdinSource, TopicSource
from edge_agent.config.sinks import JsonlSink, MqttSink, PreviewSink, SqliteSink

Pipeline = PipelineConfig | PipelineParts
Pipelines = Mapping[str, Pipeline]


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
    yield from _same_port(pipelines)
    yield from _same_file(pipelines)


def _without_mqtt(name: str, pipeline: Pipeline) -> Iterator[str]:
    if isinstance(pipeline.source, TopicSource) and pipeline.source.url is None:
        yield f"the source of [pipeline.{name}] is a topic: it needs [mqtt], or a url of its own"
    if any(isinstance(sink, MqttSink) for sink in pipeline.sinks):
        yield f"a sink of [pipeline.{name}] is of kind mqtt: it needs [mqtt]; without a broker, use another kind"
    for trigger in pipeline.triggers:
        if trigger.topic is not None:
            yield f"trigger {trigger.name} of [pipeline.{name}] has a topic: it needs [mqtt]"


def _same_port(pipelines: Pipelines) -> Iterator[str]:
    users: dict[int, list[str]] = defaultdict(list)
    for name, pipeline in pipelines.items():
        for sink in pipeline.sinks:
            if isinstance(sink, PreviewSink):
                users[sink.port].append(name)
    for port, names in users.items():
        if len(names) > 1:
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
            names = list(dict.fromkeys(name for name, _ in found))
            yield f"several sinks of {_tables(names)} write {str(path)!r}: give each a path of its own"


def _tables(names: list[str]) -> str:
    return " and ".join(f"[pipeline.{name}]" for name in names)
