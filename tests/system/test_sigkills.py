"""A real agent on a real disk, killed with SIGKILL again and again while releases come from a real broker.

How often is said by EDGE_DEPLOY_KILLS (a few in the suite; `make soak` does 500). After each kill the disk must be in
order, and what served must serve again; in the end the newest good release is committed and nothing else is left.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event

import pytest

from edge_agent.clock import SystemClock
from edge_agent.disk import open_disk
from edge_agent.release.archive import format_archive, read_artifact
from edge_agent.release.manifest import MANIFEST_FILE, Limits, format_manifest
from edge_agent.update.journal import Journal
from edge_agent.update.machine import Fetching, Idle, Record
from edge_agent.update.store import ReleaseStore
from examples.agent_process import AgentProcess
from examples.broken import with_wrong_answers
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts
from tests.system.test_main_job import push

pytestmark = pytest.mark.system

_KILLS = int(os.environ.get("EDGE_DEPLOY_KILLS", "12"))
_LONGEST_LIFE_S = 2.5
_QUICK = Limits(trial_frames=10, trial_s=0.3)


class Pushes:
    """One push after the other, in a process of its own, while the agent lives and dies."""

    def __init__(self, agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts) -> None:
        self._agent, self._broker, self._artifacts = agent, broker, artifacts
        self._running: subprocess.Popen[bytes] | None = None
        self.number = 1
        self.bad: set[str] = set()

    def next(self, chance: Random) -> None:
        """Push another version, good or (one in four) with wrong answers, once the one before has been pushed."""
        if self._running is not None:
            assert self._running.wait(60) == 0, "the push failed"
        self.number += 1
        version = f"{self.number}.0.0"
        good = self._artifacts[f"digits-{1 + self.number % 2}.0.0"]
        artifact = self._agent.folder / "next.edge"
        if chance.random() < 0.25:
            with_wrong_answers(good, artifact, version=version)
            self.bad.add(version)
        else:
            _with_version(good, artifact, version)
        command = [sys.executable, "-m", "converter.cli", "push", artifact.name, "--broker", self._broker.url]
        self._running = subprocess.Popen(
            [*command, "--keys", "keys"], cwd=self._agent.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def end(self) -> None:
        if self._running is not None:
            assert self._running.wait(60) == 0, "the push failed"


def test_killed_again_and_again_it_always_serves_a_good_release_and_ends_well(
    agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts
) -> None:
    first = agent.folder / "first.edge"
    _with_version(artifacts["digits-1.0.0"], first, "1.0.0")
    push(agent, broker, first)
    agent.wait_committed("camera", "1.0.0")
    chance, clock, never = Random(2026), SystemClock(), Event()
    pushes = Pushes(agent, broker, artifacts)
    before = _look(agent)
    for kill in range(_KILLS):
        if kill % 3 == 0:
            pushes.next(chance)
        clock.wait(never, chance.uniform(0, _LONGEST_LIFE_S))
        agent.kill()
        now = _look(agent)
        _compare(before, now)
        before = now
        agent.start()
        if kill % 4 == 0:
            _wait_for_answers(agent)
        assert agent.version("camera") not in pushes.bad | {None}
    pushes.end()
    _end(agent, broker, artifacts, pushes)


def _look(agent: AgentProcess) -> Record:
    """The record of an agent that is dead, once all it names has been found whole."""
    disk = open_disk(agent.state)
    journal, store = Journal(disk, "camera", "main"), ReleaseStore(disk, agent.state)
    record = journal.read()
    assert journal.set_aside is None
    assert record.current is not None
    for digest in record.digests:
        if digest != record.candidate or not isinstance(record.phase, Fetching):
            assert store.is_sound(digest), f"{digest[:12]} is not whole"
    assert not any(record.refuses(digest) for digest in (record.current, record.previous) if digest)
    return record


def _compare(before: Record, now: Record) -> None:
    """What there was to fall back to is still there, unless something newer was committed."""
    if now.current == before.current:
        assert now.previous == before.previous
    assert len(now.rejected) >= min(len(before.rejected), 32)


def _wait_for_answers(agent: AgentProcess) -> None:
    count = len(agent.results("camera.jsonl"))
    agent.wait("it to answer", lambda: len(agent.results("camera.jsonl")) > count)


def _end(agent: AgentProcess, broker: Mosquitto, artifacts: Artifacts, pushes: Pushes) -> None:
    """Left alone, it takes the newest release, and nothing else is left on the disk."""
    version = f"{pushes.number + 1}.0.0"
    last = agent.folder / "last.edge"
    _with_version(artifacts["digits-2.0.0"], last, version)
    push(agent, broker, last)
    agent.wait_committed("camera", version)
    agent.stop()
    record = _look(agent)
    assert record.phase == Idle()
    assert {path.name for path in (agent.state / "releases").iterdir()} == {record.current, record.previous} - {None}
    assert list((agent.state / "staging").iterdir()) == []
    assert [path for path in agent.state.rglob("*") if path.suffix == ".tmp" or ".corrupt" in path.name] == []


def _with_version(good: Path, other: Path, version: str) -> None:
    artifact = read_artifact(good)
    manifest = replace(artifact.manifest, version=version, limits=_QUICK)
    other.write_bytes(format_archive({**artifact.members, MANIFEST_FILE: format_manifest(manifest)}))
