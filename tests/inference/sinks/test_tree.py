"""The JSON of a result: flat of one stage, by stage of several, and always JSON."""

import json

import pytest

from edge_agent.inference.sinks.tree import ResultFormat, result_tree, utc
from tests.sim.results import DIGEST, answer, found, result, staged


def test_one_stage_gives_a_flat_object() -> None:
    assert result_tree("birds", result("crow"), {DIGEST: "1.2.0"}.get) == {
        "at": "2025-06-15T15:06:40.250Z",
        "pipeline": "birds",
        "digest": DIGEST,
        "version": "1.2.0",
        "input": "a.jpg",
        "task": "classification",
        "results": [{"label": "crow", "index": 0, "score": 0.5}],
        "latency_ms": {"capture": 1.5, "invoke": 7.125},
    }


def test_a_version_that_is_not_known_is_left_out() -> None:
    assert "version" not in result_tree("birds", result("crow"))


def test_several_stages_give_an_object_each() -> None:
    bird = found("bird", stages={"name": [{"label": "tit"}]})
    both = staged({"find": answer(bird, task="detection"), "name": answer({"label": "tit"}, digest="e" * 64)})
    assert result_tree("birds", both, {DIGEST: "1.2.0"}.get) == {
        "at": "2025-06-15T15:06:40.250Z",
        "pipeline": "birds",
        "input": "a.jpg",
        "stages": {
            "find": {
                "digest": DIGEST,
                "version": "1.2.0",
                "task": "detection",
                "results": [bird],
                "latency_ms": {"invoke": 7.125},
            },
            "name": {
                "digest": "e" * 64,
                "task": "classification",
                "results": [{"label": "tit"}],
                "latency_ms": {"invoke": 7.125},
            },
        },
        "latency_ms": {"capture": 1.5},
    }


def test_the_shape_is_the_pipelines_and_not_the_frames() -> None:
    one = staged({"find": answer(task="detection")})  # nothing was found, so the second stage saw nothing
    assert list(ResultFormat("birds", ("find", "name")).tree(one)["stages"]) == ["find"]  # type: ignore[call-overload]
    assert "stages" not in ResultFormat("birds", ("find",)).tree(one)


@pytest.mark.parametrize("at_s", [-1.0, 1e300])
def test_a_time_that_is_none_is_written_all_the_same(at_s: float) -> None:
    assert utc(at_s).endswith("Z")


def test_a_file_name_that_is_no_text_is_escaped() -> None:
    text = ResultFormat("birds", ("main",)).text(result("crow", name="a\udcff.jpg"))
    assert json.loads(text)["input"] == "a\udcff.jpg"
