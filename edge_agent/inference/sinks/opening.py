"""From a pipeline's configuration to its sinks: the one place that knows which kind is which."""

from collections.abc import Callable
from functools import partial
from typing import assert_never

from edge_agent.clock import Clock
from edge_agent.config.pipeline import PipelineConfig
from edge_agent.config.sinks import JsonlSink as JsonlConfig
from edge_agent.config.sinks import MqttSink as MqttConfig
from edge_agent.config.sinks import PluginSink as PluginConfig
from edge_agent.config.sinks import PreviewSink, SinkConfig
from edge_agent.config.sinks import SamplesSink as SamplesConfig
from edge_agent.config.sinks import SqliteSink as SqliteConfig
from edge_agent.config.sinks import WebhookSink as WebhookConfig
from edge_agent.inference.sinks.jsonl import JsonlSink
from edge_agent.inference.sinks.mqtt import MqttSink
from edge_agent.inference.sinks.samples import SamplesSink
from edge_agent.inference.sinks.sink import Sink
from edge_agent.inference.sinks.tree import ResultFormat, VersionOf


def open_sinks(
    pipeline: str,
    config: PipelineConfig,
    clock: Clock,
    *,
    publish: Callable[[str, bytes], bool],
    version_of: VersionOf,
) -> list[Sink]:
    """The sinks of a pipeline, but for the preview, which is the worker's. Nothing is opened before the first result.

    `publish(pipeline, payload)` says whether the link took the message.
    """
    results = ResultFormat(pipeline, tuple(config.stage), version_of)
    sinks = [_open(sink, results, clock, partial(publish, pipeline)) for sink in config.sinks]
    return [sink for sink in sinks if sink is not None]


def _open(  # noqa: PLR0911  # one for each kind
    config: SinkConfig, results: ResultFormat, clock: Clock, publish: Callable[[bytes], bool]
) -> Sink | None:
    # What is rarely used is imported where it is: HTTP and SQLite cost a small device memory.
    match config:
        case MqttConfig():
            return MqttSink(config, results, publish, clock)
        case JsonlConfig():
            return JsonlSink(config, results)
        case WebhookConfig():
            from edge_agent.inference.sinks.webhook import WebhookSink

            return WebhookSink(config, results, clock)
        case SqliteConfig():
            from edge_agent.inference.sinks.sqlite import SqliteSink

            return SqliteSink(config, results)
        case PluginConfig():
            from edge_agent.inference.sinks.plugin import PluginSink

            return PluginSink(config, results)
        case SamplesConfig():
            return SamplesSink()
        case PreviewSink():
            return None
    assert_never(config)
