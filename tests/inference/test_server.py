"""Keeping a worker serving: real workers, killed and stalled on purpose."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from edge_agent.config.pipeline import PipelineConfig, StageConfig
from edge_agent.config.sources import FolderSource
from edge_agent.errors import ModelError, Reason, WorkerCrashedError
from edge_agent.inference.ipc import Figures, LoadFailed, Result, Serving, SourceEnded, Word
from edge_agent.inference.server import PipelineServer, ServerTimes
from edge_agent.inference.stage_server import StageServer, WorkerExited
from tests.inference.releases import WAIT_S, Words, digits_release, stalling_release, write_pictures
from tests.sim.clock import FakeClock
from tests.sim.worker import FakeWorkers

A, B = "a" * 64, "b" * 64
QUICK = ServerTimes(answer_s=WAIT_S, first_restart_s=0.05, longest_restart_s=30.0)
NEVER = ServerTimes(answer_s=WAIT_S, first_restart_s=3600.0, longest_restart_s=3600.0)


@contextmanager
def serving(
    folder: Path, times: ServerTimes = QUICK, *, repeat: bool = True
) -> Iterator[tuple[PipelineServer, StageServer, Words]]:
    pictures = write_pictures(folder / "pictures", 3)
    source = FolderSource("folder", pictures, repeat=repeat, max_fps=100.0)
    config = PipelineConfig(source, {"main": StageConfig("digits")})
    words = Words()
    with PipelineServer("birds", config, words.say, times=times) as server:
        yield server, server.stages["main"], words


def kill(server: PipelineServer, how: signal.Signals = signal.SIGKILL) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, how)


def test_serve_returns_once_the_release_answers_frames(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, stage, words):
        assert server.pid is None
        stage.serve(A, digits_release(tmp_path / A))
        assert words.until(Serving).digest == A  # the listener knew before serve returned
        assert words.until(Result).answers["main"].digest == A
        pid = server.pid
        assert server.pss_bytes is not None
        stage.serve(B, digits_release(tmp_path / B))
        assert server.pid == pid
        assert words.until(Serving).digest == B
    assert words.of(WorkerExited) == []  # ending it was no event


def test_what_the_release_that_serves_has_done_is_known_until_another_serves(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, stage, words):
        stage.serve(A, digits_release(tmp_path / A))
        while words.until(Figures).frames_out == 0:
            pass
        seen = stage.seen()
        assert seen.digest == A
        assert seen.answers == seen.invoke.count == sum(seen.scores.values()) > 0
        stage.serve(B, digits_release(tmp_path / B))
        while words.until(Figures).digest != B:
            pass
        assert stage.seen().digest == B
        assert seen.digest == A  # what was given is a copy


def test_serving_nothing_keeps_the_worker_and_needs_none(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, stage, words):
        stage.serve(None, None)
        assert server.pid is None
        stage.serve(A, digits_release(tmp_path / A))
        words.until(Result)
        stage.serve(None, None)
        words.until(Serving)
        assert server.pid is not None


def test_a_release_that_cannot_be_loaded_raises_and_the_old_one_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, stage, words):
        stage.serve(A, digits_release(tmp_path / A))
        bad = digits_release(tmp_path / B)
        (bad / "model.tflite").write_bytes(b"nonsense")
        with pytest.raises(ModelError) as caught:
            stage.serve(B, bad)
        assert caught.value.reason is Reason.NOT_A_MODEL
        assert caught.value.hint
        words.until(LoadFailed)
        assert words.until(Result).answers["main"].digest == A
        kill(server)
        words.until(WorkerExited)
        assert words.until(Serving).digest == A  # what is started again is what served


def serve_in_thread(stage: StageServer, release: Path, outcome: list[BaseException]) -> Thread:
    def serve() -> None:
        try:
            stage.serve(A, release)
        except WorkerCrashedError as error:
            outcome.append(error)

    thread = Thread(target=serve)
    thread.start()
    return thread


def test_a_worker_that_dies_while_loading_raises(tmp_path: Path) -> None:
    stalling = stalling_release(tmp_path / A)
    outcome: list[BaseException] = []
    with serving(tmp_path, NEVER) as (server, stage, _):
        thread = serve_in_thread(stage, stalling, outcome)
        with (stalling / "labels.txt").open("wb"):  # opens once the worker reads it
            kill(server, signal.SIGSEGV)
            thread.join(WAIT_S)
    assert [str(error) for error in outcome] == ["the worker ended with signal SIGSEGV"]


def test_whoever_waits_for_a_load_is_told_at_once_that_the_agent_ends(tmp_path: Path) -> None:
    stalling = stalling_release(tmp_path / A)
    outcome: list[BaseException] = []
    with serving(tmp_path, NEVER) as (server, stage, _):
        thread = serve_in_thread(stage, stalling, outcome)
        with (stalling / "labels.txt").open("wb"):  # opens once the worker reads it
            server.refuse()
            thread.join(WAIT_S)
        assert [str(error) for error in outcome] == ["the agent is stopping"]
        with pytest.raises(WorkerCrashedError, match="stopping"):
            stage.serve(B, stalling)


def test_a_worker_that_never_answers_is_ended(tmp_path: Path) -> None:
    stalling = stalling_release(tmp_path / B)
    times = ServerTimes(answer_s=0.5, first_restart_s=3600.0, longest_restart_s=3600.0)
    with serving(tmp_path, times) as (server, stage, words):
        with pytest.raises(WorkerCrashedError, match="SIGKILL"):
            stage.serve(B, stalling)
        words.until(WorkerExited)
        assert server.pid is None


def test_a_worker_that_dies_outside_a_trial_is_started_again_ever_more_slowly(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, stage, words):
        stage.serve(A, digits_release(tmp_path / A))
        pauses_s = []
        for _ in range(3):
            words.until(Result)
            kill(server, signal.SIGABRT)
            exited = words.until(WorkerExited)
            assert exited.detail == "the worker ended with signal SIGABRT"
            pauses_s.append(exited.restart_s)
            assert words.until(Serving).digest == A
    assert pauses_s == [0.05, 0.1, 0.2]


def test_a_worker_that_hangs_is_ended_and_started_again(tmp_path: Path) -> None:
    times = ServerTimes(answer_s=WAIT_S, first_restart_s=0.05, silent_s=4.0)
    with serving(tmp_path, times) as (server, stage, words):
        stage.serve(A, digits_release(tmp_path / A))
        words.until(Serving)
        kill(server, signal.SIGSTOP)
        assert words.until(WorkerExited).detail == "the worker ended with signal SIGKILL"
        assert words.until(Serving).digest == A
        with stage.trial() as trial:
            kill(server, signal.SIGSTOP)
            with pytest.raises(WorkerCrashedError, match="SIGKILL"):
                next(word for word in iter(partial(trial.next, WAIT_S), None) if isinstance(word, WorkerExited))


def test_a_worker_that_was_started_again_and_cannot_load_what_served_says_that_it_is_lost(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, stage, words):
        stage.serve(A, digits_release(tmp_path / A))
        (tmp_path / A / "model.tflite").unlink()
        (tmp_path / A / "model.tflite").write_bytes(b"nonsense")
        with pytest.raises(ModelError):
            stage.serve(B, tmp_path / A)  # asked for, so it is answered
        seen = [stage.lost]
        words.until(LoadFailed)
        kill(server)
        words.until(LoadFailed)
        while not seen[-1]:
            words.until(Figures)  # said each second
            seen.append(stage.lost)
        stage.serve(B, digits_release(tmp_path / B))
        assert (seen[0], stage.lost) == (False, False)
        assert words.until(Result).answers["main"].digest == B


def test_a_worker_that_dies_on_trial_stays_dead_and_its_words_say_so(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, stage, words):
        stage.serve(A, digits_release(tmp_path / A))
        with stage.trial() as trial:
            heard: list[Word | None] = [trial.next(WAIT_S) for _ in range(3)]
            assert any(isinstance(word, Serving) and word.digest == A for word in heard)
            assert not any(isinstance(word, Result) for word in heard)
            kill(server, signal.SIGSEGV)
            with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
                next(word for word in iter(partial(trial.next, WAIT_S), None) if isinstance(word, WorkerExited))
            assert words.until(WorkerExited).restart_s is None
            with pytest.raises(WorkerCrashedError):
                trial.next(0.2)
            assert server.pid is None
            stage.serve(A, tmp_path / A)  # as the updater does for the next start of the trial
            assert server.pid is not None


def test_a_trial_that_begins_late_hears_what_was_said_since_the_release_began_to_serve(tmp_path: Path) -> None:
    with serving(tmp_path, repeat=False) as (_, stage, words):
        stage.serve(A, digits_release(tmp_path / A))
        words.until(SourceEnded)
        with stage.trial() as trial:
            heard: list[Word] = []
            while not any(isinstance(word, SourceEnded) for word in heard):
                word = trial.next(WAIT_S)
                assert word is not None
                heard.append(word)
        assert sum(word.frames_in for word in heard if isinstance(word, Figures)) == 3


def test_a_source_that_has_ended_is_told_to_the_trial_of_a_later_release(tmp_path: Path) -> None:
    with serving(tmp_path, repeat=False) as (_, stage, words):
        stage.serve(A, digits_release(tmp_path / A))
        words.until(SourceEnded)
        stage.serve(B, digits_release(tmp_path / B))
        with stage.trial() as trial:
            while not isinstance(word := trial.next(WAIT_S), SourceEnded):
                assert word is not None


def test_a_trial_without_words_waits_only_as_long_as_it_is_told(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, stage, _):
        stage.serve(A, digits_release(tmp_path / A))
        with stage.trial() as trial:
            while trial.next(0.001) is not None:
                pass


def test_ending_it_wakes_whoever_waits_for_a_release(tmp_path: Path) -> None:
    stalling = stalling_release(tmp_path / A)
    outcome: list[BaseException] = []
    with ExitStack() as open_files:
        with serving(tmp_path, ServerTimes(answer_s=WAIT_S, stop_s=0.2)) as (_, stage, words):
            thread = serve_in_thread(stage, stalling, outcome)
            open_files.enter_context((stalling / "labels.txt").open("wb"))  # opens once the worker reads it
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert [str(error) for error in outcome] == ["the agent is stopping"]
    assert words.of(WorkerExited) == []


def test_the_time_to_end_begins_when_a_worker_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes, clock = FakeWorkers(), FakeClock()
    fakes.install(monkeypatch)
    config = PipelineConfig(FolderSource("folder", tmp_path), {"main": StageConfig("digits")})
    with PipelineServer("birds", config, Words().say, clock=clock, times=ServerTimes(stop_s=5.0)) as server:
        server.stages["main"].serve(A, tmp_path)
        server.end()
        with pytest.raises(WorkerCrashedError, match="stopping"):
            server.stages["main"].serve(B, tmp_path)
        clock.advance(3.0)  # another one has been waited for
    assert (fakes.calls, fakes.waited_s) == (["end birds", "wait for birds"], [2.0])


# --- several stages -------------------------------------------------------------------------------------------


@contextmanager
def serving_two(folder: Path) -> Iterator[tuple[PipelineServer, StageServer, StageServer, Words]]:
    source = FolderSource("folder", write_pictures(folder / "pictures", 3), repeat=True, max_fps=100.0)
    config = PipelineConfig(source, {"one": StageConfig("digits"), "two": StageConfig("digits")})
    words = Words()
    with PipelineServer("birds", config, words.say, times=QUICK) as server:
        yield server, server.stages["one"], server.stages["two"], words


def test_each_stage_is_served_and_switched_by_itself(tmp_path: Path) -> None:
    with serving_two(tmp_path) as (server, one, two, words):
        one.serve(A, digits_release(tmp_path / A))
        pid = server.pid
        assert list(words.until(Result).answers) == ["one"]
        two.serve(B, digits_release(tmp_path / B))
        while list((result := words.until(Result)).answers) != ["one", "two"]:
            pass
        assert [answer.digest for answer in result.answers.values()] == [A, B]
        two.serve(None, None)
        while list(words.until(Result).answers) != ["one"]:
            pass
        assert server.pid == pid


def test_a_release_that_cannot_be_loaded_is_the_fault_of_its_stage_alone(tmp_path: Path) -> None:
    with serving_two(tmp_path) as (_, one, two, words):
        one.serve(A, digits_release(tmp_path / A))
        bad = digits_release(tmp_path / B)
        (bad / "model.tflite").write_bytes(b"nonsense")
        with pytest.raises(ModelError):
            two.serve(B, bad)
        assert list(words.until(Result).answers) == ["one"]
        assert not one.lost


def test_a_trial_hears_its_own_stage_and_a_crash_brings_back_both(tmp_path: Path) -> None:
    with serving_two(tmp_path) as (server, one, two, words):
        one.serve(A, digits_release(tmp_path / A))
        two.serve(B, digits_release(tmp_path / B))
        with two.trial() as trial:
            heard: list[Word | None] = [trial.next(WAIT_S) for _ in range(4)]
            stages = {word.stage for word in heard if isinstance(word, Figures | Serving)}
            assert stages == {"two"}
            kill(server, signal.SIGSEGV)
            with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
                next(word for word in iter(partial(trial.next, WAIT_S), None) if isinstance(word, WorkerExited))
            assert words.until(WorkerExited).restart_s is None
            two.serve(B, tmp_path / B)  # the next start of the trial
            while list((result := words.until(Result)).answers) != ["one", "two"]:
                pass
        assert [answer.digest for answer in result.answers.values()] == [A, B]
        assert not one.lost


def test_a_release_that_is_gone_at_a_restart_is_lost_to_its_stage_alone(tmp_path: Path) -> None:
    with serving_two(tmp_path) as (server, one, two, words):
        one.serve(A, digits_release(tmp_path / A))
        two.serve(B, digits_release(tmp_path / B))
        (tmp_path / B / "model.tflite").unlink()
        kill(server)
        assert words.until(LoadFailed).stage == "two"
        while not two.lost:
            words.until(Figures)
        assert not one.lost
        assert list(words.until(Result).answers) == ["one"]
