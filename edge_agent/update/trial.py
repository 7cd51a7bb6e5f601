"""Judging a release by the live frames of its trial.

Pure: `TrialWatch` is told what the worker says and how much time has passed, and answers with a verdict. Listening to
the worker is left to `watch`; what follows from a verdict, to `updater`.
"""

from dataclasses import dataclass

from edge_agent.errors import Reason
from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import Figures, FrameFailed, SourceEnded, Word
from edge_agent.release.manifest import Limits


@dataclass(frozen=True, slots=True)
class Continue:
    """Not enough has been seen yet."""


@dataclass(frozen=True, slots=True)
class Passed:
    detail: str


@dataclass(frozen=True, slots=True)
class Failed:
    reason: Reason
    detail: str


Verdict = Continue | Passed | Failed


class TrialWatch:
    """The trial of one release: `limits.trial_frames` frames and `limits.trial_s` seconds without too many failures.

    Only frames the model is answerable for count: one that is no image says nothing of it. Of a stage that sees crops,
    a frame with all its crops counts once, answered or not: they fail together. Without frames the trial waits, unless
    its source has ended: then what was seen must do.
    """

    def __init__(self, digest: str, limits: Limits) -> None:
        self._digest = digest
        self._limits = limits
        self._answered = 0
        self._failed = 0
        self._last_failure = ""
        self._invoke = Histogram()
        self._source_ended = False

    def hear(self, word: Word) -> None:
        """Take note of what the worker says; what it says of another release is ignored."""
        match word:
            case Figures(digest=self._digest):
                self._answered += word.answered
                bucket_counts = word.latency.get("invoke", {})
                self._invoke.merge(Histogram.from_json(bucket_counts, word.latency_max_ms.get("invoke", 0.0)))
            case FrameFailed(digest=self._digest, of_model=True):
                self._failed += 1
                self._last_failure = word.detail
            case SourceEnded():
                self._source_ended = True
            case _:
                pass

    def verdict(self, elapsed_s: float) -> Verdict:
        """What can be said `elapsed_s` after the release began to serve."""
        frames = self._answered + self._failed
        # Judged as if the rest of the frames went well: what fails even so need not be waited for.
        counted = frames if self._source_ended else max(frames, self._limits.trial_frames)
        if self._failed > self._limits.error_share * counted:
            return Failed(
                Reason.TRIAL_ERRORS,
                f"{self._failed} of {frames} frames failed, at most {self._limits.error_share:.0%} may: "
                f"{self._last_failure}",
            )
        enough = frames >= self._limits.trial_frames and elapsed_s >= self._limits.trial_s
        if not enough and not self._source_ended:
            return Continue()
        p95_ms = self._invoke.quantile_ms(0.95)
        if p95_ms is not None and self._limits.p95_ms is not None and p95_ms > self._limits.p95_ms:
            return Failed(
                Reason.TOO_SLOW,
                f"p95 of invoke is {p95_ms:.1f} ms over {self._invoke.count} live frames, "
                f"at most {self._limits.p95_ms:g} ms is allowed",
            )
        if frames == 0 and self._source_ended:
            return Passed("its source had ended before any frame could be tried, so it was judged by its probe alone")
        return Passed(f"{frames} frames in {elapsed_s:.1f} s, {self._failed} failed")
