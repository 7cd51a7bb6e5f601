"""The port over which chunks come. `link` implements it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.errors import Reason

Cancelled = Callable[[], bool]
Trouble = Callable[[Reason, str], None]


class ChunkTransport(Protocol):
    def collect(
        self, digests: Sequence[str], take: Callable[[str, bytes], None], *, cancelled: Cancelled, trouble: Trouble
    ) -> None:
        """Call `take(digest, plaintext)` once for each digest, verified, in any order, on the caller's thread.

        Blocks until all are taken or `cancelled()`; while chunks are missing or corrupt it says so to `trouble` and
        keeps trying. An error out of `take` ends it.

        Raises:
            FetchError: it cannot go on now.
        """
        ...
