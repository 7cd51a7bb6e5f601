"""A broker, keys, artifacts and an agent: all real."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.agent_process import CONFIG_HEAD, AgentProcess
from tests.sim.broker import Mosquitto, run_mosquitto
from tests.system.artifacts import Artifacts, edgectl, make_artifacts

CONFIG = (
    CONFIG_HEAD
    + """\
[telemetry]
interval_s = 0.5
[pipeline.camera]
model = "digits"
source = {{ kind = "folder", path = "{pictures}", repeat = true, max_fps = 15 }}
sinks = [{{ kind = "jsonl", path = "camera.jsonl" }}, {{ kind = "mqtt", when = "always", min_interval_s = 0.1 }}]
"""
)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return make_artifacts(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with run_mosquitto(folder) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, broker: Mosquitto, artifacts: Artifacts) -> Iterator[AgentProcess]:
    """An agent with one camera-like pipeline that trusts `keys/`; running, with nothing installed."""
    edgectl(tmp_path, "keys", "init", "keys")
    with AgentProcess(tmp_path, CONFIG.format(url=broker.url, pictures=artifacts.pictures)) as running:
        yield running
