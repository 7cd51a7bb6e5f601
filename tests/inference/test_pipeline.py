"""The threads inside a worker: nothing is lost, nothing is mixed up, and a switch happens between two frames."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Semaphore
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from edge_agent.clock import SystemClock
from edge_agent.config.pipeline import Crops
from edge_agent.config.row_sources import CsvSource
from edge_agent.config.sources import FolderSource, SourceConfig, WavSource
from edge_agent.errors import SourceError
from edge_agent.inference.capture import Captured
from edge_agent.inference.frame import Frame, Sound, Unusable, Wanted
from edge_agent.inference.ipc import (
    Figures,
    FrameFailed,
    LoadFailed,
    Result,
    Serving,
    SourceEnded,
    SourceTrouble,
    StageStart,
    Word,
)
from edge_agent.inference.job import Served
from edge_agent.inference.model import Model
from edge_agent.inference.pipeline import Pipeline
from edge_agent.inference.seen import Seen
from edge_agent.inference.stage import pick_crops
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput, TensorInput
from edge_agent.release.manifest import Limits, Manifest
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.prediction import Box, Prediction
from edge_agent.transform.tensor import Array, TensorSpec
from edge_agent.update.trial import Failed, TrialWatch
from tests.sim.artifact import entry
from tests.sim.engine import FakeEngine
from tests.sim.source import Item, SimSource, picture, sample
from tests.sim.waiting import until

ONE_STAGE = {"main": StageStart()}
FOLDER = FolderSource("folder", Path("/nowhere"))
WAIT_S = 30.0
WordT = TypeVar("WordT", bound=Word)
Answer = Callable[[Sequence[Array]], Sequence[Array] | None]


CORES = [4]  # that the pipeline believes in


@pytest.fixture(autouse=True, params=[1, 4])
def cores(request: pytest.FixtureRequest) -> None:
    """On few cores the capturing thread prepares, too: whatever holds for the one must hold for the other."""
    CORES[0] = request.param


class Heard:
    """What the pipeline says."""

    def __init__(self) -> None:
        self._words: SimpleQueue[Word] = SimpleQueue()
        self.all: list[Word] = []

    def say(self, word: Word) -> None:
        self._words.put(word)

    def until(self, kind: type[WordT], *, count: int = 1) -> list[WordT]:
        """Wait for `count` more words of a kind; gives them."""
        found: list[WordT] = []
        while len(found) < count:
            try:
                word = self._words.get(timeout=WAIT_S)
            except Empty:
                raise AssertionError(f"waited for {count} of {kind.__name__}, heard {self.all[-20:]}") from None
            self.all.append(word)
            if isinstance(word, kind):
                found.append(word)
        return found

    def of(self, kind: type[WordT]) -> list[WordT]:
        return [word for word in self.all if isinstance(word, kind)]

    def totals(self) -> tuple[int, int, int, int]:
        figures = self.of(Figures)
        return (
            sum(each.frames_in for each in figures),
            sum(each.frames_out for each in figures),
            sum(each.dropped for each in figures),
            sum(each.failed for each in figures),
        )


def digest_of(word: Result | Serving) -> str:
    return word.answers["main"].digest if isinstance(word, Result) else str(word.digest)


def says(index: int) -> Answer:
    """A model that always answers with this class."""
    return lambda _: [np.eye(3, dtype=np.float32)[index][None]]


def model(
    answer: Answer,
    spec: InputSpec | None = None,
    shape: tuple[int, ...] = (1, 4, 4, 1),
    output: OutputSpec | None = None,
) -> Model:
    spec = spec or ImageInput(color="gray", mean=(0.0,), std=(1.0,))
    manifest = Manifest(
        name="sim",
        version="1",
        task="raw" if isinstance(spec, TensorInput) else "classification",
        input=spec,
        output=output or OutputSpec(),
        files={"model.tflite": entry(b"")},
        created="2026-01-01T00:00:00Z",
    )
    given = TensorSpec("input", shape, np.dtype(np.float32))
    found = TensorSpec("scores", (1, 3), np.dtype(np.float32))
    return Model(manifest, (), FakeEngine([given], [found], answer))


def engine_of(served: Served) -> FakeEngine:
    engine = served.model.engine
    assert isinstance(engine, FakeEngine)
    return engine


@contextmanager
def running(
    source: SimSource, config: SourceConfig = FOLDER, released: Callable[[], None] = lambda: None
) -> Iterator[tuple[Pipeline, Heard]]:
    heard = Heard()
    pipeline = Pipeline(config, lambda: source, ONE_STAGE, heard.say, SystemClock(), released=released, cores=CORES[0])
    pipeline.start()
    try:
        yield pipeline, heard
    finally:
        pipeline.stop()


def test_every_frame_is_answered_in_order_and_then_the_end_is_told() -> None:
    names = [f"{number}.jpg" for number in range(50)]
    with running(SimSource(names)) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(says(1))))
        (ended,) = heard.until(SourceEnded)
    results = heard.of(Result)
    assert [result.input for result in results] == names
    assert [result.seq for result in results] == list(range(1, 51))
    assert {digest_of(result) for result in results} == {"one"}
    assert results[0].answers["main"].results[0]["index"] == 1
    assert list(results[0].answers["main"].latency_ms) == ["preprocess", "invoke", "postprocess"]
    assert ended.frames == 50
    assert heard.totals() == (50, 50, 0, 0)
    assert heard.all.index(ended) == len(heard.all) - 1  # all figures come before: a trial judges by them


def test_no_frame_is_taken_before_there_is_a_release() -> None:
    source = SimSource(["a", "b"])
    with running(source) as (pipeline, heard):
        heard.until(Figures)  # a second has gone by
        assert (source.opened, source.taken) == (0, 0)
        pipeline.switch("main", Served("one", model(says(0))))
        heard.until(SourceEnded)
    assert [result.input for result in heard.of(Result)] == ["a", "b"]


def test_a_switch_loses_no_frame_and_every_result_names_the_release_that_gave_it() -> None:
    gate = Semaphore(0)
    names = [str(number) for number in range(300)]
    old, new = Served("old", model(says(0))), Served("new", model(says(2)))
    closed = Event()
    with running(SimSource(names, gate), released=closed.set) as (pipeline, heard):
        pipeline.switch("main", old)
        gate.release(100)
        heard.until(Result, count=40)  # frames of the old one are still on their way
        pipeline.switch("main", new)
        gate.release(200)
        heard.until(SourceEnded)
        assert closed.wait(WAIT_S)
    results = heard.of(Result)
    assert [result.input for result in results] == names
    by_digest = {"old": 0, "new": 2}
    assert all(result.answers["main"].results[0]["index"] == by_digest[digest_of(result)] for result in results)
    digests = [digest_of(word) for word in heard.all if isinstance(word, Result | Serving)]
    assert digests == sorted(
        digests, key=lambda digest: digest != "old"
    )  # no result of the old one after the new one serves
    assert {figures.digest for figures in heard.of(Figures)} <= {None, "old", "new"}
    assert (
        sum(figures.frames_out for figures in heard.of(Figures) if figures.digest == "new") == digests.count("new") - 1
    )
    assert engine_of(old).closed


def test_the_release_that_serves_is_not_closed_by_a_switch() -> None:
    gate = Semaphore(0)
    new = Served("new", model(says(0)))
    with running(SimSource(["a"], gate)) as (pipeline, heard):
        pipeline.switch("main", Served("old", model(says(0))))
        pipeline.switch("main", new)
        heard.until(Serving, count=2)
        assert not engine_of(new).closed
        gate.release()
        heard.until(Result)
    assert engine_of(new).closed  # by the end of the pipeline


def test_without_a_release_again_frames_wait_until_there_is_one() -> None:
    gate = Semaphore(0)
    with running(SimSource(["a", "b", "c"], gate)) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(says(0))))
        gate.release()
        heard.until(Result)
        pipeline.switch("main", None)
        assert heard.until(Serving)[-1] == Serving("main", None)
        gate.release(2)
        heard.until(Figures, count=2)
        assert len(heard.of(Result)) == 1
        pipeline.switch("main", Served("two", model(says(0))))
        heard.until(SourceEnded)
    assert [(result.input, digest_of(result)) for result in heard.of(Result)] == [
        ("a", "one"),
        ("b", "two"),
        ("c", "two"),
    ]


def test_empty_answers_and_best_scores_are_counted_by_the_release_that_gave_them() -> None:
    """What a trial is judged by."""
    scores = iter([0.1, 0.5, 0.6, 0.99])

    def answer(_: Sequence[Array]) -> Sequence[Array]:
        return [np.array([[next(scores), 0.0, 0.0]], np.float32)]

    source = SimSource(["a", "b", "c", "d"])
    new = Served("new", model(answer, output=OutputSpec(top_k=1, score_threshold=0.3)))
    with running(source) as (pipeline, heard):
        pipeline.switch("main", new)
        heard.until(SourceEnded)
    seen = Seen("new")
    for figures in heard.of(Figures):
        if figures.digest == "new":
            seen.hear(figures)
    assert (seen.frames, seen.answers, seen.empty) == (4, 4, 1)
    assert seen.scores == {10: 1, 12: 1, 19: 1}
    assert seen.invoke.count == 4


def test_a_release_that_comes_after_the_source_has_ended_is_told_so() -> None:
    with running(SimSource(["a"])) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(says(0))))
        heard.until(SourceEnded)
        pipeline.switch("main", Served("two", model(says(0))))
        assert heard.until(Serving)[-1].digest == "two"
        assert heard.until(SourceEnded) == [SourceEnded(1)]


def test_what_is_no_picture_is_told_as_the_frame_s_fault_and_the_next_one_is_answered() -> None:
    broken = picture("b")
    assert isinstance(broken.picture, Image.Image)
    broken.picture.close()  # decoding it fails
    with running(SimSource(["a", broken, Unusable("c", "c is not a picture"), "d"])) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(says(0))))
        heard.until(SourceEnded)
    failed = heard.of(FrameFailed)
    assert {(each.input, each.of_model, each.digest) for each in failed} == {("b", False, "one"), ("c", False, "one")}
    assert [result.input for result in heard.of(Result)] == ["a", "d"]
    assert heard.totals() == (4, 2, 0, 2)


def test_a_model_that_fails_is_told_as_the_model_s_fault_each_time() -> None:
    with running(SimSource([str(number) for number in range(25)])) as (pipeline, heard):
        pipeline.switch("main", Served("bad", model(lambda _: None)))
        (ended,) = heard.until(SourceEnded)
    failed = heard.of(FrameFailed)
    assert len(failed) == 25
    assert all(each.of_model and each.digest == "bad" for each in failed)
    assert ended.frames == 0
    assert heard.totals() == (25, 0, 0, 25)


def test_a_folder_of_bad_pictures_is_counted_in_full_and_told_in_part() -> None:
    bad = [Unusable(str(number), "not a picture") for number in range(500)]
    with running(SimSource(bad)) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(says(0))))
        heard.until(SourceEnded)
    assert heard.totals() == (500, 0, 0, 500)
    assert 10 <= len(heard.of(FrameFailed)) < 100


class BusyModel:
    """Holds the interpreter until it is let go."""

    def __init__(self) -> None:
        self.entered = Semaphore(0)
        self.go_on = Semaphore(0)

    def __call__(self, inputs: Sequence[Array]) -> Sequence[Array]:
        self.entered.release()
        assert self.go_on.acquire(timeout=WAIT_S)
        return [np.eye(3, dtype=np.float32)[:1]]


def test_frames_that_wait_when_a_release_comes_are_answered_by_the_one_they_were_prepared_for() -> None:
    busy = BusyModel()
    with running(SimSource([str(number) for number in range(10)])) as (pipeline, heard):
        pipeline.switch("main", Served("old", model(busy)))
        assert busy.entered.acquire(timeout=WAIT_S)
        heard.until(Figures, count=2)  # one when the old release began to serve, one a while later: the queues are full
        pipeline.switch("main", Served("new", model(says(0))))
        busy.go_on.release(10)
        heard.until(SourceEnded)
    said = [f"{type(word).__name__} {digest_of(word)}" for word in heard.all if isinstance(word, Serving | Result)]
    old_results = said.count("Result old")
    assert 2 <= old_results <= 5
    assert said == [
        "Serving old",
        *["Result old"] * old_results,
        "Serving new",
        *["Result new"] * (10 - old_results),
    ]


def test_a_live_source_that_is_too_fast_loses_its_oldest_frames_and_never_the_latest() -> None:
    busy = BusyModel()
    source = SimSource([str(number) for number in range(30)])
    with running(source, FolderSource("folder", Path("/nowhere"), max_fps=1000.0)) as (pipeline, heard):
        pipeline.switch("main", Served("slow", model(busy)))
        assert busy.entered.acquire(timeout=WAIT_S)
        while source.taken < 30:  # the camera goes on while the first frame is invoked
            heard.until(Figures)
        busy.go_on.release(30)
        heard.until(SourceEnded)
    answered = [int(result.input) for result in heard.of(Result)]
    assert answered == sorted(answered)
    assert answered[-1] == 29
    assert len(answered) <= 4
    frames_in, out, dropped, failed = heard.totals()
    assert (frames_in, out, dropped, failed) == (30, len(answered), 30 - len(answered), 0)


def test_a_source_that_is_not_live_waits_for_the_model_and_loses_nothing() -> None:
    busy = BusyModel()
    source = SimSource([str(number) for number in range(30)])
    with running(source) as (pipeline, heard):
        pipeline.switch("main", Served("slow", model(busy)))
        assert busy.entered.acquire(timeout=WAIT_S)
        heard.until(Figures)
        assert source.taken < 10
        busy.go_on.release(30)
        heard.until(SourceEnded)
    assert heard.totals() == (30, 30, 0, 0)


LINES = SignalInput(channels=("x", "y"), window=4, stride=4)


def rows_model(answer: Answer, spec: SignalInput = LINES) -> Model:
    return model(answer, spec, (1, spec.window, len(spec.channels)))


def rows(count: int, channels: tuple[str, ...] = ("x", "y")) -> list[Item]:
    return [sample(number, *[float(number)] * len(channels), channels=channels) for number in range(count)]


def test_rows_become_windows_and_each_window_is_answered_once() -> None:
    seen: list[float] = []

    def answer(inputs: Sequence[Array]) -> Sequence[Array]:
        seen.append(float(inputs[0][0, 0, 0]))
        return [np.eye(3, dtype=np.float32)[:1]]

    source = SimSource(rows(22))
    with running(source, CsvSource("csv", Path("/nowhere"))) as (pipeline, heard):
        pipeline.switch("main", Served("one", rows_model(answer)))
        (ended,) = heard.until(SourceEnded)
    assert seen == [0.0, 4.0, 8.0, 12.0, 16.0]
    assert [result.input for result in heard.of(Result)] == ["3", "7", "11", "15", "19"]
    assert ended.frames == 5
    assert heard.totals() == (5, 5, 0, 0)
    assert set(source.asked_for) == {("x", "y")}


def test_a_live_sensor_that_is_too_fast_loses_whole_windows_and_no_single_rows() -> None:
    busy = BusyModel()
    starts: list[float] = []

    def answer(inputs: Sequence[Array]) -> Sequence[Array]:
        window = inputs[0][0, :, 0]
        assert list(window) == [window[0] + offset for offset in range(4)]
        starts.append(float(window[0]))
        return busy(inputs)

    source = SimSource(rows(400))
    with running(source, CsvSource("csv", Path("/nowhere"), rate_hz=5000.0)) as (pipeline, heard):
        pipeline.switch("main", Served("slow", rows_model(answer)))
        assert busy.entered.acquire(timeout=WAIT_S)
        while source.taken < 400:
            heard.until(Figures)
        busy.go_on.release(100)
        heard.until(SourceEnded)
    assert starts[-1] == 396.0
    frames_in, out, dropped, failed = heard.totals()
    assert (frames_in, out + dropped, failed) == (100, 100, 0)
    assert dropped > 90


def test_a_model_that_wants_other_columns_never_sees_those_of_the_one_before() -> None:
    gate = Semaphore(0)
    old_rows, new_rows = rows(8), rows(8, ("x", "y", "z"))
    widths: list[int] = []

    def answer(inputs: Sequence[Array]) -> Sequence[Array]:
        widths.append(inputs[0].shape[-1])
        return [np.eye(3, dtype=np.float32)[:1]]

    wider = SignalInput(channels=("x", "y", "z"), window=4, stride=4)
    source = SimSource([*old_rows, *rows(2), *new_rows], gate)
    with running(source, CsvSource("csv", Path("/nowhere"))) as (pipeline, heard):
        pipeline.switch("main", Served("old", rows_model(answer)))
        gate.release(8)
        heard.until(Result, count=2)
        pipeline.switch("main", Served("new", rows_model(answer, wider)))
        heard.until(Serving)
        gate.release(10)
        heard.until(SourceEnded)
    assert widths == [2, 2, 3, 3]
    assert heard.of(FrameFailed) == []


def test_rows_of_plain_numbers_are_answered_one_by_one() -> None:
    def answer(inputs: Sequence[Array]) -> Sequence[Array]:
        return [np.pad(inputs[0], ((0, 0), (0, 1)))]

    source = SimSource([sample(0, 0.5, 2.0), sample(1, 3.0, 1.0)])
    with running(source, CsvSource("csv", Path("/nowhere"))) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(answer, TensorInput(), (1, 2))))
        heard.until(SourceEnded)
    assert [result.answers["main"].results[0]["value"] for result in heard.of(Result)] == [0.5, 3.0]


def test_rows_that_were_read_for_other_columns_are_used_by_the_models_whose_columns_they_hold() -> None:
    x, z = (Served(name, rows_model(says(0), SignalInput(channels=(name,), window=2, stride=2))) for name in ("x", "z"))
    wanted = Wanted(("x", "y", "z"))

    def feed(served: Served, number: int, *channels: str) -> list[tuple[str, bool]]:
        row = sample(number, *[float(number)] * len(channels), channels=channels)
        return [(ready.name, ready.began_anew) for ready in served.feed(Captured(row, 0.0), wanted)]

    for served in (x, z):
        assert feed(served, 0, "x", "y", "z") == []
    assert feed(x, 1, "x", "y") == [("1", False)]  # no gap in what this model sees
    assert feed(z, 1, "x", "y") == []
    assert feed(z, 2, "x", "y", "z") == []  # a window of rows 0 and 2 would span a hole
    assert feed(z, 3, "x", "y", "z") == [("3", True)]


def test_a_source_in_trouble_is_told_and_a_release_can_be_switched_meanwhile() -> None:
    source = SimSource([SourceError("the folder is empty", hint="fill it")])
    config = FolderSource("folder", Path("/nowhere"), repeat=True)
    with running(source, config) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(says(0))))
        heard.until(Serving)
        told = SourceTrouble("the folder is empty", "fill it (it is tried again by itself)")
        assert heard.until(SourceTrouble) == [told]
        pipeline.switch("main", Served("two", model(says(0))))
        assert heard.until(Serving)[-1].digest == "two"
    assert heard.of(LoadFailed) == []


def test_a_model_that_never_comes_back_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    crashes: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr("threading.excepthook", lambda failed: crashes.put(str(failed.exc_value)))
    busy = BusyModel()
    heard = Heard()
    pipeline = Pipeline(FOLDER, lambda: SimSource(["a"]), ONE_STAGE, heard.say, SystemClock(), longest_invoke_s=0.5)
    pipeline.start()
    pipeline.switch("main", Served("hanging", model(busy)))
    assert "running for" in crashes.get(timeout=WAIT_S)
    busy.go_on.release()
    pipeline.stop()


@pytest.mark.parametrize("live", [True, False], ids=["live", "not live"])
def test_a_pipeline_stops_while_all_its_threads_are_busy(live: bool) -> None:  # noqa: FBT001
    busy = BusyModel()
    config = FolderSource("folder", Path("/nowhere"), repeat=True, max_fps=1000.0 if live else None)
    with running(SimSource([str(number) for number in range(10_000)]), config) as (pipeline, _):
        pipeline.switch("main", Served("slow", model(busy)))
        assert busy.entered.acquire(timeout=WAIT_S)
        busy.go_on.release(1)  # the frame that is being invoked is waited for, the others are not
        assert busy.entered.acquire(timeout=WAIT_S)
        busy.go_on.release(3)


def test_a_pipeline_stops_while_its_source_waits_for_a_camera_over_the_network() -> None:
    gate = Semaphore(0)
    source = SimSource(["a"], gate)
    with running(source) as (pipeline, _):
        pipeline.switch("main", Served("first", model(says(0))))
        while source.opened == 0:
            Event().wait(0.01)
        pipeline.stop()  # or this never ends
        assert source.taken == 0
        gate.release()


class Remembering:
    """A model of windows that remembers: what it has seen, by the first value of each window, and when it forgot."""

    def __init__(self, spec: SignalInput, answer: Answer) -> None:
        self.seen: list[float | str] = []
        self._answer = answer
        self.model = rows_model(self._invoke, spec)
        self.model.reset_state = lambda: self.seen.append("forget")  # type: ignore[method-assign]  # heard by the test

    def _invoke(self, inputs: Sequence[Array]) -> Sequence[Array] | None:
        self.seen.append(float(inputs[0].flat[0]))
        return self._answer(inputs)


def test_a_model_with_state_forgets_though_the_window_behind_the_gap_is_unusable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [sample(number, 1.0, channels=("x",)) for number in range(8)]
    rows[2] = replace(rows[2], after_gap=True)
    rows[3] = replace(rows[3], values=(float("nan"),))
    forgotten: list[int] = []
    answered: list[int] = []

    def answer(_: object) -> list[Array]:
        answered.append(len(forgotten))
        return [np.eye(3, dtype=np.float32)[0][None]]

    stateful = model(answer, SignalInput(channels=("x",), window=2, stride=2), (1, 2, 1))
    monkeypatch.setattr(type(stateful), "reset_state", lambda _: forgotten.append(1))
    with running(SimSource(rows), CsvSource("csv", Path("/nowhere"))) as (pipeline, heard):
        pipeline.switch("main", Served("one", stateful))
        heard.until(SourceEnded)
    assert heard.totals()[3] == 1
    assert answered == [0, 1, 1]


def wait_for_dropped(heard: Heard, stage: str, count: int) -> None:
    """Until so many windows of a stage have been left out."""
    while sum(each.dropped for each in heard.of(Figures) if each.stage == stage) < count:
        heard.until(Figures)


LIVE_ROWS = CsvSource("csv", Path("/nowhere"), rate_hz=5000.0)


def test_a_model_with_state_forgets_though_the_window_behind_the_gap_is_left_out() -> None:
    busy, gate = BusyModel(), Semaphore(0)
    script = [sample(number, float(number), channels=("x",)) for number in range(6)]
    script[2] = replace(script[2], after_gap=True)
    with running(SimSource(script, gate), LIVE_ROWS) as (pipeline, heard):
        stateful = Remembering(SignalInput(channels=("x",), window=2, stride=2), busy)
        pipeline.switch("main", Served("one", stateful.model))
        gate.release(2)
        assert busy.entered.acquire(timeout=WAIT_S)
        gate.release(4)  # two windows, of which the second takes the place of the first
        wait_for_dropped(heard, "main", 1)
        busy.go_on.release(2)
        heard.until(SourceEnded)
    assert stateful.seen == [0.0, "forget", 4.0]


def test_each_stage_forgets_though_its_window_behind_the_gap_is_left_out_for_one_of_another_stage() -> None:
    busy, gate = BusyModel(), Semaphore(0)
    script = [sample(number, float(number), channels=("x",)) for number in range(6)]
    script[2] = replace(script[2], after_gap=True)
    stages = {"rows": StageStart(), "pairs": StageStart()}
    with running_stages(SimSource(script, gate), stages, LIVE_ROWS) as (pipeline, heard):
        of_rows = Remembering(SignalInput(channels=("x",), window=1, stride=1), busy)
        of_pairs = Remembering(SignalInput(channels=("x",), window=2, stride=2), says(0))
        pipeline.switch("rows", Served("r", of_rows.model))
        pipeline.switch("pairs", Served("p", of_pairs.model))
        heard.until(Serving, count=2)
        gate.release(1)
        assert busy.entered.acquire(timeout=WAIT_S)
        gate.release(5)  # the pair 2, 3 behind the gap is left out for the row 4, which completes none
        wait_for_dropped(heard, "rows", 4)
        busy.go_on.release(2)
        heard.until(SourceEnded)
    assert of_rows.seen == [0.0, "forget", 5.0]
    assert of_pairs.seen == ["forget", 4.0]


def test_a_pipeline_is_not_busy_once_an_order_behind_its_last_frame_is_told() -> None:
    busy = BusyModel()
    with running(SimSource(["a"])) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(busy)))
        assert busy.entered.acquire(timeout=WAIT_S)
        assert pipeline.busy
        until(lambda: len(pipeline._between[0]) > 0)  # the end of the source waits behind the frame
        busy.go_on.release()
        heard.until(SourceEnded)
        assert not pipeline.busy


class StillClock(SystemClock):
    """Nothing happens because time has passed."""

    def wait(self, event: Event, timeout_s: float) -> bool:
        return event.wait()


def test_what_came_in_before_a_trouble_is_told_before_it() -> None:
    gate = Semaphore(0)
    source = SimSource(["a", "b", SourceError("unplugged")], gate)
    heard = Heard()
    pipeline = Pipeline(FOLDER, lambda: source, ONE_STAGE, heard.say, StillClock(), cores=CORES[0])
    pipeline.start()
    pipeline.switch("main", Served("one", model(says(0))))
    heard.until(Serving)
    gate.release(3)
    heard.until(SourceTrouble)
    assert heard.totals()[0] == 2
    pipeline.stop()


def test_a_pipeline_that_is_stopped_while_it_loses_its_only_release_stops_capturing() -> None:
    class Stopping(Event):
        """The pipeline stops just before this is cleared."""

        def clear(self) -> None:
            pipeline._stopped.set()
            self.set()
            super().clear()

    gate, heard = Semaphore(0), Heard()
    source = SimSource(["a", "b", "c"], gate)
    pipeline = Pipeline(FOLDER, lambda: source, ONE_STAGE, heard.say, SystemClock(), cores=CORES[0])
    pipeline._wanted = Stopping()
    capturing = pipeline._threads[0]
    pipeline.start()
    pipeline.switch("main", Served("one", model(says(0))))
    gate.release()
    heard.until(Result)
    pipeline.switch("main", None)
    heard.until(Serving)
    gate.release()  # what it has been waiting for; then it looks whether it may go on
    capturing.join(WAIT_S)
    assert not capturing.is_alive()
    pipeline.stop()


# --- several stages -------------------------------------------------------------------------------------------


def finds(*boxes: tuple[float, float, float, float]) -> Model:
    """A detector that always finds these objects, of class 0, 1, ...: left, top, right, bottom as shares."""
    operator = tuple(
        TensorSpec(name, shape, np.dtype(np.float32))
        for name, shape in (("boxes", (1, 4, 4)), ("classes", (1, 4)), ("scores", (1, 4)), ("count", (1,)))
    )
    corners = np.zeros((1, 4, 4), np.float32)
    for position, (left, top, right, bottom) in enumerate(boxes):
        corners[0, position] = (top, left, bottom, right)
    answer = [
        corners,
        np.arange(4, dtype=np.float32)[None],
        np.array([[0.9, 0.8, 0.7, 0.6]], np.float32),
        np.array([len(boxes)], np.float32),
    ]
    manifest = replace(model(says(0)).manifest, task="detection", output=OutputSpec(decoder="ssd_postprocess"))
    given = TensorSpec("input", (1, 4, 4, 1), np.dtype(np.float32))
    return Model(manifest, ("bird", "cat", "dog", "fox"), FakeEngine([given], operator, lambda _: answer))


@contextmanager
def running_stages(
    source: SimSource, stages: dict[str, StageStart], config: SourceConfig = FOLDER
) -> Iterator[tuple[Pipeline, Heard]]:
    heard = Heard()
    pipeline = Pipeline(config, lambda: source, stages, heard.say, SystemClock(), cores=CORES[0])
    pipeline.start()
    try:
        yield pipeline, heard
    finally:
        pipeline.stop()


CASCADE = {"find": StageStart(), "name": StageStart(crops_of="find", crops=Crops(labels=("bird", "cat")))}


def halves() -> Frame:
    """Dark on the left, bright on the right."""
    image = Image.new("L", (40, 20), 10)
    image.paste(200, (20, 0, 40, 20))
    return Frame("halves", 1_750_000_000.0, image)


def brightness(seen: list[float]) -> Answer:
    """Answers class 2 to what is bright, else class 1."""

    def answer(inputs: Sequence[Array]) -> Sequence[Array]:
        seen.append(float(inputs[0].mean()))
        return [np.eye(3, dtype=np.float32)[2 if seen[-1] > 100 else 1][None]]

    return answer


def test_a_cascade_sees_the_crops_and_its_answers_hang_under_what_they_are_of() -> None:
    seen: list[float] = []
    with running_stages(SimSource([halves()]), CASCADE) as (pipeline, heard):
        pipeline.switch("name", Served("namer", model(brightness(seen))))
        pipeline.switch("find", Served("finder", finds((0, 0, 0.5, 1), (0.5, 0, 1, 1), (0, 0, 1, 1))))
        heard.until(SourceEnded)
    assert seen == [10.0, 200.0]  # the third is a dog, which nobody wants named
    (result,) = heard.of(Result)
    find, name = result.answers["find"], result.answers["name"]
    assert [each["label"] for each in find.results] == ["bird", "cat", "dog"]
    stages: list[Any] = [each.get("stages") for each in find.results]
    assert [stage["name"][0]["index"] for stage in stages[:2]] == [1, 2]
    assert stages[2] is None
    assert [each["index"] for each in name.results if each["score"] == 1.0] == [1, 2]
    assert set(name.latency_ms) == {"preprocess", "invoke", "postprocess"}
    by_stage = {name: [each for each in heard.of(Figures) if each.stage == name] for name in CASCADE}
    assert [sum(each.frames_out for each in figures) for figures in by_stage.values()] == [1, 2]


def test_a_frame_with_all_its_crops_counts_once_in_a_trial_answered_or_not() -> None:
    frames = 8

    def answer(inputs: Sequence[Array]) -> Sequence[Array] | None:
        return None if inputs[0].mean() < 50 else [np.eye(3, dtype=np.float32)[:1]]

    script = [
        replace(picture(str(number)), picture=Image.new("L", (8, 8), 10 + 100 * (number % 2)))
        for number in range(frames)
    ]
    with running_stages(SimSource(script), CASCADE) as (pipeline, heard):
        pipeline.switch("name", Served("namer", model(answer)))
        pipeline.switch("find", Served("finder", finds((0, 0, 0.5, 1), (0.5, 0, 1, 1))))
        heard.until(SourceEnded)
    trial = TrialWatch("namer", Limits(error_share=0.4))
    for word in heard.all:
        if isinstance(word, Figures | FrameFailed | SourceEnded) and getattr(word, "stage", "name") == "name":
            trial.hear(word)
    verdict = trial.verdict(1.0)
    assert isinstance(verdict, Failed)
    assert verdict.detail.startswith(f"{frames // 2} of {frames} frames failed")


def test_crops_that_fail_have_come_in_and_are_counted_as_crops() -> None:
    with running_stages(SimSource(["a", "b"]), CASCADE) as (pipeline, heard):
        pipeline.switch("name", Served("namer", model(lambda _: None)))
        pipeline.switch("find", Served("finder", finds((0, 0, 0.5, 1), (0.5, 0, 1, 1))))
        heard.until(SourceEnded)
    of_crops = [each for each in heard.of(Figures) if each.stage == "name"]
    assert (sum(each.frames_in for each in of_crops), sum(each.failed for each in of_crops)) == (4, 4)
    assert (sum(each.frames_out for each in of_crops), sum(each.answered for each in of_crops)) == (0, 0)
    assert [each.stage for each in heard.of(FrameFailed)] == ["name", "name"]


def test_where_nothing_is_found_a_cascade_says_nothing_and_nothing_fails() -> None:
    with running_stages(SimSource(["a", "b"]), CASCADE) as (pipeline, heard):
        pipeline.switch("name", Served("namer", model(says(0))))
        pipeline.switch("find", Served("finder", finds()))
        heard.until(SourceEnded)
    assert [list(result.answers) for result in heard.of(Result)] == [["find"], ["find"]]
    assert heard.of(FrameFailed) == []


def test_a_cascade_without_a_release_of_its_own_lets_the_other_go_on() -> None:
    with running_stages(SimSource([halves()]), CASCADE) as (pipeline, heard):
        pipeline.switch("find", Served("finder", finds((0, 0, 1, 1))))
        heard.until(SourceEnded)
    (result,) = heard.of(Result)
    assert list(result.answers) == ["find"]


def test_no_frame_is_taken_for_a_cascade_alone() -> None:
    source = SimSource([halves()])
    with running_stages(source, CASCADE) as (pipeline, heard):
        pipeline.switch("name", Served("namer", model(says(0))))
        assert heard.until(Serving)[-1].stage == "name"
        heard.until(Figures, count=4)
        assert source.taken == 0


def test_stages_side_by_side_see_the_same_frame_and_are_switched_one_by_one() -> None:
    gate = Semaphore(0)
    names = [str(number) for number in range(60)]
    stages = {"one": StageStart(), "two": StageStart()}
    with running_stages(SimSource(names, gate), stages) as (pipeline, heard):
        pipeline.switch("one", Served("a", model(says(0))))
        pipeline.switch("two", Served("b", model(says(1))))
        heard.until(Serving, count=2)
        gate.release(30)
        heard.until(Result, count=20)
        pipeline.switch("two", Served("c", model(says(2))))
        gate.release(30)
        heard.until(SourceEnded)
    results = heard.of(Result)
    assert [result.input for result in results] == names
    assert {result.answers["one"].digest for result in results} == {"a"}
    digests = [result.answers["two"].digest for result in results]
    assert digests == sorted(digests)
    assert set(digests) == {"b", "c"}
    by_digest = {"b": 1, "c": 2}
    assert all(each.answers["two"].results[0]["index"] == by_digest[each.answers["two"].digest] for each in results)
    out = {name: sum(each.frames_out for each in heard.of(Figures) if each.stage == name) for name in stages}
    assert out == {"one": 60, "two": 60}


def test_a_stage_that_fails_takes_nothing_from_the_other() -> None:
    stages = {"good": StageStart(), "bad": StageStart()}
    gate = Semaphore(0)
    with running_stages(SimSource(["a", "b"], gate), stages) as (pipeline, heard):
        pipeline.switch("bad", Served("x", model(lambda _: None)))
        pipeline.switch("good", Served("y", model(says(0))))
        heard.until(Serving, count=2)
        gate.release(2)
        heard.until(SourceEnded)
    assert [list(result.answers) for result in heard.of(Result)] == [["good"], ["good"]]
    assert {(each.stage, each.of_model) for each in heard.of(FrameFailed)} == {("bad", True)}


@pytest.mark.parametrize(
    ("crops", "expected"),
    [
        (Crops(), [(0, Box(10, 20, 30, 80)), (2, Box(0, 0, 4, 4))]),
        (Crops(at_most=1), [(0, Box(10, 20, 30, 80))]),
        (Crops(min_score=0.6), [(0, Box(10, 20, 30, 80))]),
        (Crops(labels=("dog",)), [(2, Box(0, 0, 4, 4))]),
        (Crops(at_most=1, margin=0.5), [(0, Box(0, -10, 40, 110))]),
        (Crops(at_most=1, square=True), [(0, Box(-10, 20, 50, 80))]),
    ],
)
def test_which_crops_are_looked_at_is_configured(crops: Crops, expected: list[tuple[int, Box]]) -> None:
    predictions = [
        Prediction(0, 0.9, "cat", Box(10, 20, 30, 80)),
        Prediction(1, 0.8, "cat"),
        Prediction(2, 0.5, "dog", Box(0, 0, 4, 4)),
    ]
    assert pick_crops(predictions, crops) == expected


# --- sound ----------------------------------------------------------------------------------------------------


def test_sound_becomes_windows_and_each_is_answered_once() -> None:
    spec = AudioInput(sample_rate_hz=8000, window=100, stride=50, low_hz=20, high_hz=4000)
    seen: list[float] = []

    def answer(inputs: Sequence[Array]) -> Sequence[Array]:
        seen.append(float(inputs[0][0, 0]))
        return [np.eye(3, dtype=np.float32)[:1]]

    blocks: list[Item] = [
        Sound(f"w#{start}", 100.0 + start / 8000, (np.arange(start, start + 80) / 1000).astype(np.float32), 8000)
        for start in range(0, 400, 80)
    ]
    config = WavSource("wav", Path("/nowhere"))
    with running(SimSource(blocks), config) as (pipeline, heard):
        pipeline.switch("main", Served("one", model(answer, spec, (1, 100))))
        heard.until(SourceEnded)
    assert seen == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3], abs=1e-6)
    assert heard.totals() == (7, 7, 0, 0)


def test_several_models_of_rows_each_get_their_own_columns_and_windows() -> None:
    answer = says(0)
    source = SimSource([sample(number, 1.0, 2.0, 3.0, channels=("a", "b", "c")) for number in range(12)])
    stages = {"slow": StageStart(), "fast": StageStart()}
    gate = Semaphore(0)
    source._gate = gate
    with running_stages(source, stages, CsvSource("csv", Path("/nowhere"))) as (pipeline, heard):
        pipeline.switch("slow", Served("s", rows_model(answer, SignalInput(channels=("a", "b"), window=4, stride=4))))
        pipeline.switch("fast", Served("f", rows_model(answer, SignalInput(channels=("c",), window=3, stride=3))))
        heard.until(Serving, count=2)
        gate.release(12)
        heard.until(SourceEnded)
    assert source.asked_for[-1] == ("a", "b", "c")
    answered = [list(result.answers) for result in heard.of(Result)]
    assert answered.count(["slow", "fast"]) == 1  # at row 12
    assert sum("slow" in each for each in answered) in (2, 3)  # rows may have been read ahead for fewer columns
    assert sum("fast" in each for each in answered) in (3, 4)
