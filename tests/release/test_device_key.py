"""The device's own key: made once, durable, for its owner only; where it is looked for."""

import stat
from pathlib import Path

import pytest

from edge_agent.disk import Disk, open_private
from edge_agent.errors import FetchError, InputError, Reason
from edge_agent.release.device_key import KEY_FILE, key_path, make_device_key, read_device_key
from edge_agent.release.sealing import format_public, parse_secret, public_of
from tests.power.test_every_cut import ReplaceBeforeSync, WithoutDirectorySync, WithoutFileSync
from tests.sim.disk import PowerCut, SimDisk, Survival


def test_a_key_is_made_for_its_owner_only_and_read_back(tmp_path: Path) -> None:
    public = make_device_key(open_private(tmp_path / "state"), KEY_FILE)
    path = tmp_path / "state" / KEY_FILE

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert format_public(public_of(read_device_key(path))) == public


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    make_device_key(open_private(tmp_path), KEY_FILE)
    before = (tmp_path / KEY_FILE).read_bytes()
    with pytest.raises(InputError) as caught:
        make_device_key(open_private(tmp_path), KEY_FILE)

    assert caught.value.hint
    assert (tmp_path / KEY_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "has no key"),
        (b"edge-x25519-secret:" + b"A" * 43 + b"\n", 0o644, "every user"),
        (b"edge-x25519-secret:short\n", 0o600, "holds no device key"),
        (b"\xff\xfe", 0o600, "holds no device key"),
        (b"", 0o600, "holds no device key"),
        (b"x" * 100_000, 0o600, "holds no device key"),
    ],
)
def test_what_is_no_key_is_no_key(tmp_path: Path, content: bytes | None, mode: int, words: str) -> None:
    path = tmp_path / KEY_FILE
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(FetchError, match=words) as caught:
        read_device_key(path)

    assert caught.value.reason is Reason.NO_KEY
    assert caught.value.hint
    assert "short" not in str(caught.value)


def test_a_group_may_be_trusted_with_it(tmp_path: Path) -> None:
    make_device_key(open_private(tmp_path), KEY_FILE)
    (tmp_path / KEY_FILE).chmod(0o640)

    assert read_device_key(tmp_path / KEY_FILE)


def test_a_directory_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="cannot be read"):
        read_device_key(tmp_path)


def test_the_configuration_comes_before_the_credential_and_that_before_the_state_directory(tmp_path: Path) -> None:
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    credentials.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}

    assert key_path(None, state, {}) == key_path(None, state, environment) == state / KEY_FILE
    (credentials / KEY_FILE).write_text("")
    assert key_path(None, state, environment) == credentials / KEY_FILE
    assert key_path(tmp_path / "mine", state, environment) == tmp_path / "mine"


def bad_cuts(survival: Survival, durable: type[Disk]) -> list[int]:
    """Every operation before which the power may not go: half a key is left, or one that was told of is lost."""
    bad, cut, told = [], 0, ""
    while not told:
        cut += 1
        disk = SimDisk()
        disk.cut_before = cut
        try:
            told = make_device_key(durable(disk), KEY_FILE)
        except PowerCut:
            told = ""
        left = disk.after_power_cut(survival)
        size = left.size(KEY_FILE)
        found = "" if size is None else _public_in(left.read(KEY_FILE, 0, size))
        if (told and found != told) or found is None:
            bad.append(cut)
        if found == "":
            assert make_device_key(Disk(left), KEY_FILE)  # it can be made anew, whatever else lies there
    assert cut > 3
    return bad


def _public_in(content: bytes) -> str | None:
    try:
        return format_public(public_of(parse_secret(content.decode().strip())))
    except ValueError:
        return None


@pytest.mark.parametrize("survival", Survival, ids=lambda survival: survival.name.lower())
def test_no_power_cut_leaves_half_a_key_or_loses_one_that_was_told_of(survival: Survival) -> None:
    assert bad_cuts(survival, Disk) == []


@pytest.mark.parametrize("broken", [WithoutFileSync, WithoutDirectorySync, ReplaceBeforeSync])
def test_a_broken_disk_module_is_found_by_that(broken: type[Disk]) -> None:
    assert any(bad_cuts(survival, broken) for survival in Survival)
