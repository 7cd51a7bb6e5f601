"""`edge-agent keys`: makes this device's key, and prints what a publisher needs."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.commands.keys import keys
from edge_agent.errors import EdgeError, FetchError, InputError
from edge_agent.release.device_key import read_device_key
from edge_agent.release.sealing import parse_public, public_of

PIPELINE = "[pipeline.b]\nmodel = 'm'\nsource = {kind='folder', path='p'}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(f"[device]\nid = 'porch'\n[storage]\nstate_dir = 'state'\n{PIPELINE}")
    return path


def test_a_key_is_made_where_the_agent_looks_for_it_and_its_public_half_printed(config: Path) -> None:
    made = CliRunner().invoke(keys, ["init", "-c", str(config)])
    assert made.exit_code == 0, made.output
    public, name = made.stdout.split()

    assert name == "porch"
    secret = read_device_key(config.parent / "state" / "device.key")
    assert parse_public(public) == public_of(secret)
    assert CliRunner().invoke(keys, ["show", "-c", str(config)]).stdout == made.stdout
    assert "secret" not in made.output


def test_a_second_key_is_not_made(config: Path) -> None:
    first = CliRunner().invoke(keys, ["init", "-c", str(config)])
    again = CliRunner().invoke(keys, ["init", "-c", str(config)])

    assert isinstance(again.exception, InputError)
    assert CliRunner().invoke(keys, ["show", "-c", str(config)]).stdout == first.stdout


def test_a_key_that_is_not_there_is_not_shown(config: Path) -> None:
    shown = CliRunner().invoke(keys, ["show", "-c", str(config)])

    assert isinstance(shown.exception, FetchError)
    assert shown.exception.hint


def test_a_configured_file_comes_first(config: Path) -> None:
    config.write_text(f"{config.read_text()}[trust]\nroot = 'root.json'\nkey_file = 'keys/mine'\n")
    CliRunner().invoke(keys, ["init", "-c", str(config)])

    assert read_device_key(config.parent / "keys" / "mine")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write into somebody else's directory")
def test_root_makes_no_key_that_the_agent_could_not_read(config: Path) -> None:
    state = config.parent / "state"
    state.mkdir()
    os.chown(state, 12345, -1)
    made = CliRunner().invoke(keys, ["init", "-c", str(config)])

    assert isinstance(made.exception, EdgeError)
    assert "sudo -u #12345 edge-agent keys init" in str(made.exception.hint)
    assert list(state.iterdir()) == []
