"""What the agent may not read is found before it is started."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.cli import cli
from edge_agent.config.agent import read_config
from edge_agent.errors import ConfigError

CONFIG = """
[pipeline.birds]
model = "birds"
initial = "birds-1.edge"
source = { kind = "folder", path = "pictures" }
"""


def test_a_file_that_this_user_may_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agent.toml").write_text(CONFIG)
    (tmp_path / "birds-1.edge").touch()
    (tmp_path / "pictures").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "birds-1.edge" or not mode & os.R_OK)
    result = CliRunner().invoke(cli, ["check-config", "-c", str(tmp_path / "agent.toml")])
    assert isinstance(result.exception, ConfigError)
    assert "birds-1.edge may not be read by this user" in str(result.exception)
    assert "pictures" not in str(result.exception)


def test_a_configuration_that_may_not_be_read_asks_for_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match="Permission denied") as caught:
        read_config(tmp_path / "agent.toml")
    assert "sudo" in str(caught.value.hint)
