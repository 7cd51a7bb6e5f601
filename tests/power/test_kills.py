"""Real processes with a real disk, killed with SIGKILL in the middle of updates."""

import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from edge_agent.disk import open_disk
from edge_agent.update.journal import Journal
from edge_agent.update.machine import Fetching, Idle, Record
from edge_agent.update.store import ReleaseStore
from tests.power.update_child import RELEASES, update

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 60.0


def _start(state_dir: Path, version: str, kill_at: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.power.update_child", str(state_dir), version, str(kill_at)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _check(state_dir: Path) -> Record:
    """The record, once all it names has been found whole."""
    disk = open_disk(state_dir)
    journal, store = Journal(disk, "porch", "main"), ReleaseStore(disk, state_dir)
    record = journal.read()
    assert journal.set_aside is None
    for digest in record.digests:
        if digest != record.candidate or not isinstance(record.phase, Fetching):
            assert store.is_sound(digest)
    return record


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Serving version 1."""
    (tmp_path / "state").mkdir()
    update(tmp_path / "state", "1")
    return tmp_path / "state"


def test_a_process_killed_at_any_point_of_an_update_finishes_it_when_it_starts_again(state_dir: Path) -> None:
    kills = 0
    for number, kill_at in enumerate(range(1, 44, 4)):
        version = str(2 + number % 4)
        before = _check(state_dir)
        with _start(state_dir, version, kill_at) as killed:
            said, _ = killed.communicate(timeout=PATIENCE_S)
        record = _check(state_dir)

        assert (killed.returncode, said) in ((-signal.SIGKILL, ""), (0, f"committed {version}\n"))
        assert record.current in (before.current, RELEASES[version].digest)
        kills += said == ""
        if number % 2:
            update(state_dir, version)
            assert _check(state_dir).current == RELEASES[version].digest

    assert kills >= 7  # what is staged already is committed in fewer operations than the last kills wait for
    last = RELEASES["5"].digest
    update(state_dir, "5")
    record = _check(state_dir)
    assert (record.current, record.phase) == (last, Idle())
    assert sorted(path.name for path in (state_dir / "releases").iterdir()) == sorted({last, record.previous or last})
    assert list((state_dir / "staging").iterdir()) == []


def test_a_process_killed_whenever_chance_will_have_it_leaves_a_disk_that_can_be_gone_on_from(state_dir: Path) -> None:
    chance = Random(2026)
    for _ in range(5):
        version = chance.choice("2345")
        with _start(state_dir, version) as process:
            try:
                process.wait(chance.uniform(0.2, 0.6))
            except subprocess.TimeoutExpired:
                process.kill()
        _check(state_dir)

    update(state_dir, "5")
    assert _check(state_dir).current == RELEASES["5"].digest
