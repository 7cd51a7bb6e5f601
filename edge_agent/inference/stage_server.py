"""One stage of a pipeline as its updater sees it: serve this release, and tell me how its trial goes.

The worker behind it, which all stages of the pipeline share, is `server`'s.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent.errors import describe_exit
from edge_agent.inference.ipc import Shadow, Word
from edge_agent.inference.seen import Seen


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The worker is gone. `restart_s`: until it is started again, None where nobody but the updater will."""

    code: int
    restart_s: float | None = None

    @property
    def detail(self) -> str:
        return f"the worker ended with {describe_exit(self.code)}"


class TrialWords:
    """What a worker on trial says, in order, from the first word of the release on; results are left out."""

    def __init__(self, next_heard: Callable[[float], Word | None]) -> None:
        self._next_heard = next_heard

    def next(self, timeout_s: float) -> Word | None:
        """The next word, None when `timeout_s` goes by without one.

        Raises:
            WorkerCrashedError: the worker is gone.
        """
        return self._next_heard(timeout_s)


class Server(Protocol):
    """`server.PipelineServer`, by the stage's name."""

    def serve(self, name: str, digest: str | None, directory: Path | None) -> None: ...
    def is_lost(self, name: str) -> bool: ...
    def seen(self, name: str) -> Seen: ...
    def shadow(self, order: Shadow) -> AbstractContextManager[TrialWords]: ...
    def trial(self, name: str) -> AbstractContextManager[TrialWords]: ...


class StageServer:
    """One stage of a pipeline, for its updater. `serve` and `trial` belong to one thread."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name

    def serve(self, digest: str | None, directory: Path | None) -> None:
        """Make the worker answer frames with this release (None: with none), and wait until it does.

        Raises:
            ModelError: it cannot be loaded; what served before still does.
            WorkerCrashedError: the worker ended or fell silent; it is started again after a while.
        """
        self._server.serve(self._name, digest, directory)

    @property
    def lost(self) -> bool:
        """Whether what `serve` last made it serve no longer does: a worker that was started again could not load it.

        The release may have rotten since, or memory be short: serving it anew tells.
        """
        return self._server.is_lost(self._name)

    def seen(self) -> Seen:
        """What the release that serves has done lately."""
        return self._server.seen(self._name)

    def shadow(self, digest: str, directory: Path, *, share: float, frames: int) -> AbstractContextManager[TrialWords]:
        """Run another release beside the one that serves, and hear how they compare (`ipc.Shadowed`).

        Raises:
            WorkerCrashedError: there is no worker.
        """
        return self._server.shadow(Shadow(self._name, str(directory), digest, share, frames))

    def trial(self) -> AbstractContextManager[TrialWords]:
        """Hear what the worker says since `serve`. Within, a worker that dies stays dead and the words raise."""
        return self._server.trial(self._name)
