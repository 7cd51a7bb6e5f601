"""What the workers say, sorted: results to sinks, figures to telemetry, trouble and what happens to the loop."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.agent import parse_config
from edge_agent.errors import Reason
from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import (
    Answer,
    Figures,
    FrameFailed,
    LoadFailed,
    Notice,
    Result,
    Serving,
    SourceEnded,
    SourceTrouble,
    Word,
)
from edge_agent.inference.stage_server import WorkerExited
from edge_agent.inference.triggers.triggers import Ports
from edge_agent.service.pipelines import Heard, Pipelines
from edge_agent.update.status import Problem
from tests.sim.clock import FakeClock

OLD, NEW = "a" * 64, "b" * 64


TRIGGER = {"name": "visitor", "when": {"label": "crow", "for_s": 2.0}, "topic": "visitor"}


class Bench:
    """`birds` writes to a file and to MQTT, `motion` nowhere, `door` has a trigger; and `more`."""

    def __init__(self, folder: Path, more: Mapping[str, object] | None = None) -> None:
        self.path = folder / "birds.jsonl"
        self.clock = FakeClock()
        self.published: list[tuple[str, str]] = []  # pipeline, label
        source = {"kind": "folder", "path": "/nowhere"}
        sinks = [{"kind": "jsonl", "path": str(self.path)}, {"kind": "mqtt", "min_interval_s": 10}]
        config = parse_config(
            {
                "mqtt": {"url": "mqtt://broker"},
                "trust": {"root": "root.json"},
                "pipeline": {
                    "birds": {"model": "finder", "source": source, "sinks": sinks},
                    "motion": {"model": "gait", "source": source},
                    "door": {"model": "finder", "source": source, "triggers": [TRIGGER | {"snapshot": str(folder)}]},
                    **(more or {}),
                },
            }
        )
        self.orders: list[tuple[str, int, Path]] = []  # for snapshots
        self.messages: list[tuple[str, str]] = []  # of triggers
        self.pipelines = Pipelines(
            config.pipeline, self.clock, publish=self._publish, version_of={OLD: "1.0"}.get, ports=self._ports
        )

    def hear(self, *words: Word | WorkerExited, pipeline: str = "birds") -> list[Mapping[str, object]]:
        """The events that come of it."""
        return [event for word in words for event in self.pipelines.hear(Heard(pipeline, word))]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def _ports(self, pipeline: str) -> Ports:
        def publish(topic: str, payload: bytes) -> bool:
            self.messages.append((topic, json.loads(payload)["trigger"]))
            return True

        def snapshot(seq: int, path: Path) -> bool:
            self.orders.append((pipeline, seq, path))
            return True

        return Ports(publish, snapshot)

    def _publish(self, pipeline: str, payload: bytes) -> bool:
        self.published.append((pipeline, json.loads(payload)["results"][0]["label"]))
        return True


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def result(label: str, invoke_ms: float = 2.0) -> Result:
    latency_ms = {"preprocess": 1.0, "invoke": invoke_ms, "postprocess": 1.0}
    answer = Answer(OLD, "classification", ({"label": label, "score": 0.9},), latency_ms)
    return Result(1, 1_750_000_000.0, "a.png", {"main": answer}, 1.0)


def figures(frames: int = 5, digest: str = OLD) -> Figures:
    invoke = Histogram()
    for _ in range(frames):
        invoke.add(4.0)
    return Figures("main", frames, frames, frames, 0, 0, {"invoke": invoke.to_json()}, {"invoke": 4.0}, digest)


# --- sinks --------------------------------------------------------------------------------------------------


def test_a_result_goes_to_every_sink_of_its_pipeline_with_its_version(bench: Bench) -> None:
    assert bench.hear(result("crow")) == []
    bench.hear(result("owl"), pipeline="motion")

    assert [(line["pipeline"], line["version"], line["results"][0]["label"]) for line in bench.lines()] == [
        ("birds", "1.0", "crow")
    ]
    assert bench.published == [("birds", "crow")]


def test_what_a_sink_holds_back_goes_out_when_the_source_ends(bench: Bench) -> None:
    bench.hear(result("crow"), result("owl"))
    assert bench.published == [("birds", "crow")]
    bench.hear(SourceEnded(2))
    assert bench.published == [("birds", "crow"), ("birds", "owl")]


def test_what_a_sink_holds_back_goes_out_when_the_agent_ends(bench: Bench) -> None:
    bench.hear(result("crow"), result("owl"))
    bench.pipelines.close()
    assert bench.published == [("birds", "crow"), ("birds", "owl")]


def test_a_sink_that_cannot_write_is_told_at_once_and_stops_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.path.mkdir()
    assert bench.pipelines.take_events() == []
    bench.hear(result("crow"))

    detail = f"{bench.path}: Is a directory; 1 result lost so far"
    assert bench.pipelines.take_events() == [{"kind": "sink_failed", "pipeline": "birds", "detail": detail}]
    assert bench.published == [("birds", "crow")]

    bench.hear(result("crow"))
    assert bench.pipelines.take_events() == []  # it goes on
    bench.pipelines.take_figures({})
    assert f"birds: {bench.path}: Is a directory; 2 results lost so far" in caplog.text


def test_a_sink_that_goes_on_failing_is_told_again_after_ten_minutes_and_not_once_it_works(bench: Bench) -> None:
    def told() -> list[object]:
        bench.hear(result("crow"))
        return [event["detail"] for event in bench.pipelines.take_events()]

    bench.path.mkdir()
    assert len(told()) == 1
    bench.clock.advance(599.0)
    assert told() == []
    bench.clock.advance(1.0)
    assert told() == [f"{bench.path}: Is a directory; 3 results lost so far"]
    bench.path.rmdir()
    bench.clock.advance(600.0)
    assert told() == []


def test_what_the_end_of_the_agent_finds_a_sink_in_is_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.path.mkdir()
    bench.hear(result("crow"))
    bench.pipelines.close()
    assert f"birds: {bench.path}: Is a directory; 1 result lost so far" in caplog.text


# --- events ----------------------------------------------------------------------------------------------------


def test_a_folder_of_bad_pictures_is_one_event_until_another_release_serves(bench: Bench) -> None:
    bad = [
        FrameFailed("main", OLD, f"{name}.png", of_model=False, detail=f"{name}.png is no picture") for name in "abc"
    ]
    assert [event["detail"] for event in bench.hear(*bad, *bad)] == ["a.png is no picture"]

    of_model = FrameFailed("main", OLD, "a.png", of_model=True, detail="no answer")
    assert len(bench.hear(of_model, bad[0], of_model)) == 1
    assert (
        len(
            bench.hear(
                Serving("main", NEW), *[FrameFailed("main", NEW, "a.png", of_model=False, detail="no picture")] * 2
            )
        )
        == 1
    )


def test_frames_that_go_on_failing_are_counted_and_told_again_after_a_while(bench: Bench) -> None:
    bad = [FrameFailed("main", OLD, "", of_model=False, detail=f"{name}.png is no picture") for name in "abcd"]
    assert len(bench.hear(*bad[:3])) == 1
    bench.clock.advance(599.0)
    assert bench.hear(bad[3]) == []

    bench.clock.advance(2.0)
    told = [event["detail"] for event in bench.hear(bad[3], bad[0])]
    assert told == ["d.png is no picture (and 3 more since the last one told)"]


def test_the_same_trouble_after_frames_have_flowed_is_another_event(bench: Bench) -> None:
    trouble = SourceTrouble("no pictures", "put some there")
    assert len(bench.hear(trouble, trouble, figures(0), trouble)) == 1
    assert bench.pipelines.trouble("birds", "main") == Problem(Reason.SOURCE, "no pictures", "put some there")

    assert bench.hear(figures(3)) == []
    assert bench.pipelines.trouble("birds", "main") is None
    assert [event["hint"] for event in bench.hear(trouble)] == ["put some there"]


def test_frames_that_came_in_before_the_trouble_do_not_end_it(bench: Bench) -> None:
    trouble = SourceTrouble("unplugged")
    bench.hear(trouble, replace(figures(5), frames_in=0))
    assert bench.pipelines.trouble("birds", "main") == Problem(Reason.SOURCE, "unplugged", None)
    assert bench.hear(trouble) == []


def test_every_end_of_a_worker_and_every_failed_load_is_an_event(bench: Bench) -> None:
    exited, failed = WorkerExited(-11, 1.0), LoadFailed("main", NEW, Reason.LOAD_FAILED, "no memory")
    events = bench.hear(exited, exited, failed, failed)

    assert [event["kind"] for event in events] == ["worker_exit"] * 2 + ["load_failed"] * 2
    assert events[0]["detail"] == "the worker ended with signal SIGSEGV"


def test_trouble_of_one_pipeline_is_not_that_of_another(bench: Bench) -> None:
    bench.hear(SourceTrouble("no pictures"))
    assert bench.pipelines.trouble("motion", "main") is None


# --- ended ---------------------------------------------------------------------------------------------------


def test_all_has_ended_when_every_source_has_and_no_longer_when_another_release_serves(bench: Bench) -> None:
    assert [event["detail"] for event in bench.hear(SourceEnded(7))] == ["7 frames"]
    ended = [bench.pipelines.all_ended]
    bench.hear(SourceEnded(9), pipeline="motion")
    bench.hear(SourceEnded(0), pipeline="door")
    ended.append(bench.pipelines.all_ended)
    bench.hear(Serving("main", NEW))
    ended.append(bench.pipelines.all_ended)
    assert ended == [False, True, False]


# --- figures ---------------------------------------------------------------------------------------------------


def test_figures_are_those_since_they_were_last_taken(bench: Bench) -> None:
    bench.hear(figures(5), figures(3, NEW))
    bench.clock.advance(4.0)
    report = bench.pipelines.take_figures({"birds": 7})["birds"]

    stage = report.stages["main"]
    assert (stage.frames_out, stage.digest, stage.seconds, report.pss_bytes) == (8, NEW, 4.0, 7)
    assert stage.latency["invoke"].count == 8
    again = bench.pipelines.take_figures({})["birds"]
    assert (again.stages["main"].frames_out, again.stages["main"].digest, again.pss_bytes) == (0, NEW, None)


def test_the_p95_is_of_a_frames_whole_way_and_is_kept_while_nothing_comes(bench: Bench) -> None:
    bench.hear(*[result("crow", invoke_ms=7.0)] * 20)
    assert bench.pipelines.p95_ms("birds") is None
    bench.pipelines.take_figures({})
    before = bench.pipelines.p95_ms("birds")
    assert before == pytest.approx(10.0, rel=0.03)
    bench.pipelines.take_figures({})
    assert bench.pipelines.p95_ms("birds") == before


def test_the_interpreter_in_use_is_remembered(bench: Bench) -> None:
    bench.hear(Serving("main", OLD, "ai-edge-litert 2.3.0"), Serving("main"))
    assert bench.pipelines.library == "ai-edge-litert 2.3.0"


# --- triggers --------------------------------------------------------------------------------------------------


def test_a_crow_for_two_seconds_is_a_message_a_picture_and_an_event(bench: Bench) -> None:
    events: list[Mapping[str, object]] = []
    for _ in range(4):
        events += bench.hear(result("crow"), pipeline="door")
        bench.clock.advance(0.9)
    assert bench.messages == [("visitor", "visitor")]
    assert [(pipeline, seq) for pipeline, seq, _ in bench.orders] == [("door", 1)]
    assert [(event["kind"], event["pipeline"]) for event in events] == [("trigger", "door")]


def test_trouble_of_the_source_begins_the_two_seconds_anew(bench: Bench) -> None:
    for word in (result("crow"), SourceTrouble("unplugged"), result("crow")):
        bench.hear(word, pipeline="door")
        bench.clock.advance(0.9)
    bench.hear(result("crow"), pipeline="door")
    assert bench.messages == []


def test_what_a_worker_wants_the_operator_to_know_is_an_event(bench: Bench) -> None:
    (event,) = bench.hear(Notice("the model runs on the CPU", "plug it in", "main"))
    told = {"kind": "notice", "stage": "main", "detail": "the model runs on the CPU", "hint": "plug it in"}
    assert event == {"pipeline": "birds", **told}


def test_a_stage_whose_crops_never_come_has_a_problem_that_goes_away_with_a_detector(tmp_path: Path) -> None:
    stages = {"find": {"model": "finder"}, "name": {"model": "namer", "crops_of": "find"}}
    bench = Bench(tmp_path, {"pets": {"source": {"kind": "folder", "path": "/nowhere"}, "stage": stages}})
    seen = Answer(OLD, "classification", ({"label": "crow", "index": 0, "score": 0.9},), {})
    before = bench.pipelines.troubles("pets")
    result = Result(1, 0.0, "1.jpg", {"find": seen}, 0.0)
    told = bench.hear(Serving("find", OLD), result, result, pipeline="pets")
    detail = "its crops come from stage find, whose release 1.0 is a classification model and gives no boxes"
    hint = "push a detector there, or remove crops_of"
    assert told == [
        {"pipeline": "pets", "stage": "name", "kind": "problem", "reason": "source", "detail": detail, "hint": hint}
    ]
    assert bench.pipelines.trouble("pets", "name") == Problem(Reason.SOURCE, detail, hint)
    assert bench.pipelines.trouble("pets", "find") is None
    assert bench.pipelines.troubles("pets") != before
    bench.hear(SourceTrouble("unplugged"), pipeline="pets")
    assert bench.pipelines.trouble("pets", "name") == Problem(Reason.SOURCE, "unplugged", None)
    bench.hear(Figures("find", 1, 1, 1, 0, 0, {}, {}), Serving("find", NEW), pipeline="pets")
    assert bench.pipelines.trouble("pets", "name") is None
    assert bench.pipelines.troubles("pets") == before
