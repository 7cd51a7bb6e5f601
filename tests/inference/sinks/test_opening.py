"""Every kind of the configuration opens its sink, and none touches the world before there is a result."""

import tomllib
from pathlib import Path

from edge_agent.config.agent import parse_config
from edge_agent.inference.sinks.opening import open_sinks
from tests.sim.clock import FakeClock
from tests.sim.results import result


def test_each_kind_opens_its_sink_and_the_preview_none(tmp_path: Path) -> None:
    config = parse_config(
        tomllib.loads(f"""
        [mqtt]
        url = "mqtt://broker"
        [trust]
        root = "root.json"
        [pipeline.birds]
        model = "finder"
        source = {{ kind = "folder", path = "pictures" }}
        sinks = [
            {{ kind = "mqtt" }}, {{ kind = "jsonl", path = "{tmp_path}/b.jsonl" }},
            {{ kind = "webhook", url = "http://127.0.0.1:1/" }}, {{ kind = "sqlite", path = "{tmp_path}/b.db" }},
            {{ kind = "plugin", name = "mine" }}, {{ kind = "preview", port = 8090 }},
        ]
        """)
    ).pipeline["birds"]
    sent: list[tuple[str, bytes]] = []

    def publish(pipeline: str, payload: bytes) -> bool:
        sent.append((pipeline, payload))
        return True

    sinks = open_sinks("birds", config, FakeClock(), publish=publish, version_of=lambda _: "1.0.0")
    kinds = [type(sink).__name__ for sink in sinks]
    assert kinds == ["MqttSink", "JsonlSink", "WebhookSink", "SqliteSink", "PluginSink"]
    assert list(tmp_path.iterdir()) == []
    sinks[0].take(result("crow"))
    assert [(pipeline, b'"version":"1.0.0"' in payload) for pipeline, payload in sent] == [("birds", True)]
    for sink in sinks:
        sink.close()
