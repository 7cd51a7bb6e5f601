"""Judging a release by the live frames of its trial.

Pure: `TrialWatch` is told what the worker says and how much time has passed, and answers with a verdict. What is
checked is left to `checks`; listening to the worker, to `watch`; what follows from a verdict, to `updater`.
"""

from dataclasses import dataclass

from edge_agent.errors import Reason
from edge_agent.inference.ipc import Figures, FrameFailed, SourceEnded, Word
from edge_agent.inference.seen import Seen
from edge_agent.release.manifest import Limits
from edge_agent.update.checks import FEWEST_FRAMES, check_at_the_end, check_errors

_MOST_FRAMES_RATIO = 10  # of the frames a trial needs: what has not become clear by then will not


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
    """The trial of one release, which replaces `current` (None: nothing).

    It lasts for `limits.trial_frames` frames and `limits.trial_s` seconds, and goes on while a check is not clear: for
    ten times the frames, or `limits.trial_longest_s`. What is unclear then is judged by what was seen. Errors that are
    beyond doubt end it at any time. Only frames the model is answerable for count: one that is no image says nothing of
    it. Of a stage that sees crops, a frame with all its crops counts once, answered or not: they fail together. Without
    its frames the trial waits, unless its source has ended: then what was seen must do.
    """

    def __init__(self, digest: str, limits: Limits, current: Seen | None = None) -> None:
        self._limits = limits
        self._current = current
        self._seen = Seen(digest)
        self._failed = 0
        self._last_failure = ""
        self._source_ended = False

    def hear(self, word: Word) -> None:
        """Take note of what the worker says; what it says of another release is ignored."""
        match word:
            case Figures(digest=self._seen.digest):
                self._seen.hear(word)
            case FrameFailed(digest=self._seen.digest, of_model=True):
                self._failed += 1
                self._last_failure = word.detail
            case SourceEnded():
                self._source_ended = True
            case _:
                pass

    def verdict(self, elapsed_s: float) -> Verdict:
        """What can be said `elapsed_s` after the release began to serve."""
        limits, frames = self._limits, self._seen.frames + self._failed
        errors = check_errors(self._seen, self._failed, limits, self._last_failure)
        if errors.state == "broken":
            return Failed(errors.reason, errors.detail)
        enough = frames >= limits.trial_frames and elapsed_s >= limits.trial_s
        if not enough and not self._source_ended:
            return Continue()
        findings = [errors, *check_at_the_end(self._seen, self._current, limits)]
        most_frames = max(_MOST_FRAMES_RATIO * limits.trial_frames, FEWEST_FRAMES)
        is_over = self._source_ended or frames >= most_frames or elapsed_s >= limits.trial_longest_s
        for finding in findings:
            if finding.state == "broken" or (is_over and finding.leans):
                return Failed(finding.reason, finding.detail)
        if not is_over and any(finding.state == "unclear" for finding in findings):
            return Continue()
        if frames == 0:
            return Passed("its source had ended before any frame could be tried, so it was judged by its probe alone")
        notes = [finding.detail for finding in findings if finding.state == "skipped"]
        return Passed("; ".join([f"{frames} frames in {elapsed_s:.1f} s, {self._failed} failed", *notes]))
