"""Watching a trial: what the worker says goes to `TrialWatch`, until that can judge or somebody needs the thread.

How words arrive is left to `inference.server`; how they are judged, to `trial`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.inference.ipc import Word
from edge_agent.inference.seen import Seen
from edge_agent.update.trial import Continue, TrialWatch, Verdict

_POLL_S = 0.2


class Words(Protocol):
    def next(self, timeout_s: float) -> Word | None:
        """What the worker says next, None when `timeout_s` goes by without a word.

        Raises:
            WorkerCrashedError: the worker is gone.
        """
        ...


class Server(Protocol):
    """What runs the release of one pipeline."""

    def serve(self, digest: str | None, directory: Path | None) -> None:
        """Answer frames with this release (None: with none); returns when it does.

        Raises:
            ModelError: it cannot be loaded; what served before still does.
            WorkerCrashedError: the worker died of it.
        """
        ...

    @property
    def lost(self) -> bool:
        """Whether what `serve` made it serve no longer does, although no trial was on: it wants to be served anew."""
        ...

    def seen(self) -> Seen:
        """What the release that serves has done lately."""
        ...

    def shadow(self, digest: str, directory: Path, *, share: float, frames: int) -> AbstractContextManager[Words]:
        """Run another release beside the one that serves, and hear how they compare (`ipc.Shadowed`).

        Raises:
            WorkerCrashedError: there is no worker.
        """
        ...

    def trial(self) -> AbstractContextManager[Words]:
        """Hear what the worker has said since `serve`; while this is open a dead worker stays dead and says so."""
        ...


def watch_trial(server: Server, trial: TrialWatch, *, cancelled: Callable[[], bool], clock: Clock) -> Verdict:
    """Block until the trial of what `server` serves is judged, or give Continue once it is cancelled.

    Raises:
        WorkerCrashedError: the worker died during the trial.
    """
    began_s = clock.monotonic_s()
    with server.trial() as words:
        while not cancelled():
            word = words.next(_POLL_S)
            if word is not None:
                trial.hear(word)
            verdict = trial.verdict(clock.monotonic_s() - began_s)
            if not isinstance(verdict, Continue):
                return verdict
    return Continue()
