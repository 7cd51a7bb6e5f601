"""Which results become samples."""

import pytest

from edge_agent.config.sinks import SamplesSink, When
from edge_agent.inference.ipc import Result
from edge_agent.inference.samples.choosing import Choice, best_score
from tests.sim.clock import FakeClock
from tests.sim.results import answer, found, result, staged


def choice(clock: FakeClock | None = None, *, dice: list[float] | None = None, **keys: object) -> Choice:
    config = SamplesSink("samples", "s", **{"min_interval_s": 0.0, **keys})  # type: ignore[arg-type]  # as TOML gives it
    rolls = iter(dice or [])
    return Choice(config, "main", "main", clock or FakeClock(), draw=lambda: next(rolls, 0.0))


def test_without_a_word_every_result_is_one_but_not_too_often() -> None:
    clock = FakeClock()
    chosen = choice(clock, min_interval_s=10.0)
    taken = []
    for _ in range(25):
        taken.append(chosen.takes(result("cat")))
        clock.advance(1.0)
    assert [second for second, is_taken in enumerate(taken) if is_taken] == [0, 10, 20]


def test_a_share_is_taken_at_random() -> None:
    chosen = choice(share=0.25, dice=[0.1, 0.25, 0.9, 0.2])
    assert [chosen.takes(result("cat")) for _ in range(4)] == [True, False, False, True]


def test_what_the_model_is_not_sure_of_is_taken_and_nothing_found_is_not_sure() -> None:
    chosen = choice(score_below=0.6)
    assert [chosen.takes(result("cat", score=score)) for score in (0.59, 0.6, 0.9)] == [True, False, False]
    assert chosen.takes(result())


def test_beside_a_share_of_all_others() -> None:
    chosen = choice(score_below=0.6, share=0.1, dice=[0.5, 0.5, 0.05])
    assert [chosen.takes(result("cat", score=score)) for score in (0.5, 0.9, 0.9)] == [True, False, True]


def test_only_of_what_when_holds_for_as_long_as_it_says() -> None:
    clock = FakeClock()
    chosen = choice(clock, when=When(label="cat", for_s=2.0))
    seen = []
    for label in ("cat", "dog", "cat", "cat", "cat", "cat"):
        seen.append(chosen.takes(result(label)))
        clock.advance(1.0)
    assert seen == [False, False, True, True, True, True]  # the dog is a gap of one second


def test_a_result_that_the_dice_refuse_does_not_begin_an_interval() -> None:
    clock = FakeClock()
    chosen = choice(clock, min_interval_s=10.0, share=0.5, dice=[0.9, 0.1])
    assert not chosen.takes(result("cat"))
    assert chosen.takes(result("cat"))


def test_a_result_without_an_answer_of_the_stage_is_none() -> None:
    other: Result = staged({"other": answer({"label": "x", "index": 0, "score": 0.1})})
    assert not choice(score_below=0.5).takes(other)


def test_the_best_score_is_that_of_any_prediction() -> None:
    assert best_score(answer(found("a", 0.2), found("b", 0.7))) == 0.7


def test_a_sink_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="share = 0 keeps nothing"):
        choice(share=0.0)
    assert choice(share=0.0, score_below=0.6).takes(result("cat", score=0.5))
