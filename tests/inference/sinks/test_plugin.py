"""Sinks of other distributions, really installed on the import path."""

from pathlib import Path

import pytest

from edge_agent.config.sinks import PluginSink as PluginConfig
from edge_agent.inference.sinks.plugin import GROUP, PluginSink
from edge_agent.inference.sinks.tree import ResultFormat
from tests.sim.distribution import install
from tests.sim.results import result
from tests.sim.waiting import until

MODULE = """
import pathlib

class Diary:
    def __init__(self, pipeline, options):
        self.path = pathlib.Path(options["path"])
        self.write(f"opened for {pipeline}")
    def write(self, line):
        with self.path.open("a") as file:
            file.write(line + "\\n")
    def take(self, tree):
        label = tree["results"][0]["label"]
        if label == "bad":
            raise ValueError("I do not take bad ones")
        self.write(label)
    def close(self):
        self.write("closed")
"""


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    install(site, "edge-diary", GROUP, {"diary": "edge_diary:Diary"}, MODULE)
    return tmp_path / "diary.txt"


def open_sink(name: str, path: Path) -> PluginSink:
    return PluginSink(PluginConfig("plugin", name, {"path": str(path)}), ResultFormat("birds", ("main",)))


def test_an_installed_sink_gets_every_result_and_is_closed(diary: Path) -> None:
    sink = open_sink("diary", diary)
    for label in ("crow", "owl"):
        sink.take(result(label))
    sink.close()
    assert diary.read_text().splitlines() == ["opened for birds", "crow", "owl", "closed"]
    assert (sink.dropped, sink.problem) == (0, None)


def test_a_sink_that_fails_costs_that_result_and_is_told(diary: Path) -> None:
    sink = open_sink("diary", diary)
    sink.take(result("bad"))
    until(lambda: sink.dropped == 1)
    assert str(sink.problem) == "the sink diary failed: ValueError: I do not take bad ones"
    sink.take(result("crow"))
    sink.close()
    assert diary.read_text().splitlines() == ["opened for birds", "crow", "closed"]
    assert (sink.dropped, sink.problem) == (1, None)


def test_a_sink_that_is_not_installed_is_told(diary: Path) -> None:
    sink = open_sink("dairy", diary)
    sink.take(result("crow"))
    sink.close()
    assert sink.dropped == 1
    assert "there is no plugin dairy" in (sink.problem or "")
    assert not diary.exists()
