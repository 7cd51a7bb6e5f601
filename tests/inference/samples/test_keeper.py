"""A worker that keeps samples: a real one, and what it does when the disk or the pictures will not."""

import json
import shutil
from pathlib import Path
from threading import Event

import numpy as np
from PIL import Image

from edge_agent.clock import SystemClock
from edge_agent.config.row_sources import CsvSource
from edge_agent.config.sinks import SamplesSink
from edge_agent.config.sources import FolderSource, SourceConfig
from edge_agent.disk import Disk
from edge_agent.inference.capture import Captured
from edge_agent.inference.frame import Frame, Rows, Sound, Wanted
from edge_agent.inference.ipc import Result, SamplesLost, SourceEnded, StageStart, Start
from edge_agent.inference.job import Job, Served, Turn
from edge_agent.inference.process import WorkerProcess
from edge_agent.inference.samples.content import content_of
from edge_agent.inference.samples.folder import RESULTS, is_sample, sample_names
from edge_agent.inference.samples.keeper import SampleKeeper
from edge_agent.inference.sinks.samples import SamplesSink as SupervisorsSink
from edge_agent.release.inputs import AudioInput
from edge_agent.transform.picture import EncodedPicture, View, open_picture
from edge_agent.transform.wav import format_wav
from tests.inference.releases import WAIT_S, Words, digits_release, linescan_release, write_lines, write_pictures
from tests.inference.sources.pictures import seen
from tests.inference.test_pipeline import ONE_STAGE, model
from tests.inference.test_sound import model as sound_model
from tests.sim.disk import SimDisk
from tests.sim.results import result
from tests.sim.sound import counted
from tests.sim.waiting import until

DIGEST = "a" * 64


def config(folder: Path, **keys: object) -> SamplesSink:
    return SamplesSink("samples", folder, **{"min_interval_s": 0.0, **keys})  # type: ignore[arg-type]  # as TOML gives it


def run(source: SourceConfig, release: Path, sink: SamplesSink | None) -> Words:
    """A real worker, until its source has ended and it has gone."""
    words = Words()
    start = Start("birds", source, {"main": StageStart(str(release), DIGEST)}, samples=sink)
    process = WorkerProcess(start, words.say, lambda _: None)
    words.until(SourceEnded)
    assert process.stop(WAIT_S) == 0
    while words.pending:  # and what it has said since
        words.take()
    return words


def samples(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_sample(path.name))


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]


def test_pictures_are_kept_as_they_came_with_what_was_said_of_each(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 4)
    source = FolderSource("folder", pictures)  # as many as may wait
    words = run(source, digits_release(tmp_path / "release"), config(tmp_path / "samples"))
    kept = samples(tmp_path / "samples")
    assert [path.read_bytes() for path in kept] == [path.read_bytes() for path in sorted(pictures.iterdir())]
    told = lines(tmp_path / "samples")
    assert [each["input"] for each in told] == [path.name for path in kept]
    answers = [word.answers["main"] for word in words.of(Result)]
    assert [each["results"] for each in told] == [[*answer.results] for answer in answers]
    assert {(each["pipeline"], each["digest"], each["version"], each["task"]) for each in told} == {
        ("birds", DIGEST, "1.0.0", "classification")
    }
    assert words.of(SamplesLost) == []


def test_without_the_sink_nothing_is_kept_and_the_answers_are_the_same(tmp_path: Path) -> None:
    source = FolderSource("folder", write_pictures(tmp_path / "pictures", 4))
    release = digits_release(tmp_path / "release")
    with_it = run(source, release, config(tmp_path / "samples")).of(Result)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    without = run(source, release, None).of(Result)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [(each.input, each.answers["main"].results) for each in without] == [
        (each.input, each.answers["main"].results) for each in with_it
    ]


def test_windows_of_rows_are_kept(tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.csv", 24)
    source = CsvSource("csv", rows)
    run(source, linescan_release(tmp_path / "release"), config(tmp_path / "samples"))
    kept = [path.read_text().splitlines() for path in samples(tmp_path / "samples")]
    assert [text[0] for text in kept] == [",".join(f"diode_{number}" for number in range(8))] * 3
    values = [[float(cell) for cell in line.split(",")] for text in kept for line in text[1:]]
    assert values == [[(row + column) % 17 for column in range(8)] for row in range(24)]


def test_a_folder_that_cannot_be_written_costs_samples_and_no_answer(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("a file where a folder should be")
    source = FolderSource("folder", write_pictures(tmp_path / "pictures", 3))
    words = run(source, digits_release(tmp_path / "release"), config(tmp_path / "samples"))
    assert len(words.of(Result)) == 3
    lost = words.of(SamplesLost)
    assert sum(each.lost for each in lost) == 3
    assert "samples" in str(lost[-1].problem)
    sink = SupervisorsSink()
    for each in lost:
        sink.heard(each)
    assert (sink.dropped, sink.problem) == (3, lost[-1].problem)


# --- the keeper alone ----------------------------------------------------------------------------------------------


class Kept:
    """A keeper on a simulated disk, which is not opened before it is let go of."""

    def __init__(self, **keys: object) -> None:
        self.operations = SimDisk()
        self.disk = Disk(self.operations)
        self.said: list[SamplesLost] = []
        self.opening, self.may_open = Event(), Event()
        self.keeper = SampleKeeper(
            config(Path("s"), **keys), "birds", ONE_STAGE, self.said.append, SystemClock(), disk=self._open
        )

    def _open(self) -> Disk:
        self.opening.set()
        assert self.may_open.wait(WAIT_S)
        return self.disk

    @property
    def names(self) -> list[str]:
        return sample_names(self.disk)

    @property
    def shades(self) -> list[int]:
        return [shade(open_picture(self.disk.read(name), name)) for name in self.names]


def job(given: Rows | Sound | Frame, served: Served | None = None) -> Job:
    turn = Turn(served or Served(DIGEST, model(lambda _: [])), given=None if isinstance(given, Frame) else given)
    return Job("x", 0.0, 0.0, given if isinstance(given, Frame) else None, {"main": turn})


def plain(red: int) -> Frame:
    return Frame("x", 0.0, Image.new("L", (8, 8), red))


def shade(picture: EncodedPicture) -> int:
    return int(seen(picture, (1, 1)).mean())


def test_what_may_not_wait_is_dropped_the_oldest_first_and_counted() -> None:
    kept = Kept()
    kept.keeper.offer(job(plain(0)), result("cat"))
    assert kept.opening.wait(WAIT_S)
    for number in range(1, 10):  # nobody waits for the disk
        kept.keeper.offer(job(plain(number)), result("cat", seq=number))
    kept.may_open.set()
    kept.keeper.__exit__(None, None, None)
    assert kept.shades == [0, 6, 7, 8, 9]
    assert sum(each.lost for each in kept.said) == 5
    assert kept.said[-1].problem is None


def test_a_full_disk_costs_samples_is_told_and_is_over_when_there_is_room() -> None:
    kept = Kept()
    kept.may_open.set()
    kept.operations.capacity_bytes = 10
    with kept.keeper:
        kept.keeper.offer(job(plain(1)), result("cat"))
        until(lambda: kept.said)
        assert kept.said[-1].lost == 1
        assert "the disk is full" in str(kept.said[-1].problem)
        assert kept.names == []
        kept.operations.capacity_bytes = 10_000
        kept.keeper.offer(job(plain(2)), result("cat"))
    assert kept.said[-1] == SamplesLost(0, None)
    assert kept.shades == [2]


def test_a_folder_that_is_taken_away_costs_a_sample_and_is_made_again(tmp_path: Path) -> None:
    said: list[SamplesLost] = []
    folder = tmp_path / "samples"
    with SampleKeeper(config(folder), "birds", ONE_STAGE, said.append, SystemClock()) as keeper:
        keeper.offer(job(plain(1)), result("cat"))
        until((folder / RESULTS).exists)
        shutil.rmtree(folder)
        keeper.offer(job(plain(2)), result("cat"))
        until(lambda: said)
        keeper.offer(job(plain(3)), result("cat"))
    assert [each.lost for each in said] == [1, 0]
    assert [shade(open_picture(path.read_bytes(), path.name)) for path in samples(folder)] == [3]


def test_a_picture_that_cannot_be_decoded_costs_itself() -> None:
    kept = Kept()
    kept.may_open.set()
    whole = content_of(plain(1))[1]
    broken = EncodedPicture(whole[:-40], "b.png", (8, 8))
    with kept.keeper:
        kept.keeper.offer(job(Frame("b.png", 0.0, broken, View(90))), result("cat"))
        kept.keeper.offer(job(plain(2)), result("cat"))
    assert kept.shades == [2]
    assert "b.png" in str(kept.said[0].problem)


def test_only_what_was_chosen_is_kept() -> None:
    kept = Kept(score_below=0.5)
    kept.may_open.set()
    with kept.keeper:
        for number, score in enumerate((0.4, 0.9, 0.1)):
            kept.keeper.offer(job(plain(number)), result("cat", score=score))
    assert kept.shades == [0, 2]


def test_sound_is_kept_without_what_was_heard_before_it() -> None:
    spec = AudioInput(window=900, stride=900, context=100)
    served = Served(DIGEST, sound_model(spec))
    captured = Captured(Sound("x", 0.0, counted(900), 16_000), 0.0)
    (ready,) = served.feed(captured, Wanted(sample_rate_hz=16_000))
    assert ready.given is not None
    kept = Kept()
    kept.may_open.set()
    with kept.keeper:
        kept.keeper.offer(job(ready.given, served), result("cat", task="audio_classification"))
    (name,) = kept.names
    assert kept.disk.read(name) == format_wav(counted(900), 16_000)


def test_a_row_without_a_window_is_kept() -> None:
    kept = Kept()
    kept.may_open.set()
    with kept.keeper:
        kept.keeper.offer(job(Rows(("a", "b"), np.array([[1.5, 2.0]]))), result("cat"))
    (name,) = kept.names
    assert kept.disk.read(name) == b"a,b\n1.5,2.0\n"
