"""What the agent may not read is found before it is started."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_agent.cli import cli
from edge_agent.config.agent import read_config
from edge_agent.errors import ConfigError

CONFIG = """
[pipeline.birds]
model = "birds"
initial = "birds-1.edge"
source = { kind = "folder", path = "pictures" }
"""


PLAIN = "[pipeline.b]\nmodel='m'\nsource={kind='folder',path='p'}\n"


def check(folder: Path, toml: str) -> Result:
    (folder / "agent.toml").write_text(toml, encoding="utf-8")
    (folder / "p").mkdir(exist_ok=True)
    return CliRunner().invoke(cli, ["check-config", "-c", str(folder / "agent.toml")])


def source(text: str) -> str:
    return PLAIN.replace("kind='folder',path='p'", text)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (f"[telemetry]\ninterval_s = {'9' * 5000}\n", "is not TOML: Exceeds the limit"),
        (f"a = {'[' * 5000}{']' * 5000}\n", "is not TOML: maximum recursion depth exceeded"),
        (PLAIN + PLAIN, "is not TOML: Cannot declare ('pipeline', 'b') twice (at line 4"),
        ("pipeline:\n  b:\n    model: m\n", "is not TOML"),
        (
            f"{PLAIN}threads = 0x{'f' * 5000}\n",
            "must be 1 to 64, or 'auto', found a whole number of more than 18 digits",
        ),
        (source("kind='camera', max_fps='10fps'"), "expected a number, found '10fps': no quotes, no unit"),
        (source("kind='camera', max_fps=1e300"), "max_fps: must be 0.000001 to 1,000,000 a second, found 1e+300"),
        (source("kind='camera', rotate_deg=false"), "expected one of 0, 90, 180, 270, found false"),
        (source("kind='camera', device='video0'"), "like '/dev/video0', 'csi' or 'csi:1', found 'video0'"),
        (source("kind='camera', device='csi:left'"), "'csi' or 'csi:1', found 'csi:left'"),
        (source('kind="camera", device="/dev/v\\u0000"'), "must be the path of a video device"),
        (source("kind='serial', device='COM3'"), "must be the path of a port like '/dev/ttyUSB0', found 'COM3'"),
        (source("kind='stream', url='rtsp://cam:port/1'"), "must name a host, if a port then one of 1 to 65535"),
        (source("kind='stream', url='rtsp://[::1'"), "must name a host"),
        (source("kind='still', url='http://cam/a b'"), "hold no blank: write %20"),
        (source("kind='folder', path=''"), "source.path: expected a path, found ''"),
        (source("kind='folder', path='~nobody-here/p'"), "'~nobody-here/p': there is no such home directory"),
        (source("kind=['folder']"), "expected one of folder, video"),
        (
            PLAIN.replace("source={kind='folder',path='p'}", "source='/dev/video0'"),
            "a table, { kind = ... }, found '/dev",
        ),
        (PLAIN.replace(".b]", '."a\\nb"]'), 'pipeline."a\\nb": must be 1 to 64 of a-z'),
        (
            PLAIN + "[pipeline.b.stage.x]\nmodel='n'\n",
            "pipeline.b.model: stands in each table [pipeline.b.stage.STAGE]",
        ),
        (PLAIN + "[pipeline.b.sinks]\nkind='jsonl'\npath='x'\n", "in TOML, [[...]] begins each table of a list"),
        (PLAIN + "triggers=[{name='t',when={},command=['']}]\n", "must be a program and its arguments, found ['']"),
        (PLAIN + "[telemetry]\ninterval_s = 1e308\n", "must be 0 to 31,536,000 seconds (a year), found 1e+308"),
        (PLAIN + "initial = 'no.edge'\n", "no.edge does not exist"),
        (PLAIN + "sinks=[{kind='webhook',url='http://x/',header_file='no'}]\n", "pipeline.b.sinks[0].header_file: "),
    ],
)
def test_an_odd_file_is_told_in_plain_words(tmp_path: Path, toml: str, expected: str) -> None:
    result = check(tmp_path, toml)
    assert isinstance(result.exception, ConfigError), result.output
    assert expected in str(result.exception)
    assert result.exception.hint


def test_a_kind_of_another_type_is_like_no_kind(tmp_path: Path) -> None:
    assert "did you mean" not in str(check(tmp_path, source("kind=['folder']")).exception)


def test_an_artifact_that_is_a_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.edge").mkdir()
    assert "x.edge is a folder, not an artifact" in str(check(tmp_path, PLAIN + "initial = 'x.edge'\n").exception)


@pytest.mark.parametrize(
    "toml",
    ["\ufeff" + PLAIN, source("kind='stream', url='udp://:5000'"), source("kind='camera', device='csi:1'")],
    ids=["byte order mark", "a stream that is listened for", "a second camera"],
)
def test_what_is_unusual_and_right_is_let_through(tmp_path: Path, toml: str) -> None:
    assert check(tmp_path, toml).exit_code == 0


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
