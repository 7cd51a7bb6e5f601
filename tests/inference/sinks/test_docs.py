"""docs/sinks.md says what there is."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from edge_agent.config.agent import parse_config
from edge_agent.config.sinks import (
    Gpio,
    JsonlSink,
    MqttSink,
    PluginSink,
    PreviewSink,
    SqliteSink,
    Trigger,
    WebhookSink,
    When,
)
from edge_agent.inference import preview
from edge_agent.inference.sinks import plugin, sqlite, webhook

PAGE = (Path(__file__).parents[3] / "docs" / "sinks.md").read_text(encoding="utf-8")
KINDS = (MqttSink, JsonlSink, WebhookSink, SqliteSink, PreviewSink, PluginSink)


def blocks() -> list[str]:
    return [block for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "[[pipeline." in block]


def configured() -> dict[str, Any]:
    broker = '[mqtt]\nurl = "mqtt://broker"\n[trust]\nroot = "root.json"\n'
    heads = broker + "".join(
        f'[pipeline.{name}]\nmodel = "m"\nsource = {{ kind = "folder", path = "p" }}\n' for name in NAMES
    )
    return dict(parse_config(tomllib.loads(heads + "\n".join(blocks()))).pipeline)


NAMES = sorted(set(re.findall(r"\[\[pipeline\.(\w+)\.", PAGE)))


def test_every_example_can_be_followed_and_every_kind_has_one() -> None:
    pipelines = configured()
    assert {type(sink) for sink in pipelines["birds"].sinks} == set(KINDS)
    assert len(pipelines["porch"].triggers) == len(re.findall(r"^\[\[pipeline\.porch\.triggers", PAGE, re.MULTILINE))


def test_every_key_is_named() -> None:
    names = {field.name for kind in (*KINDS, Trigger, When, Gpio) for field in fields(kind)}
    missing = [name for name in sorted(names) if not re.search(rf"\b{name}\b", PAGE)]
    assert missing == []


def test_the_table_is_that_of_the_code() -> None:
    assert sqlite.TABLES.strip() in PAGE


def test_the_numbers_are_those_of_the_code() -> None:
    said = {
        f"at most {preview.MOST_STREAMS} at a time", f"every {preview._BIND_AGAIN_S:.0f} s",
        f"{sqlite._WAITING:,} results may wait", f"up to {plugin._WAITING:,} results wait",
        f"what waits has {webhook._CLOSE_S:.0f} s", f"the group `{plugin.GROUP}`",
        ", ".join(str(status) for status in webhook._LATER[:-1]) + f" and {webhook._LATER[-1]}",
    }  # fmt: skip
    assert {words for words in said if words not in PAGE.replace("\n", " ")} == set()
