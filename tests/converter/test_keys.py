"""Keys are made once, kept secret, and refused with words when they do not fit."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from converter.commands.keys import keys as keys_command
from converter.publish.keys import make_keys, read_keys
from edge_agent.errors import InputError

FILES = ["root.pem", "targets.pem", "online.pem", "root.json"]


def test_private_keys_are_readable_only_for_their_owner(tmp_path: Path) -> None:
    made = make_keys(tmp_path / "keys")
    assert [path.name for path in made] == FILES
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made[:-1]} == {0o600}
    assert read_keys(tmp_path / "keys").root == made[-1].read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_keys_are_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        make_keys(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_missing_keys_name_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_keys(tmp_path / "none")
    assert "root.json" in str(caught.value)
    assert "edgectl keys init" in str(caught.value.hint)


def test_the_root_key_may_be_kept_elsewhere(tmp_path: Path) -> None:
    make_keys(tmp_path)
    (tmp_path / "root.pem").unlink()
    read_keys(tmp_path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n", b"\xff"])
def test_a_damaged_key_is_an_error_that_says_so(tmp_path: Path, content: bytes) -> None:
    make_keys(tmp_path)
    (tmp_path / "targets.pem").write_bytes(content)
    with pytest.raises(InputError, match="cannot be used"):
        read_keys(tmp_path)


def test_keys_of_another_root_are_refused(tmp_path: Path) -> None:
    make_keys(tmp_path / "one")
    make_keys(tmp_path / "other")
    (tmp_path / "one" / "online.pem").write_bytes((tmp_path / "other" / "online.pem").read_bytes())
    with pytest.raises(InputError, match=r"online.pem is not a key that root.json names for online"):
        read_keys(tmp_path / "one")


@pytest.mark.parametrize("content", [b"", b"{}", b"<html>"])
def test_a_damaged_root_is_an_error_that_says_so(tmp_path: Path, content: bytes) -> None:
    make_keys(tmp_path)
    (tmp_path / "root.json").write_bytes(content)
    with pytest.raises(InputError, match="cannot be used"):
        read_keys(tmp_path)


def test_the_command_says_what_goes_to_the_devices(tmp_path: Path) -> None:
    result = CliRunner().invoke(keys_command, ["init", str(tmp_path / "keys")])
    assert result.exit_code == 0, result.output
    assert f"copy {tmp_path / 'keys' / 'root.json'} to each device" in result.stdout
