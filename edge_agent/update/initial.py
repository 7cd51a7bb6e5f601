"""The artifact that a device is set up with (`initial`): what it runs until the fleet wants something.

Whether it is wanted is left to `updater`.
"""

from pathlib import Path

from edge_agent.update.store import ReleaseStore, digest_of_file


class Initial:
    """The file at `path`, which may come later, or be replaced; None: there is none."""

    def __init__(self, path: Path | None, store: ReleaseStore) -> None:
        self._path = path
        self._store = store
        self._digest: str | None = None

    @property
    def digest(self) -> str | None:
        """What it holds, read once.

        Raises:
            FetchError: it cannot be read now.
        """
        if self._digest is None and self._path is not None:
            self._digest = digest_of_file(self._path)
        return self._digest

    def install(self, digest: str) -> bool:
        """Whether the store now holds this release; not, when the file holds another one.

        Raises:
            FetchError: it cannot be read now.
            RejectionError: it is no artifact.
        """
        if self._path is None or digest != self._digest:
            return False
        self._digest = self._store.adopt_file(self._path)  # another one, if the file has been replaced
        return self._digest == digest
