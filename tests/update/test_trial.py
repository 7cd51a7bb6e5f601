"""Judging live frames."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import Reason
from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import Figures, FrameFailed, Serving, SourceEnded
from edge_agent.release.manifest import Limits
from edge_agent.update.trial import Continue, Failed, Passed, TrialWatch

LIMITS = Limits(trial_frames=30, trial_s=5.0, error_share=0.1, p95_ms=20.0)


def _figures(frames: int, invoke_ms: float = 5.0, digest: str | None = "new") -> Figures:
    histogram = Histogram()
    for _ in range(frames):
        histogram.add(invoke_ms)
    return Figures("main", frames, frames, frames, 0, 0, {"invoke": histogram.to_json()}, {"invoke": invoke_ms}, digest)


def _of_crops(frames: int, crops: int) -> Figures:
    """As many crops as that of so many frames, all answered."""
    return replace(_figures(crops), answered=frames)


def _failed(*, of_model: bool = True, digest: str = "new") -> FrameFailed:
    return FrameFailed("main", digest, "7.jpg", of_model, "no answer")


@pytest.fixture
def trial() -> TrialWatch:
    return TrialWatch("new", LIMITS)


def test_a_trial_needs_its_frames_and_its_time(trial: TrialWatch) -> None:
    trial.hear(_figures(29))
    assert trial.verdict(100.0) == Continue()
    trial.hear(_figures(1))
    assert trial.verdict(4.9) == Continue()
    assert trial.verdict(5.0) == Passed("30 frames in 5.0 s, 0 failed")


def test_without_frames_a_trial_waits(trial: TrialWatch) -> None:
    assert trial.verdict(1_000_000.0) == Continue()


def test_too_many_frames_that_fail_end_it_before_its_time(trial: TrialWatch) -> None:
    for _ in range(3):
        trial.hear(_failed())
    assert trial.verdict(0.1) == Continue()
    trial.hear(_failed())

    verdict = trial.verdict(0.1)

    assert isinstance(verdict, Failed)
    assert verdict.reason is Reason.TRIAL_ERRORS
    assert verdict.detail == "4 of 4 frames failed, at most 10% may: no answer"


def test_a_few_failures_among_many_frames_are_forgiven(trial: TrialWatch) -> None:
    trial.hear(_figures(60))
    for _ in range(6):
        trial.hear(_failed())

    assert isinstance(trial.verdict(5.0), Passed)


def test_half_of_the_frames_failing_is_not_forgiven_for_the_many_crops_of_the_others(trial: TrialWatch) -> None:
    trial.hear(_of_crops(15, 600))
    for _ in range(15):
        trial.hear(_failed())

    verdict = trial.verdict(5.0)

    assert isinstance(verdict, Failed)
    assert verdict.detail.startswith("15 of 30 frames failed")


def test_many_crops_of_a_few_frames_are_not_enough(trial: TrialWatch) -> None:
    trial.hear(_of_crops(29, 600))
    assert trial.verdict(100.0) == Continue()
    trial.hear(_of_crops(1, 1))
    assert isinstance(trial.verdict(100.0), Passed)


def test_frames_that_are_no_images_say_nothing_of_the_model(trial: TrialWatch) -> None:
    for _ in range(100):
        trial.hear(_failed(of_model=False))

    assert trial.verdict(5.0) == Continue()


def test_what_is_said_of_another_release_is_ignored(trial: TrialWatch) -> None:
    trial.hear(_figures(100, digest="old"))
    trial.hear(_figures(100, digest=None))
    for _ in range(100):
        trial.hear(_failed(digest="old"))
    trial.hear(Serving("new"))

    assert trial.verdict(5.0) == Continue()


def test_live_frames_that_are_too_slow_fail_it(trial: TrialWatch) -> None:
    trial.hear(_figures(18, 5.0))
    trial.hear(_figures(12, 40.0))

    verdict = trial.verdict(5.0)

    assert isinstance(verdict, Failed)
    assert verdict.reason is Reason.TOO_SLOW
    assert "at most 20 ms" in verdict.detail


def test_without_a_limit_latency_is_not_judged() -> None:
    trial = TrialWatch("new", Limits())
    trial.hear(_figures(30, 5000.0))

    assert isinstance(trial.verdict(5.0), Passed)


def test_a_source_that_has_ended_is_judged_by_what_was_seen(trial: TrialWatch) -> None:
    trial.hear(_figures(3))
    trial.hear(SourceEnded(3))
    assert trial.verdict(0.5) == Passed("3 frames in 0.5 s, 0 failed")
    trial.hear(_failed())

    assert isinstance(trial.verdict(0.5), Failed)


def test_a_source_that_had_ended_before_leaves_it_to_the_probe_and_says_so(trial: TrialWatch) -> None:
    trial.hear(SourceEnded(0))

    verdict = trial.verdict(0.0)

    assert isinstance(verdict, Passed)
    assert "by its probe alone" in verdict.detail


@given(answered=st.integers(0, 200), failed=st.integers(0, 200), elapsed_s=st.floats(0, 100), share=st.floats(0.0, 1.0))
def test_no_trial_passes_with_more_failures_than_are_allowed(
    answered: int, failed: int, elapsed_s: float, share: float
) -> None:
    trial = TrialWatch("new", Limits(error_share=share))
    trial.hear(_figures(answered))
    for _ in range(failed):
        trial.hear(_failed())

    verdict = trial.verdict(elapsed_s)

    if isinstance(verdict, Passed):
        assert failed <= share * (answered + failed)
        assert answered + failed >= 30
    if isinstance(verdict, Failed):
        assert failed > share * (answered + failed)
