"""What a trial is held to, one check each, and whether it is kept, broken or not clear yet.

Pure. A check never judges by fewer than `FEWEST_FRAMES`. Which are asked when, and what follows, is left to `trial`;
docs/trial.md says all of this to people.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edge_agent.errors import Reason
from edge_agent.inference.seen import Seen
from edge_agent.release.manifest import Limits
from edge_agent.update.statistics import (
    gap_margin,
    largest_gap,
    quantile_bounds_ms,
    share_bounds,
    surely_above,
    surely_within,
)

FEWEST_FRAMES = 10
FEWEST_COMPARED = 30  # frames of the candidate, for a comparison with the release it is to replace
FEWEST_OF_CURRENT = 135  # of that one: fewer do not bound a 95th percentile with a doubt of 0.001
DOUBT_OF_BROKEN = 0.001  # a good release is refused for ever: so seldom, for each check
DOUBT_OF_KEPT = 0.05
_NO_MATTER_MS = 20.0  # other load comes and goes; a camera of 30 frames/s leaves 33 ms for one
_P95 = 0.95


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. `leans`: of what is not clear, whether what was seen is beyond the limit all the same."""

    state: Literal["kept", "broken", "unclear", "skipped"]
    detail: str = ""
    reason: Reason = Reason.TRIAL_ERRORS
    leans: bool = False


_KEPT = Finding("kept")


def check_errors(seen: Seen, failed: int, limits: Limits, last_failure: str) -> Finding:
    """The share of the frames that the model failed at."""
    frames = seen.frames + failed
    detail = f"{failed} of {frames} frames failed, at most {limits.error_share:.0%} may: {last_failure}"
    return _share((failed, failed), frames, limits.error_share, detail, Reason.TRIAL_ERRORS)


def check_at_the_end(seen: Seen, current: Seen | None, limits: Limits) -> Iterator[Finding]:
    """All that is not judged before the trial has had its frames and its time. `current` None: there is none."""
    yield _check_p95(seen, limits)
    if limits.empty_share is not None:
        detail = (
            f"nothing was found in {seen.empty} of {seen.answers} answers, at most {limits.empty_share:.0%} may be so"
        )
        within = (seen.empty, seen.empty)
        yield _share(within, seen.answers, limits.empty_share, detail, Reason.FINDS_NOTHING)
    if current is not None:
        yield from _compare(seen, current, limits)


def _check_p95(seen: Seen, limits: Limits) -> Finding:
    """At most one invoke in twenty may take longer than the limit: that is what a p95 within it means."""
    p95_ms = seen.invoke.quantile_ms(_P95)
    if limits.p95_ms is None or p95_ms is None:
        return _KEPT
    detail = (
        f"p95 of invoke is {p95_ms:.1f} ms over {seen.invoke.count} live frames, "
        f"at most {limits.p95_ms:g} ms is allowed"
    )
    return _share(seen.invoke.above(limits.p95_ms), seen.invoke.count, 1 - _P95, detail, Reason.TOO_SLOW)


def _compare(seen: Seen, current: Seen, limits: Limits) -> Iterator[Finding]:
    if seen.frames < FEWEST_COMPARED or current.frames < FEWEST_OF_CURRENT:
        yield Finding(
            "skipped",
            f"not compared with the current release, of which {current.frames} frames are known: that takes "
            f"{FEWEST_OF_CURRENT}, and {FEWEST_COMPARED} of this one",
        )
        return
    yield _compare_p95(seen, current, limits)
    yield _compare_empty(seen, current, limits)
    if limits.score_drift is not None:
        yield _compare_scores(seen, current, limits.score_drift)


def _compare_p95(seen: Seen, current: Seen, limits: Limits) -> Finding:
    """Only what is sure counts: that it is not slower need not be shown."""
    least_ms, _ = quantile_bounds_ms(seen.invoke, _P95, DOUBT_OF_BROKEN)
    _, most_ms = quantile_bounds_ms(current.invoke, _P95, DOUBT_OF_BROKEN)
    if least_ms <= limits.slower_than_current * most_ms or least_ms <= most_ms + _NO_MATTER_MS:
        return _KEPT
    return Finding(
        "broken",
        f"p95 of invoke is at least {least_ms:.1f} ms over {seen.invoke.count} live frames, that of the current "
        f"release at most {most_ms:.1f} ms; {limits.slower_than_current:g} times as slow is allowed",
        Reason.TOO_SLOW,
    )


def _compare_empty(seen: Seen, current: Seen, limits: Limits) -> Finding:
    low, high = share_bounds(seen.empty, seen.answers, DOUBT_OF_BROKEN)
    before_low, before_high = share_bounds(current.empty, current.answers, DOUBT_OF_BROKEN)
    shares = seen.empty / seen.answers, current.empty / current.answers
    detail = (
        f"nothing was found in {shares[0]:.0%} of {seen.answers} answers, with the current release in {shares[1]:.0%}; "
        f"{limits.empty_rise:.0%} more are allowed"
    )
    if low - before_high > limits.empty_rise:
        return Finding("broken", detail, Reason.FINDS_NOTHING)
    if high - before_low <= limits.empty_rise:
        return _KEPT
    return Finding("unclear", detail, Reason.FINDS_NOTHING, leans=shares[0] - shares[1] > limits.empty_rise)


def _compare_scores(seen: Seen, current: Seen, limit: float) -> Finding:
    counts = (sum(seen.scores.values()), sum(current.scores.values()))
    if min(counts) < FEWEST_COMPARED:
        return Finding(
            "skipped",
            f"scores not compared: {counts[0]} frames of this release and {counts[1]} of the current one have any",
        )
    gap, margin = largest_gap(seen.scores, current.scores), gap_margin(counts, DOUBT_OF_BROKEN)
    detail = (
        f"the best scores of {counts[0]} answers are {gap:.2f} from the current release's, at most {limit:g} is allowed"
    )
    if gap - margin > limit:
        return Finding("broken", detail, Reason.DRIFTED)
    if gap + margin <= limit:
        return _KEPT
    return Finding("unclear", detail, Reason.DRIFTED, leans=gap > limit)


def _share(hits: tuple[int, int], of: int, limit: float, detail: str, reason: Reason) -> Finding:
    """`hits`: at the least, and at the most."""
    least, most = hits
    if of >= FEWEST_FRAMES and surely_above(least, of, limit, DOUBT_OF_BROKEN):
        return Finding("broken", detail, reason)
    if of >= FEWEST_FRAMES and surely_within(most, of, limit, DOUBT_OF_KEPT):
        return _KEPT
    return Finding("unclear", detail, reason, leans=least > limit * of)
