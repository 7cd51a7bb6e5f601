"""A stage on crops of a stage that gives no boxes says why it waits, until a detector comes."""

from edge_agent.config.pipeline import StageConfig
from edge_agent.errors import Reason
from edge_agent.inference.ipc import Answer, Result, Serving
from edge_agent.inference.stage_server import WorkerExited
from edge_agent.service.boxless import BoxlessCrops
from edge_agent.update.status import Problem

CLASSIFIER, DETECTOR = "c" * 64, "d" * 64
STAGES = {
    "find": StageConfig("finder"),
    "name": StageConfig("namer", crops_of="find"),
    "color": StageConfig("colors", crops_of="name"),
    "other": StageConfig("other"),
}
WAITS = Problem(
    Reason.SOURCE,
    "its crops come from stage find, whose release 1.0 is a classification model and gives no boxes",
    "push a detector there, or remove crops_of",
)


def crops() -> BoxlessCrops:
    return BoxlessCrops(STAGES, {CLASSIFIER: "1.0"}.get)


def answered(stage: str, task: str, digest: str = CLASSIFIER) -> Result:
    return Result(
        1, 0.0, "1.jpg", {stage: Answer(digest, task, ({"label": "cat", "index": 0, "score": 0.9},), {})}, 0.0
    )


def test_each_stage_on_its_crops_and_on_crops_of_those_is_told_once() -> None:
    found = crops()
    new = found.hear(answered("find", "classification"))
    assert new["name"] == WAITS
    assert new["color"].detail.startswith("its crops come from stage name, and its from stage find, whose release 1.0")
    assert list(new) == ["name", "color"]
    assert found.problems == new
    assert found.hear(answered("find", "classification")) == {}
    assert found.problems is not None
    assert found.problems == new


def test_another_release_there_is_judged_by_its_own_answers() -> None:
    found = crops()
    found.hear(answered("find", "classification"))
    assert found.hear(Serving("other", DETECTOR)) == {}
    assert list(found.problems) == ["name", "color"]
    found.hear(Serving("find", DETECTOR))
    assert found.problems == {}
    assert found.hear(answered("find", "detection", DETECTOR)) == {}
    assert found.problems == {}
    assert found.hear(answered("find", "classification"))["name"] == WAITS  # gone back to


def test_a_worker_that_is_gone_is_asked_anew() -> None:
    found = crops()
    found.hear(answered("find", "classification"))
    found.hear(WorkerExited(1))
    assert found.problems == {}


def test_what_has_boxes_or_may_have_them_or_that_nobody_crops_is_no_problem() -> None:
    found = crops()
    for stage, task in [("find", "detection"), ("find", "pose"), ("find", "plugin"), ("other", "classification")]:
        assert found.hear(answered(stage, task)) == {}
    assert found.problems == {}
