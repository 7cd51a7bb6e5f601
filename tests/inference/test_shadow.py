"""A release in shadow beside the one that answers: real workers, real children, real models."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.pipeline import PipelineConfig, StageConfig
from edge_agent.config.row_sources import CsvSource
from edge_agent.config.sources import FolderSource, SourceConfig
from edge_agent.errors import Reason, WorkerCrashedError
from edge_agent.inference.ipc import Result, Shadowed
from edge_agent.inference.server import PipelineServer
from edge_agent.inference.stage_server import StageServer, TrialWords, WorkerExited
from edge_agent.release.inputs import ImageInput
from edge_agent.release.manifest import MODEL_FILE
from examples.digits import dataset
from tests.inference.releases import DIGITS, GRAY, LABELS, WAIT_S, Words, digits_release, linescan_release, write_lines
from tests.sim.artifact import make_members, unpack
from tests.update.hostile import Damager

OLD, NEW = "a" * 64, "b" * 64


@contextmanager
def serving(source: SourceConfig, release: Path) -> Iterator[tuple[PipelineServer, StageServer, Words]]:
    words = Words()
    with PipelineServer("birds", PipelineConfig(source, {"main": StageConfig("digits")}), words.say) as server:
        server.stages["main"].serve(OLD, release)
        yield server, server.stages["main"], words


@pytest.fixture
def pictures(tmp_path: Path) -> FolderSource:
    dataset.write_pictures(tmp_path / "pictures", 30)
    return FolderSource("folder", tmp_path / "pictures", repeat=True, max_fps=60.0)


def until_over(words: TrialWords) -> Shadowed:
    while True:
        word = words.next(WAIT_S)
        if isinstance(word, Shadowed) and word.over:
            return word


def test_a_release_like_the_one_that_serves_agrees_with_it(tmp_path: Path, pictures: FolderSource) -> None:
    with serving(pictures, digits_release(tmp_path / OLD)) as (server, stage, words):
        with stage.shadow(NEW, digits_release(tmp_path / NEW), share=0.5, frames=20) as heard:
            said = until_over(heard)
        assert words.until(Result, count=3).answers["main"].digest == OLD  # nobody else has heard the other
        pid = server.pid
        stage.serve(NEW, tmp_path / NEW)
        assert server.pid == pid
    assert (said.digest, said.compared, said.agreed, said.problem) == (NEW, 20, 20, None)
    assert {word.answers["main"].digest for word in words.of(Result)} <= {OLD, NEW}


def test_rows_are_compared_too(tmp_path: Path) -> None:
    source = CsvSource("csv", write_lines(tmp_path / "rows.csv", 400), repeat=True, rate_hz=400.0)
    with (
        serving(source, linescan_release(tmp_path / OLD)) as (_, stage, _words),
        stage.shadow(NEW, linescan_release(tmp_path / NEW), share=1.0, frames=5) as heard,
    ):
        said = until_over(heard)

    assert (said.compared, said.problem) == (5, None)


def test_one_with_its_weights_destroyed_does_not(tmp_path: Path, pictures: FolderSource) -> None:
    release = digits_release(tmp_path / NEW)
    model = (release / MODEL_FILE).read_bytes()
    damaged = bytearray(model)
    for place in range(100_000, 1_200_000, 4):
        damaged[place + 3] ^= 0x80  # every sign
    (release / MODEL_FILE).write_bytes(damaged)
    with (
        serving(pictures, digits_release(tmp_path / OLD)) as (_, stage, _words),
        stage.shadow(NEW, release, share=1.0, frames=30) as heard,
    ):
        said = until_over(heard)

    assert said.problem is None
    assert said.compared == 30
    assert said.agreed < 20


@pytest.mark.parametrize(
    ("more", "misfit"),
    [
        ({"labels": LABELS.replace(b"3", b"three")}, "labels"),
        ({"source": ImageInput(color="gray", mean=(0.0,), std=(128.0,))}, "input is another"),
    ],
)
def test_what_cannot_be_compared_says_so_and_is_no_fault(
    tmp_path: Path, pictures: FolderSource, more: dict[str, object], misfit: str
) -> None:
    model = (DIGITS / "digits_v1.tflite").read_bytes()
    given: dict[str, Any] = {"source": GRAY, "labels": LABELS} | more
    members = make_members(model, **given)
    with (
        serving(pictures, digits_release(tmp_path / OLD)) as (_, stage, _words),
        stage.shadow(NEW, unpack(members, tmp_path / NEW), share=1.0, frames=30) as heard,
    ):
        said = until_over(heard)

    assert misfit in str(said.problem)
    assert (said.compared, said.reason) == (0, None)


def test_a_shadow_that_crashes_is_told_and_the_worker_lives_on(tmp_path: Path, pictures: FolderSource) -> None:
    release = digits_release(tmp_path / NEW)
    (release / MODEL_FILE).write_bytes(Damager((release / MODEL_FILE).read_bytes()).damaged(0, 1)[1])
    with serving(pictures, digits_release(tmp_path / OLD)) as (server, stage, words):
        pid = server.pid
        with stage.shadow(NEW, release, share=1.0, frames=30) as heard:
            said = until_over(heard)
        assert words.until(Result, count=3).answers["main"].digest == OLD
        assert server.pid == pid
    assert said.reason is Reason.PROBE_CRASHED
    assert words.of(WorkerExited) == []


def test_a_shadow_is_ended_with_the_order_and_with_the_worker(tmp_path: Path, pictures: FolderSource) -> None:
    new = digits_release(tmp_path / NEW)
    with serving(pictures, digits_release(tmp_path / OLD)) as (server, stage, words):
        assert server.pid is not None
        with stage.shadow(NEW, new, share=1.0, frames=10**6) as heard:
            while not isinstance(word := heard.next(WAIT_S), Shadowed):
                pass
            assert not word.over
            (child,) = _children(server.pid)
        while _children(server.pid):
            words.until(Result)
        with stage.shadow(NEW, new, share=1.0, frames=10**6) as heard:
            while not isinstance(heard.next(WAIT_S), Shadowed):
                pass
            (child,) = _children(server.pid)
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(WorkerCrashedError):
                until_over(heard)
        while _is_running(child):
            words.until(Result)  # the worker is started again by itself


def test_without_a_worker_there_is_no_shadow(tmp_path: Path, pictures: FolderSource) -> None:
    with PipelineServer("birds", PipelineConfig(pictures, {"main": StageConfig("digits")}), Words().say) as server:
        stage = server.stages["main"]
        with pytest.raises(WorkerCrashedError), stage.shadow(NEW, tmp_path, share=1.0, frames=1):
            pass


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [
        int(child) for task in tasks for child in (task / "children").read_text().split() if _is_running(int(child))
    ]


def _is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
