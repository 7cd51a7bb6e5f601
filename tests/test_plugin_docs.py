"""The plugins that docs/plugins.md shows are written down, installed, and used as the page says."""

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from edge_agent.config.agent import parse_config
from edge_agent.config.sinks import PluginSink as PluginConfig
from edge_agent.config.sources import PluginSource
from edge_agent.errors import ModelError, SourceError
from edge_agent.inference.frame import Sample, Wanted
from edge_agent.inference.ipc import Answer, Result
from edge_agent.inference.sinks.plugin import PluginSink
from edge_agent.inference.sinks.tree import ResultFormat
from edge_agent.plugins import load
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import TensorSpec
from tests.sim.clock import FakeClock

PAGE = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text(encoding="utf-8")
ROWS = TensorSpec("rows", (1, 4), np.dtype(np.float32))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's distribution, as pip leaves it; gives the folder that its configuration may write to."""
    project = tomllib.loads(blocks("toml")[0])["project"]
    (tmp_path / "edge_tank.py").write_text("\n".join(blocks("python")), encoding="utf-8")
    info = tmp_path / "edge_tank-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n", encoding="utf-8")
    groups = [
        f"[{group}]\n" + "\n".join(f"{name} = {target}" for name, target in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(groups), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "edge_tank", raising=False)
    return tmp_path


def configured(folder: Path) -> tuple[PluginSource, PluginConfig]:
    source, sink = (block.replace("/run/tank", str(folder)) for block in blocks("toml")[1:])
    pipeline = parse_config(tomllib.loads(source + sink)).pipeline["tank"]
    assert isinstance(pipeline.source, PluginSource)
    assert isinstance(pipeline.sinks[0], PluginConfig)
    return pipeline.source, pipeline.sinks[0]


def test_the_task_of_the_page_decodes_and_refuses(installed: Path) -> None:
    decoder = build_decoder("plugin", OutputSpec(plugin="tank", unit="m"), (ROWS,), (), (ROWS,))
    found = decoder.decode([np.array([[0.9, 0.8, 0.1, 0.0]], np.float32)], Prepared())
    assert found == [Prediction(0, 1.0, "level", value=0.5, unit="m")]
    with pytest.raises(ModelError, match="a tank needs one output, found 2"):
        build_decoder("plugin", OutputSpec(plugin="tank"), (ROWS, ROWS), ())


def test_the_source_of_the_page_gives_values_and_says_when_there_are_none(installed: Path) -> None:
    config, _ = configured(installed)
    clock = FakeClock()
    with load("edge_deploy.sources", config.name)(config, clock) as source:
        with pytest.raises(SourceError, match="level"):
            source.take(Wanted())
        (installed / "level").write_text("0.75\n", encoding="utf-8")
        assert source.take(Wanted()) == Sample(str(installed / "level"), clock.now_s(), ("level",), (0.75,))


def test_the_sink_of_the_page_writes_and_counts_what_it_cannot(installed: Path) -> None:
    _, config = configured(installed)
    sink = PluginSink(config, ResultFormat("tank", ("main",)))
    answer = Answer("0" * 64, "plugin", ({"label": "level", "value": 0.5},), {})
    result = Result(1, 0.0, "frame 1", {"main": answer}, 0.0)
    sink.take(result)
    sink.close()
    assert (installed / "last").read_text(encoding="utf-8") == "frame 1 [{'label': 'level', 'value': 0.5}]\n"
    assert (sink.dropped, sink.problem) == (0, None)

    (installed / "last").unlink()
    (installed / "last").mkdir()
    sink = PluginSink(config, ResultFormat("tank", ("main",)))
    sink.take(result)
    sink.close()
    assert (sink.dropped, "last" in str(sink.problem)) == (1, True)
