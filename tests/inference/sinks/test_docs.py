"""docs/sinks.md says what there is."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from edge_agent.config.agent import parse_config
from edge_agent.config.sinks import (
    Gpio,
    JsonlSink,
    MqttSink,
    PluginSink,
    PreviewSink,
    SamplesSink,
    SqliteSink,
    Trigger,
    WebhookSink,
    When,
)
from edge_agent.inference import preview
from edge_agent.inference.samples import folder, keeper
from edge_agent.inference.sinks import plugin, sqlite, webhook
from tests.key_tables import documented, keys_of, shown

PAGE = (Path(__file__).parents[3] / "docs" / "sinks.md").read_text(encoding="utf-8")
KINDS = (MqttSink, JsonlSink, WebhookSink, SqliteSink, PreviewSink, SamplesSink, PluginSink)


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


def test_the_example_of_each_kind_shows_every_key_and_its_default() -> None:
    sinks = [sink for block in blocks() for sink in tomllib.loads(block)["pipeline"].get("birds", {}).get("sinks", [])]
    kinds = {get_args(get_type_hints(kind)["kind"])[0]: kind for kind in KINDS}
    assert sorted(sink["kind"] for sink in sinks) == sorted(kinds), "one example of each"
    assert {sink["kind"]: shown(sink, kinds[sink["kind"]]) for sink in sinks} == {kind: [] for kind in kinds}


def test_the_keys_of_a_trigger_are_those_of_the_code() -> None:
    assert documented(PAGE) == {"triggers": keys_of(Trigger), "when": keys_of(When), "gpio": keys_of(Gpio)}


@pytest.mark.parametrize(("section", "kind"), [("### When", When), ("### What is done", Trigger)])
def test_a_key_that_is_explained_is_one(section: str, kind: type[Any]) -> None:
    text = PAGE[PAGE.index(section) :].split("\n##", 2)[0]
    explained = [
        key for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for key in re.findall(r"`(\w+)`", cell)
    ]
    assert explained
    assert [key for key in explained if key not in keys_of(kind)] == []
    if kind is When:  # of a trigger, `name` and `when` need no word there
        told = {*explained, *re.findall(r"`(\w+)(?: = \w+)?`", text)}
        assert [key for key in keys_of(When) if key not in told] == []


def test_the_table_is_that_of_the_code() -> None:
    assert sqlite.TABLES.strip() in PAGE


def test_the_numbers_are_those_of_the_code() -> None:
    said = {
        f"at most {preview.MOST_STREAMS} at a time", f"every {preview._BIND_AGAIN_S:.0f} s",
        f"{sqlite._WAITING:,} results may wait", f"up to {plugin._WAITING:,} results wait",
        f"what waits has {webhook._CLOSE_S:.0f} s", f"the group `{plugin.GROUP}`",
        f"`{folder.RESULTS}`", f"{keeper._WAITING} samples may wait",
        ", ".join(str(status) for status in webhook._LATER[:-1]) + f" and {webhook._LATER[-1]}",
    }  # fmt: skip
    assert {words for words in said if words not in PAGE.replace("\n", " ")} == set()
