"""The port that chunks come through, and the smallest use of it. Who implements it: `link`."""

from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.errors import FetchError, Reason

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


def collect_whole(
    digests: Sequence[str], transport: ChunkTransport, what: str, *, cancelled: Cancelled, trouble: Trouble
) -> bytes | None:
    """What these chunks make, in this order; None when cancelled. `what`: for the message.

    Raises:
        FetchError: not now.
    """
    chunks: dict[str, bytes] = {}
    transport.collect(list(dict.fromkeys(digests)), chunks.__setitem__, cancelled=cancelled, trouble=trouble)
    if set(digests) <= set(chunks):
        return b"".join(chunks[digest] for digest in digests)
    if cancelled():
        return None
    raise FetchError(f"the {what} did not arrive", reason=Reason.MISSING_CHUNK)
