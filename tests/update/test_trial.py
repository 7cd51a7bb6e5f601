"""Judging live frames."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.errors import Reason
from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import Figures, FrameFailed, Serving, SourceEnded
from edge_agent.inference.seen import Seen
from edge_agent.release.manifest import Limits
from edge_agent.update.trial import Continue, Failed, Passed, TrialWatch

LIMITS = Limits(trial_frames=30, trial_s=5.0, error_share=0.1, p95_ms=20.0)
MANY = 1000  # frames: nothing is unclear


def _figures(
    frames: int, invoke_ms: float = 5.0, digest: str | None = "new", *, empty: int = 0, score: float = 0.9
) -> Figures:
    histogram = Histogram()
    for _ in range(frames):
        histogram.add(invoke_ms)
    scores = {str(int(score * 20)): frames - empty}
    invoke = {"invoke": histogram.to_json()}
    return Figures("main", frames, frames, frames, 0, 0, invoke, {"invoke": invoke_ms}, digest, empty, scores)


def _seen(frames: int, invoke_ms: float = 5.0, *, empty: int = 0, score: float = 0.9) -> Seen:
    """What the current release has done."""
    seen = Seen("old")
    seen.hear(_figures(frames, invoke_ms, empty=empty, score=score))
    return seen


def _failure(trial: TrialWatch, elapsed_s: float = 5.0) -> Failed:
    verdict = trial.verdict(elapsed_s)
    assert isinstance(verdict, Failed), verdict
    return verdict


def _of_crops(frames: int, crops: int) -> Figures:
    """As many crops as that of so many frames, all answered."""
    return replace(_figures(crops), answered=frames)


def _failed(*, of_model: bool = True, digest: str = "new") -> FrameFailed:
    return FrameFailed("main", digest, "7.jpg", of_model, "no answer")


@pytest.fixture
def trial() -> TrialWatch:
    return TrialWatch("new", LIMITS)


def test_a_trial_needs_its_frames_and_its_time() -> None:
    trial = TrialWatch("new", Limits(trial_frames=30, trial_s=5.0, error_share=0.1))
    trial.hear(_figures(29))
    assert trial.verdict(100.0) == Continue()
    trial.hear(_figures(1))
    assert trial.verdict(4.9) == Continue()
    assert trial.verdict(5.0) == Passed("30 frames in 5.0 s, 0 failed")


def test_without_frames_a_trial_waits(trial: TrialWatch) -> None:
    assert trial.verdict(1_000_000.0) == Continue()


def test_failures_beyond_doubt_end_it_before_its_time(trial: TrialWatch) -> None:
    for _ in range(9):
        trial.hear(_failed())
    assert trial.verdict(0.1) == Continue()  # however bad they are: they are few
    trial.hear(_failed())

    verdict = _failure(trial, 0.1)

    assert verdict.reason is Reason.TRIAL_ERRORS
    assert verdict.detail == "10 of 10 frames failed, at most 10% may: no answer"


def test_no_verdict_comes_of_three_frames_whatever_the_manifest_says() -> None:
    trial = TrialWatch("new", Limits(trial_frames=3, trial_s=0.0, error_share=0.5))
    trial.hear(_figures(3))
    assert trial.verdict(100.0) == Continue()
    trial.hear(_figures(7))
    assert isinstance(trial.verdict(100.0), Passed)


def test_a_few_failures_among_many_frames_are_forgiven(trial: TrialWatch) -> None:
    trial.hear(_figures(MANY))
    for _ in range(60):
        trial.hear(_failed())

    assert isinstance(trial.verdict(5.0), Passed)


@pytest.mark.parametrize(("failed", "passes"), [(9, True), (11, False)])
def test_what_stays_unclear_is_judged_by_what_was_seen_in_the_end(failed: int, passes: bool) -> None:  # noqa: FBT001
    trial = TrialWatch("new", Limits(trial_frames=30, trial_s=5.0, error_share=0.1, trial_longest_s=60.0))
    trial.hear(_figures(100 - failed))
    for _ in range(failed):
        trial.hear(_failed())

    assert trial.verdict(59.9) == Continue()
    assert isinstance(trial.verdict(60.0), Passed if passes else Failed)
    trial.hear(_figures(200 - 2 * failed))
    for _ in range(2 * failed):
        trial.hear(_failed())
    assert isinstance(trial.verdict(5.0), Passed if passes else Failed)


def test_the_longest_time_does_not_end_a_trial_that_lacks_frames(trial: TrialWatch) -> None:
    trial.hear(_figures(29))

    assert trial.verdict(1e6) == Continue()


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


def test_live_frames_that_are_too_slow_fail_it_once_it_has_had_its_time(trial: TrialWatch) -> None:
    trial.hear(_figures(18, 5.0))
    trial.hear(_figures(12, 40.0))
    assert trial.verdict(4.9) == Continue()  # the first frames may only have been warming up

    verdict = _failure(trial)

    assert verdict.reason is Reason.TOO_SLOW
    assert "at most 20 ms" in verdict.detail


def test_a_p95_within_the_limit_takes_59_frames_to_be_believed(trial: TrialWatch) -> None:
    """0.95^58 > 0.05 >= 0.95^59."""
    trial.hear(_figures(58))
    assert trial.verdict(5.0) == Continue()
    trial.hear(_figures(1))
    assert isinstance(trial.verdict(5.0), Passed)


def test_without_a_limit_latency_is_not_judged() -> None:
    trial = TrialWatch("new", Limits())
    trial.hear(_figures(30, 5000.0))

    assert isinstance(trial.verdict(5.0), Passed)


# --- against the release it is to replace -------------------------------------------------------------------


def test_a_release_much_slower_than_the_current_one_fails_without_any_limit_of_its_own() -> None:
    trial = TrialWatch("new", Limits(), _seen(135, 50.0))
    trial.hear(_figures(30, 120.0))

    verdict = _failure(trial)

    assert verdict.reason is Reason.TOO_SLOW
    assert "2 times as slow is allowed" in verdict.detail


@pytest.mark.parametrize(
    ("invoke_ms", "limits"),
    [(90.0, Limits()), (120.0, Limits(slower_than_current=3.0))],
)
def test_one_that_is_slower_within_the_limit_passes(invoke_ms: float, limits: Limits) -> None:
    trial = TrialWatch("new", limits, _seen(MANY, 50.0))
    trial.hear(_figures(MANY, invoke_ms))

    assert trial.verdict(5.0) == Passed("1000 frames in 5.0 s, 0 failed")


def test_a_difference_that_is_of_no_matter_to_a_camera_is_none() -> None:
    """Other load on the device makes as much."""
    trial = TrialWatch("new", Limits(), _seen(MANY, 5.0))
    trial.hear(_figures(MANY, 20.0))

    assert isinstance(trial.verdict(5.0), Passed)


def test_a_few_slow_frames_are_no_proof_that_it_is_slower() -> None:
    trial = TrialWatch("new", Limits(), _seen(MANY, 5.0))
    trial.hear(_figures(27, 5.0))
    trial.hear(_figures(3, 500.0))

    assert isinstance(trial.verdict(5.0), Passed)


@pytest.mark.parametrize(("of_current", "of_new"), [(134, 100), (1000, 29)])
def test_too_few_frames_are_not_compared_and_the_outcome_says_so(of_current: int, of_new: int) -> None:
    trial = TrialWatch("new", Limits(trial_frames=29), _seen(of_current, 5.0))
    trial.hear(_figures(of_new, 500.0))

    verdict = trial.verdict(5.0)

    assert isinstance(verdict, Passed)
    assert f"not compared with the current release, of which {of_current} frames are known" in verdict.detail


def test_a_release_that_finds_nothing_where_the_current_one_does_fails() -> None:
    trial = TrialWatch("new", Limits(), _seen(MANY, empty=200))
    trial.hear(_figures(100, empty=100))

    verdict = _failure(trial)

    assert verdict.reason is Reason.FINDS_NOTHING
    assert "in 100% of 100 answers, with the current release in 20%" in verdict.detail


def test_where_the_current_one_finds_nothing_either_it_is_the_scene() -> None:
    trial = TrialWatch("new", Limits(), _seen(MANY, empty=MANY))
    trial.hear(_figures(100, empty=100))

    assert isinstance(trial.verdict(5.0), Passed)


def test_a_share_of_empty_answers_beyond_its_own_limit_fails() -> None:
    trial = TrialWatch("new", Limits(empty_share=0.2))
    trial.hear(_figures(100, empty=60))

    assert _failure(trial).reason is Reason.FINDS_NOTHING


def test_scores_that_are_spread_otherwise_fail_where_the_manifest_limits_that() -> None:
    for limits, verdict in ((Limits(score_drift=0.3), Failed), (Limits(score_drift=1.0), Passed), (Limits(), Passed)):
        trial = TrialWatch("new", limits, _seen(MANY, score=0.9))
        trial.hear(_figures(MANY, score=0.3))
        assert isinstance(trial.verdict(5.0), verdict)


def test_a_drift_that_chance_may_explain_is_waited_out() -> None:
    trial = TrialWatch("new", Limits(score_drift=0.3), _seen(MANY, score=0.9))
    for score, frames in ((0.9, 25), (0.3, 15)):
        trial.hear(_figures(frames, score=score))
    assert trial.verdict(5.0) == Continue()
    for score, frames in ((0.9, 400), (0.3, 40)):
        trial.hear(_figures(frames, score=score))
    assert isinstance(trial.verdict(5.0), Passed)


# --- sources that end ---------------------------------------------------------------------------------------


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


@example(answered=122, failed=200, elapsed_s=0.0, share=0.875)
@example(answered=9, failed=1, elapsed_s=99.0, share=0.0)
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
