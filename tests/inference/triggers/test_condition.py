"""When a trigger fires, over time series: single stories, and against an obvious reference."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.pipeline import StageConfig
from edge_agent.config.sinks import When
from edge_agent.inference.ipc import Result
from edge_agent.inference.triggers.condition import Condition, find, root_of
from tests.sim.results import answer, found, result, staged


def objects(*labels: str, score: float = 0.9) -> Result:
    return staged({"find": answer(*(found(label, score) for label in labels), task="detection")})


def fires(when: When, *seen: tuple[float, str]) -> list[float]:
    """The times at which it fires; `seen`: time, and labels apart by spaces."""
    condition = Condition(when)
    return [now_s for now_s, labels in seen if condition.see(objects(*labels.split()), now_s)]


# --- what matches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "count"),
    [
        (When(), 3),
        (When(label="cat"), 2),
        (When(label=("cat", "dog")), 3),
        (When(label="cow"), 0),
        (When(min_score=0.5), 2),
        (When(label="cat", min_score=0.9), 1),
        (When(roi=(0, 0, 50, 50)), 1),  # middle at 20, 30
        (When(roi=(20, 30, 21, 31)), 1),
        (When(roi=(0, 0, 20, 30)), 0),  # left and top of a zone are in it, right and bottom are not
        (When(stage="find"), 3),
        (When(stage="other"), 0),
        (When(above=0.0), 0),  # nothing here has a value
    ],
)
def test_all_that_is_given_must_hold_of_one_prediction(when: When, count: int) -> None:
    seen = [
        found("cat", 0.9, (10, 20, 30, 40)),
        found("cat", 0.5, (100, 100, 120, 140)),
        found("dog", 0.2, (500, 0, 510, 9)),
    ]
    assert len(list(find(when, staged({"find": answer(*seen, task="detection")})))) == count


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        (When(above=20.0), True), (When(above=20.5), False), (When(below=21.0), True), (When(below=20.5), False),
        (When(above=20.0, below=21.0), True), (When(above=30.0, below=40.0), False),
        (When(label="in", above=20.0), True), (When(label="out", above=20.0), False), (When(roi=(0, 0, 9, 9)), False),
    ],
)  # fmt: skip
def test_values_are_compared(when: When, matches: bool) -> None:  # noqa: FBT001
    value = {"label": "in", "index": 0, "score": 1.0, "value": 20.5, "unit": "C"}
    assert bool(list(find(when, staged({"main": answer(value, task="regression")})))) is matches


def cascade() -> Result:
    inner = [{"label": "tit", "index": 0, "score": 0.8}, {"label": "owl", "index": 1, "score": 0.1}]
    birds = [found("bird", 0.9, (0, 0, 10, 10), stages={"name": inner}), found("bird", 0.7, (90, 90, 99, 99))]
    return staged({"find": answer(*birds, task="detection"), "name": answer(*inner)})


@pytest.mark.parametrize(
    ("when", "labels"),
    [
        (When(), ["bird", "tit", "owl", "bird"]),  # each once, though the inner ones are in the result twice
        (When(stage="name"), ["tit", "owl"]),
        (When(label="tit"), ["tit"]),
        (When(stage="name", roi=(0, 0, 50, 50)), ["tit", "owl"]),  # what is said of a crop lies where the crop lies
        (When(stage="name", roi=(50, 50, 100, 100)), []),
        (When(stage="find", label="tit"), []),
    ],
)
def test_labels_are_found_at_any_depth_or_in_one_stage(when: When, labels: list[str]) -> None:
    assert [match["label"] for match in find(when, cascade())] == labels


def test_what_fired_says_its_stage_and_what_was_seen() -> None:
    holds = Condition(When(label="tit")).see(cascade(), 5.0)
    assert holds is not None
    assert holds.matches == ({"stage": "name", "label": "tit", "index": 0, "score": 0.8},)


# --- for how long -----------------------------------------------------------------------------------------------------


def test_it_fires_when_it_has_been_so_for_long_enough() -> None:
    assert fires(When(label="cat", for_s=2), (0, "cat"), (1, "cat dog"), (2, "cat"), (3, "cat")) == [2, 3]


def test_it_begins_anew_after_an_interruption() -> None:
    assert fires(When(label="cat", for_s=2, gap_s=0.5), (0, "cat"), (1, "dog"), (2, "cat"), (3, "cat"), (4, "cat")) == [
        4
    ]


def test_a_short_interruption_does_not_matter() -> None:
    seen = [(0, "cat"), (0.5, ""), (1.0, ""), (1.5, "cat"), (2.0, "cat")]
    assert fires(When(label="cat", for_s=2, gap_s=1), *seen) == [2.0]
    assert fires(When(label="cat", for_s=2, gap_s=0.9), *seen) == []


def test_a_source_that_gives_little_is_no_interruption() -> None:
    assert fires(When(label="cat", for_s=10, gap_s=1), (0, "cat"), (5, "cat"), (10, "cat")) == [10]


def test_so_many_at_a_time() -> None:
    assert fires(When(label="cat", at_least=2), (0, "cat"), (1, "cat cat"), (2, "cat dog"), (3, "cat cat cat")) == [
        1,
        3,
    ]


def test_the_other_way_round() -> None:
    when = When(label="cat", absent=True, for_s=2, gap_s=0)
    assert fires(when, (0, "dog"), (1, ""), (2, ""), (3, "cat"), (4, ""), (5, ""), (6, "")) == [2, 6]
    assert fires(When(label="cat", absent=True, at_least=2), (0, "cat"), (1, "cat cat"), (2, "")) == [0, 2]


def test_an_interruption_that_is_told_begins_anew() -> None:
    condition = Condition(When(label="cat", for_s=2))
    assert condition.see(objects("cat"), 0) is None
    condition.interrupt()
    assert condition.see(objects("cat"), 2) is None
    assert condition.see(objects("cat"), 4) is not None


# --- which stage has to have answered -----------------------------------------------------------------------------

STAGES = {
    "find": StageConfig("f"),
    "name": StageConfig("n", crops_of="find"),
    "age": StageConfig("a", crops_of="name"),
}


def test_a_result_without_the_stage_says_nothing() -> None:
    """Its model is being loaded, say: that is no absence."""
    condition = Condition(When(label="cat", stage="find", absent=True), root_of("find", STAGES))
    assert condition.see(staged({"other": answer()}), 0) is None
    assert condition.see(staged({"find": answer(task="detection")}), 1) is not None


def test_a_stage_without_crops_to_see_says_that_there_is_nothing() -> None:
    assert [root_of(stage, STAGES) for stage in (None, "find", "name", "age")] == [None, "find", "find", "find"]
    condition = Condition(When(label="tit", stage="name", absent=True), root_of("name", STAGES))
    assert condition.see(objects(), 0) is not None
    assert condition.see(cascade(), 1) is None


# --- against a reference --------------------------------------------------------------------------------------------


def reference(times: Sequence[float], holds: Sequence[bool], for_s: float, gap_s: float) -> list[bool]:
    """Said plainly: it fires at a result that holds, where one (or itself) that holds lies `for_s` back, and no run of
    contrary results between the two lasts, until the next that holds, for longer than `gap_s`.
    """

    def unbroken(start: int, end: int) -> bool:
        began_s = None
        for place in range(start, end + 1):
            if not holds[place]:
                began_s = times[place] if began_s is None else began_s
            elif began_s is not None:
                if times[place] - began_s > gap_s:
                    return False
                began_s = None
        return True

    return [
        holds[end]
        and any(
            holds[start] and times[end] - times[start] >= for_s and unbroken(start, end) for start in range(end + 1)
        )
        for end in range(len(times))
    ]


steps = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=40)


@given(steps, st.integers(0, 20), st.integers(0, 10), st.booleans())
def test_it_fires_where_the_reference_does(
    series: list[tuple[int, bool]],
    for_s: int,
    gap_s: int,
    absent: bool,  # noqa: FBT001
) -> None:
    times, now = [], 0
    for step, _ in series:
        now += step
        times.append(now / 4)  # quarters are exact
    condition = Condition(When(label="cat", for_s=for_s / 4, gap_s=gap_s / 4, absent=absent))
    fired = [
        condition.see(objects("cat" if seen != absent else "dog"), time) is not None
        for time, (_, seen) in zip(times, series, strict=True)
    ]
    assert fired == reference(times, [seen for _, seen in series], for_s / 4, gap_s / 4)


@given(steps, st.integers(0, 20), st.floats(-1e9, 1e9))
def test_when_the_clock_began_does_not_matter(series: list[tuple[int, bool]], for_s: int, began_s: float) -> None:
    began_s = float(round(began_s))

    def run(offset_s: float) -> list[bool]:
        condition, now_s, fired = Condition(When(label="cat", for_s=for_s / 4)), offset_s, []
        for step, seen in series:
            now_s += step / 4
            fired.append(condition.see(objects("cat") if seen else objects(), now_s) is not None)
        return fired

    assert run(began_s) == run(0.0)


@given(st.recursive(st.none() | st.text() | st.floats(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=8))
def test_whatever_a_plugin_says_is_looked_at(more: Any) -> None:
    prediction = {"label": more, "index": 0, "score": 0.5, "extra": more}
    for when in (When(), When(label="cat", min_score=0.1), When(above=1.0), When(roi=(0, 0, 1, 1))):
        Condition(when).see(staged({"main": answer(prediction)}), 0.0)


def test_a_classification_fires_without_boxes() -> None:
    assert Condition(When(label="crow", min_score=0.5)).see(result("crow"), 0.0) is not None
