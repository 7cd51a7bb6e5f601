"""A real worker process: what it answers, what it refuses, and that it ends with its supervisor."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.config.row_sources import CsvSource
from edge_agent.config.sources import FolderSource, SourceConfig
from edge_agent.errors import Reason, describe_exit
from edge_agent.inference.ipc import (
    Figures,
    FrameFailed,
    Load,
    LoadFailed,
    Order,
    Result,
    Serving,
    Snapshot,
    SnapshotWritten,
    SourceEnded,
    SourceTrouble,
    StageStart,
    Start,
    Unload,
    format_line,
)
from edge_agent.inference.process import WorkerProcess, read_pss_bytes
from edge_agent.release.inputs import SignalInput
from tests.inference.releases import (
    WAIT_S,
    Words,
    digits_release,
    linescan_release,
    stalling_release,
    write_lines,
    write_picture,
    write_pictures,
)

A, B = "a" * 64, "b" * 64
HEAVY = ("paho", "click", "tuf", "psutil", "sqlite3", "cryptography", "securesystemslib", "av", "PIL.WebPImagePlugin")


@dataclass
class Worker:
    """A running worker and what it has said."""

    words: Words = field(default_factory=Words)
    exits: list[int] = field(default_factory=list)
    process: WorkerProcess | None = None

    def start(
        self, source: SourceConfig, release: Path | None = None, digest: str = A, *, keeps_pictures: bool = False
    ) -> "Worker":
        stage = StageStart(str(release), digest) if release else StageStart()
        start = Start("birds", source, {"main": stage}, keeps_pictures=keeps_pictures)
        self.process = WorkerProcess(start, self.words.say, self.exits.append)
        return self

    def send(self, order: Order) -> None:
        assert self.process is not None
        self.process.send(order)

    def stop(self) -> int:
        assert self.process is not None
        return self.process.stop(WAIT_S)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    if worker.process is not None:
        worker.process.kill()
        worker.stop()


def test_a_folder_is_answered_picture_by_picture(worker: Worker, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 5)
    worker.start(FolderSource("folder", pictures), digits_release(tmp_path / "release"))
    assert worker.words.until(SourceEnded).frames == 5
    assert worker.stop() == 0
    results = worker.words.of(Result)
    assert [result.input for result in results] == [f"{number:03}.jpg" for number in range(5)]
    assert all(list(result.answers) == ["main"] for result in results)
    answers = [result.answers["main"] for result in results]
    assert all(answer.digest == A and answer.task == "classification" for answer in answers)
    assert answers[0].results[0]["label"] in [str(digit) for digit in range(10)]
    assert len(answers[0].results) == 3
    assert set(answers[0].latency_ms) == {"preprocess", "invoke", "postprocess"}
    (serving,) = worker.words.of(Serving)
    assert serving.digest == A
    assert serving.library is not None
    assert worker.exits == [0]


def test_a_snapshot_does_not_wait_for_a_release_that_loads(worker: Worker, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    worker.start(FolderSource("folder", pictures), digits_release(tmp_path / A), keeps_pictures=True)
    worker.words.until(SourceEnded)
    stalling = stalling_release(tmp_path / B)
    worker.send(Load("main", str(stalling), B))
    with (stalling / "labels.txt").open("wb"):  # opens once the worker reads it
        path = tmp_path / "visitor.jpg"
        worker.send(Snapshot(2, str(path)))
        assert worker.words.until(SnapshotWritten) == SnapshotWritten(2, str(path))
        assert path.read_bytes().startswith(b"\xff\xd8")


def test_a_snapshot_that_was_ordered_before_the_end_is_written(worker: Worker, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    worker.start(FolderSource("folder", pictures), digits_release(tmp_path / A), keeps_pictures=True)
    worker.words.until(SourceEnded)
    paths = [tmp_path / f"{number}.jpg" for number in range(10)]
    for path in paths:
        worker.send(Snapshot(3, str(path)))
    worker.stop()
    while worker.words.until(SnapshotWritten).path != str(paths[-1]):
        pass
    assert all(path.exists() for path in paths)


def test_a_worker_that_keeps_no_pictures_says_so(worker: Worker, tmp_path: Path) -> None:
    worker.start(FolderSource("folder", tmp_path)).send(Snapshot(1, "/nowhere/1.jpg"))
    assert worker.words.until(SnapshotWritten).problem == "this worker keeps no pictures"


def test_rows_are_answered_window_by_window(worker: Worker, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "lines.csv", 8 * 20 + 3)
    worker.start(CsvSource("csv", lines), linescan_release(tmp_path / "release"))
    assert worker.words.until(SourceEnded).frames == 20
    figures = worker.words.of(Figures)
    assert sum(each.frames_out for each in figures) == 20
    assert sum(sum(each.latency["invoke"].values()) for each in figures if each.frames_out) == 20


def test_a_worker_waits_for_its_first_release_and_switches_to_the_next(worker: Worker, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    worker.start(FolderSource("folder", pictures, repeat=True))
    worker.words.until(Figures)
    assert worker.words.of(Result) == []
    worker.send(Load("main", str(digits_release(tmp_path / A)), A))
    worker.words.until(Result, count=5)
    worker.send(Load("main", str(digits_release(tmp_path / B, model="digits_v2.tflite")), B))
    assert worker.words.until(Serving).digest == B
    worker.words.until(Result, count=5)
    worker.send(Unload("main"))
    assert worker.words.until(Serving) == Serving("main", None)
    worker.words.until(Figures, count=2)
    results = worker.words.of(Result)
    assert [result.seq for result in results] == list(range(1, len(results) + 1))
    assert worker.stop() == 0


def break_model(release: Path) -> None:
    (release / "model.tflite").write_bytes(b"<html>404 Not Found</html>")


def cut_model(release: Path) -> None:
    content = (release / "model.tflite").read_bytes()
    (release / "model.tflite").write_bytes(content[: len(content) // 2])


def remove_manifest(release: Path) -> None:
    (release / "manifest.json").unlink()


def drop_a_label(release: Path) -> None:
    (release / "labels.txt").write_text("zero\none\n")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (break_model, Reason.NOT_A_MODEL),
        (cut_model, Reason.NOT_A_MODEL),
        (remove_manifest, Reason.INTEGRITY),
        (drop_a_label, Reason.LABELS_MISMATCH),
    ],
)
def test_a_release_that_cannot_be_loaded_is_refused_and_the_old_one_goes_on(
    worker: Worker, tmp_path: Path, spoil: Callable[[Path], None], reason: Reason
) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    worker.start(FolderSource("folder", pictures, repeat=True), digits_release(tmp_path / A))
    worker.words.until(Result)
    bad = digits_release(tmp_path / B)
    spoil(bad)
    worker.send(Load("main", str(bad), B))
    failed = worker.words.until(LoadFailed)
    assert (failed.digest, failed.reason) == (B, reason)
    assert failed.detail
    result = [worker.words.until(Result) for _ in range(10)][-1]
    assert result.answers["main"].digest == A
    assert len(worker.words.of(Serving)) == 1


def test_a_model_of_pictures_is_refused_where_the_source_gives_rows(worker: Worker, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "lines.csv", 80)
    worker.start(CsvSource("csv", lines), digits_release(tmp_path / A))
    failed = worker.words.until(LoadFailed)
    assert failed.reason is Reason.INCOMPATIBLE
    assert "takes pictures; the source is a csv" in failed.detail
    assert failed.hint


MISSPELLED = SignalInput(channels=("diod_0", *(f"diode_{number}" for number in range(1, 8))), window=8, stride=8)


def test_columns_that_the_source_has_not_are_its_trouble_until_they_are_there(worker: Worker, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "lines.csv", 80)
    worker.start(CsvSource("csv", lines, repeat=True), linescan_release(tmp_path / A, source=MISSPELLED))
    trouble = worker.words.until(SourceTrouble)
    assert "no column diod_0 (did you mean diode_0?)" in trouble.detail
    assert trouble.hint
    assert worker.words.until(Serving).digest == A
    lines.write_text(lines.read_text().replace("diode_0", "diod_0", 1))
    assert worker.words.until(Result).answers["main"].digest == A
    assert worker.words.of(LoadFailed) == []


def test_columns_that_only_the_new_release_misses_are_its_fault(worker: Worker, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "lines.csv", 80)
    worker.start(CsvSource("csv", lines, repeat=True), linescan_release(tmp_path / A))
    worker.words.until(Result)
    worker.send(Load("main", str(linescan_release(tmp_path / B, source=MISSPELLED)), B))
    failed = worker.words.until(LoadFailed)
    assert (failed.digest, failed.reason) == (B, Reason.INCOMPATIBLE)
    assert "diod_0" in failed.detail
    assert "diode_0" in failed.detail
    assert worker.words.until(Result).answers["main"].digest == A
    assert worker.words.of(SourceTrouble) == []


@pytest.mark.parametrize(
    ("header", "columns", "expected"),
    [
        ("diode_0,diode_1", ("diode_0", "diode_1"), "gives 2 columns (diode_0, diode_1); release model 1.0.0 takes 8"),
        ("diode_0,diode_1", (), "has 2 columns; release model 1.0.0 takes 8"),
        ("a,b,c,d,e,f,g,h", tuple("abcdefgx"), "no column x"),
    ],
)
def test_columns_that_fit_no_release_are_trouble_of_the_source(
    worker: Worker, tmp_path: Path, header: str, columns: tuple[str, ...], expected: str
) -> None:
    lines = tmp_path / "lines.csv"
    lines.write_text(f"{header}\n{','.join('1' * len(header.split(',')))}\n")
    unnamed = SignalInput(window=8, stride=8)
    worker.start(CsvSource("csv", lines, columns=columns, repeat=True), linescan_release(tmp_path / A, source=unnamed))
    assert expected in worker.words.until(SourceTrouble).detail
    assert worker.words.until(Serving).digest == A
    worker.send(Load("main", str(linescan_release(tmp_path / B, source=unnamed)), B))
    while worker.words.until(Serving).digest != B:
        pass
    assert worker.words.of(LoadFailed) == []


def test_a_source_that_comes_later_is_waited_for(worker: Worker, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    worker.start(FolderSource("folder", pictures), digits_release(tmp_path / A))
    trouble = worker.words.until(SourceTrouble)
    assert "pictures" in trouble.detail
    assert trouble.hint
    write_pictures(pictures, 2)
    assert worker.words.until(SourceEnded).frames == 2


def test_files_that_are_no_pictures_cost_only_themselves(worker: Worker, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 2)
    (pictures / "000a.jpg").write_text("version https://git-lfs.github.com/spec/v1\n")
    whole = write_picture(pictures / "000b.jpg", size_px=(640, 480)).read_bytes()
    (pictures / "000b.jpg").write_bytes(whole[: len(whole) // 2])
    worker.start(FolderSource("folder", pictures), digits_release(tmp_path / A))
    assert worker.words.until(SourceEnded).frames == 2
    failed = worker.words.of(FrameFailed)
    assert [(each.input, each.of_model) for each in failed] == [("000a.jpg", False), ("000b.jpg", False)]


def test_a_worker_that_crashes_says_how(worker: Worker, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 1)
    worker.start(FolderSource("folder", pictures, repeat=True), digits_release(tmp_path / A))
    worker.words.until(Result)
    assert worker.process is not None
    assert worker.process.pss_bytes is not None
    os.kill(worker.process.pid, signal.SIGSEGV)
    assert worker.stop() == -signal.SIGSEGV
    assert worker.exits == [-signal.SIGSEGV]
    assert describe_exit(worker.exits[0]) == "signal SIGSEGV"
    worker.send(Unload("main"))  # to nobody: not an error
    assert worker.process.pss_bytes is None


def test_no_worker_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 1)
    release = digits_release(tmp_path / A)
    script = f"""
import sys, threading
from pathlib import Path
from edge_agent.config.sources import FolderSource
from edge_agent.inference.ipc import Result, StageStart, Start
from edge_agent.inference.process import WorkerProcess
answered = threading.Event()
source = FolderSource("folder", Path({str(pictures)!r}), repeat=True)
hear = lambda word: answered.set() if isinstance(word, Result) else None
stages = {{"main": StageStart({str(release)!r}, "a" * 64)}}
worker = WorkerProcess(Start("birds", source, stages), hear, lambda code: None)
assert answered.wait(60)
print(worker.pid, flush=True)
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        worker_pid = int(supervisor.stdout.readline())
        watched = os.pidfd_open(worker_pid)
        supervisor.kill()
    try:
        readable, _, _ = select.select([watched], [], [], WAIT_S)
        assert readable, "the worker still runs"
    finally:
        os.close(watched)


def test_a_worker_ends_when_it_is_spoken_to_by_nobody(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "edge_agent.inference.worker", str(theirs.fileno())]
        child = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    ours.sendall(format_line(Start("birds", FolderSource("folder", tmp_path), {"main": StageStart()})))
    ours.close()
    assert child.wait(WAIT_S) == 0


def test_a_worker_imports_nothing_of_the_supervisor_s() -> None:
    script = f"""
import sys
import edge_agent.inference.worker
import edge_agent.inference.sources.folder
heavy = [name for name in {HEAVY!r} if name in sys.modules]
left = ("update", "telemetry", "link", "service", "cli")
ours = [name for name in sys.modules if name.startswith("edge_agent.") and name.split(".")[1] in left]
print(heavy + ours)
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_the_supervisor_s_side_imports_neither_numpy_nor_pillow_nor_an_interpreter() -> None:
    script = """
import sys
import edge_agent.inference.server, edge_agent.inference.sinks
import edge_agent.telemetry.outbox, edge_agent.telemetry.report, edge_agent.telemetry.resources
heavy = ("numpy", "PIL", "ai_edge_litert", "tflite_runtime", "av", "tuf")
print([name for name in heavy if name in sys.modules])
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_memory_is_that_of_the_process_asked_for() -> None:
    mine = read_pss_bytes(os.getpid())
    assert mine is not None
    assert mine > 5_000_000
    assert read_pss_bytes(2**22 + 1) is None
