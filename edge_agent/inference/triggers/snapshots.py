"""The folder that a trigger's pictures go to. Drawing and writing them is the worker's (`gallery`)."""

import re
from contextlib import suppress
from pathlib import Path

from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.tree import utc


class SnapshotFolder:
    """Files `<trigger>-<UTC time>-<seq>.jpg`; at most `keep` of them, the oldest by name going first.

    Only names of this very form are ever removed: the folder may hold what else it likes.
    """

    def __init__(self, trigger: str, folder: Path, keep: int) -> None:
        self._trigger = trigger
        self.path = folder
        self._keep = keep
        self._ours = re.compile(rf"{re.escape(trigger)}-\d{{8}}T\d{{6}}\.\d{{3}}Z-\d+\.jpg")

    def path_for(self, result: Result) -> Path:
        time = re.sub(r"[-:]", "", utc(result.captured_s))
        return self.path / f"{self._trigger}-{time}-{result.seq}.jpg"

    def is_ours(self, path: Path) -> bool:
        return path.parent == self.path and self._ours.fullmatch(path.name) is not None

    def prune(self) -> str | None:
        """Remove what is too many; gives why it could not be done."""
        try:
            ours = sorted(path for path in self.path.iterdir() if self.is_ours(path))
            for path in ours[: max(0, len(ours) - self._keep)]:
                with suppress(FileNotFoundError):
                    path.unlink()
        except OSError as error:
            return f"{self.path}: old pictures cannot be removed: {error.strerror or error}"
        return None
