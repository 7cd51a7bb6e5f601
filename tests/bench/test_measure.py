"""What `bench` counts, from a worker's words and from a real worker."""

import json
import time
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest
from click.testing import CliRunner

from edge_agent.bench.bench import Wanted, run_bench
from edge_agent.bench.figures import FRAMES_FOR_RATIO, Alone, StepFigures, format_table, ratio_of
from edge_agent.bench.measure import Ended, Limits, gather, measure_alone
from edge_agent.bench.plan import lay_out_release
from edge_agent.cli import cli
from edge_agent.config.pipeline import Delegate
from edge_agent.config.sources import FolderSource, SyntheticSource
from edge_agent.errors import ModelError, Reason, SourceError, WorkerCrashedError
from edge_agent.inference.ipc import (
    Answer,
    FrameFailed,
    LoadFailed,
    Result,
    Serving,
    SourceEnded,
    SourceTrouble,
    Word,
)
from tests.inference.native.build import DELEGATE, build
from tests.inference.releases import DIGITS, digits_release, write_lines, write_pictures

DIGITS_MODEL = DIGITS / "digits_v1.tflite"
RUNNING_SUM = Path(__file__).parents[1] / "inference/models/running_sum.tflite"


def words(*said: Word | Ended) -> "SimpleQueue[Word | Ended]":
    queue: SimpleQueue[Word | Ended] = SimpleQueue()
    for word in said:
        queue.put(word)
    return queue


def result(seq: int, invoke_ms: float = 1.0) -> Result:
    answer = Answer("d", "classification", (), {"preprocess": 2.0, "invoke": invoke_ms, "postprocess": 0.1})
    return Result(seq, 0.0, str(seq), {"main": answer}, 0.5)


def no_memory() -> tuple[int | None, int | None]:
    return None, None


def test_the_first_frames_are_not_counted_and_the_steps_are() -> None:
    said: list[Word] = [
        Serving("main", "d"),
        *[result(seq, 100.0) for seq in range(1, 6)],
        *[result(seq) for seq in range(6, 30)],
    ]
    found = gather(words(*said), Limits(frames=20, seconds=60), lambda: (1, 2))
    assert (found.frames, found.failed, found.pss_bytes, found.peak_bytes) == (20, 0, 1, 2)
    assert found.steps == {
        "capture": StepFigures(0.5, 0.5, 0.5),
        "preprocess": StepFigures(2.0, 2.0, 2.0),
        "invoke": StepFigures(1.0, 1.0, 1.0),
        "postprocess": StepFigures(0.1, 0.1, 0.1),
    }


def test_an_input_that_ends_is_measured_as_far_as_it_goes() -> None:
    said: list[Word] = [
        *[result(seq) for seq in range(1, 9)],
        FrameFailed("main", "d", "x", of_model=False, detail="cut off"),
    ]
    found = gather(words(*said, SourceEnded(8)), Limits(seconds=60), no_memory)
    assert (found.frames, found.failed) == (3, 1)
    with pytest.raises(SourceError, match="only 2 frames"):
        gather(words(result(1), result(2), SourceEnded(2)), Limits(), no_memory)


@pytest.mark.parametrize(
    ("word", "error", "text"),
    [
        (LoadFailed("main", "d", Reason.LOAD_FAILED, "it is damaged", "again"), ModelError, "it is damaged"),
        (SourceTrouble("the folder is empty", "fill it"), SourceError, "the folder is empty"),
        (Ended(-11), WorkerCrashedError, "signal SIGSEGV"),
    ],
)
def test_what_keeps_a_worker_from_running_is_the_error(word: Word | Ended, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        gather(words(word), Limits(), no_memory)


def test_an_input_none_of_which_can_be_used_is_given_up() -> None:
    failed = FrameFailed("main", "d", "x", of_model=False, detail="not a picture")
    with pytest.raises(SourceError, match="no frame can be used: not a picture"):
        gather(words(*[failed] * 40), Limits(), no_memory)


def test_of_few_frames_no_share_of_the_limit_is_told() -> None:
    """Of them both sides are chance, and the share may be more than 1."""
    alone = Alone(capture_fps=300.0, preprocess_fps=200.0, invoke_fps=100.0)
    assert ratio_of(150.0, FRAMES_FOR_RATIO - 1, alone) is None
    assert ratio_of(95.0, FRAMES_FOR_RATIO, alone) == 0.95


def test_the_hint_of_a_folder_without_pictures_is_what_can_be_done_here(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_text("no picture")
    found = CliRunner().invoke(cli, ["bench", str(DIGITS_MODEL), "--input", str(folder), "--threads", "1"])
    assert isinstance(found.exception, SourceError)
    assert "none of its files (1) is a picture" in str(found.exception)
    assert found.exception.hint == "put JPEG, PNG, BMP, GIF or WebP files into it"


def test_what_auto_has_chosen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.inference.tflite.usable_cores", lambda _: 1)
    told: list[str] = []
    run_bench(Wanted(RUNNING_SUM, threads=("auto",), limits=Limits(frames=10, seconds=20)), told.append)
    assert told[1:] == ["threads auto: 1 chosen, for there is one usable core"]


def test_quantiles_are_values_that_were_measured() -> None:
    assert StepFigures.of(range(1, 101)) == StepFigures(50, 95, 99)
    assert StepFigures.of([3.0]) == StepFigures(3.0, 3.0, 3.0)


def test_pictures_that_are_none_are_told_before_a_worker_is_started(tmp_path: Path) -> None:
    release = digits_release(tmp_path / "release")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_text("no picture")
    with pytest.raises(SourceError, match="nothing that the model takes"):
        measure_alone(release, FolderSource("folder", folder), 1, None, Limits(seconds=0.1))


def test_an_endless_input_that_fits_no_model_is_given_up_at_once(tmp_path: Path) -> None:
    lay_out_release(RUNNING_SUM, tmp_path)
    too_wide = SyntheticSource("synthetic", "rows", columns=tuple("abcdefgh"))
    began_s = time.monotonic()
    with pytest.raises(SourceError, match=r"nothing that the model takes: .* values a row; found 8"):
        measure_alone(tmp_path, too_wide, 1, None, Limits(seconds=0.1))
    assert time.monotonic() - began_s < 5


def test_a_bare_model_of_plain_values_is_measured_with_made_up_rows() -> None:
    bench = run_bench(Wanted(RUNNING_SUM, threads=(1,), limits=Limits(frames=10, seconds=20)), lambda _: None)
    assert bench.runs[0].frames == 10
    assert bench.runs[0].failed == 0
    assert bench.runs[0].ratio is None
    assert "10 frames are too few for a share of the limit" in format_table(bench)


def test_a_model_is_measured_through_a_real_worker(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 4)
    told: list[str] = []
    wanted = Wanted(DIGITS_MODEL, (str(pictures),), threads=(1, 2), limits=Limits(frames=30, seconds=20))
    bench = run_bench(wanted, told.append)
    assert [run.threads for run in bench.runs] == [1, 2]
    assert len(told) == 2
    for run in bench.runs:
        assert run.frames == 30
        assert set(run.steps) == {"capture", "preprocess", "invoke", "postprocess"}
        assert run.fps > 0
        assert run.alone.limit_fps == min(run.alone.capture_fps, run.alone.preprocess_fps, run.alone.invoke_fps) > 0
        assert run.ratio == pytest.approx(run.fps / run.alone.limit_fps, rel=0.01)
        assert run.worker_pss_bytes is not None
        assert run.worker_peak_bytes is not None
        assert run.worker_peak_bytes > 10_000_000
    table = format_table(bench)
    for expected in (
        "p50",
        "preprocess",
        "frames/s end to end",
        "of the limit",
        "worker memory",
        "2 interpreter threads",
    ):
        assert expected in table


def test_a_delegate_that_crashes_costs_a_worker_and_not_the_bench(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 2)
    library = str(build(DELEGATE, tmp_path / "libtestdelegate.so"))
    limits = Limits(frames=10, seconds=20)
    crashing = Wanted(DIGITS_MODEL, (str(pictures),), (1,), Delegate(library, {"mode": "crash"}), limits)
    with pytest.raises(WorkerCrashedError, match="signal SIGSEGV"):
        run_bench(crashing, lambda _: None)
    failing = Delegate(library, {"mode": "refuse"}, fallback=True)
    run = run_bench(Wanted(DIGITS_MODEL, (str(pictures),), (1,), failing, limits), lambda _: None).runs[0]
    assert run.delegate is None
    assert run.fell_back is not None
    assert "the test delegate refuses" in run.fell_back
    with pytest.raises(ModelError, match="the test delegate refuses") as caught:
        run_bench(replace(crashing, delegate=replace(failing, fallback=False)), lambda _: None)
    assert caught.value.reason is Reason.MISSING_DELEGATE


def test_the_command_gives_one_json_object_and_talks_to_stderr(tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.csv", 400)
    command = ["bench", str(DIGITS / "linescan_v1.tflite"), "--input", str(rows), "--threads", "1", "--frames", "20"]
    found = CliRunner().invoke(cli, [*command, "--json"])
    assert found.exit_code == 0, found.output
    tree = json.loads(found.stdout)
    assert tree["runs"][0]["frames"] == 20
    assert tree["runs"][0]["steps"]["invoke"]["p50_ms"] > 0
    assert "note: " in found.stderr


@pytest.mark.parametrize("wrong", [["--threads", "two"], ["--threads", "0"], ["--delegate-option", "x"]])
def test_options_that_cannot_be_are_asked_wrongly(wrong: list[str]) -> None:
    assert CliRunner().invoke(cli, ["bench", "model.tflite", *wrong]).exit_code == 2
