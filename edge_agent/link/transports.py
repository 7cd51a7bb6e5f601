"""Which way chunks come: from the web servers that a release names, from the broker what they lack, and back.

A web server is asked first, because whoever pushed has named it; one that fails is left alone for a while. The broker
is patient and waits for what is missing; when it has brought nothing for some time, the web servers are asked again.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.errors import FetchError, Reason
from edge_agent.link.pace import Pace
from edge_agent.release.document import Target
from edge_agent.update.transport import Cancelled, ChunkTransport, Trouble

_LOG = logging.getLogger(__name__)
PATIENCE_S = 30.0  # with the broker, when it brings nothing; doubles while the web servers bring nothing either
LONGEST_PATIENCE_S = 600.0
REST_S = 60.0  # a web server that has failed is not asked again before


class Source(Protocol):
    """`https.HttpsSource`, or a fake of it: impatient, and a FetchError says what it could not get."""

    base: str

    def collect(
        self,
        digests: Sequence[str],
        take: Callable[[str, bytes], None],
        *,
        cancelled: Callable[[], bool],
        trouble: object,
    ) -> None: ...


class Transports:
    """Gives each release its transport. For any thread."""

    def __init__(self, broker: ChunkTransport, pace: Pace, clock: Clock, *, ca_file: Path | None = None) -> None:
        self._broker = broker
        self._pace = pace
        self._clock = clock
        self._ca_file = ca_file
        self._rested_s: dict[str, float] = {}

    def of(self, target: Target) -> ChunkTransport:
        if not target.sources:
            return self._broker
        from edge_agent.link.https import HttpsSource  # most devices never need it

        sources = [
            HttpsSource(base, target.digest, self._pace, self._clock, ca_file=self._ca_file) for base in target.sources
        ]
        return AlternatingTransport(sources, self._broker, self._clock, self._rested_s)


class AlternatingTransport:
    """`ChunkTransport` over several. `rested_s`: base → when it may be asked again, shared by all of a device."""

    def __init__(
        self, sources: Sequence[Source], broker: ChunkTransport, clock: Clock, rested_s: dict[str, float] | None = None
    ) -> None:
        self._sources = sources
        self._broker = broker
        self._clock = clock
        self._rested_s = {} if rested_s is None else rested_s

    def collect(
        self, digests: Sequence[str], take: Callable[[str, bytes], None], *, cancelled: Cancelled, trouble: Trouble
    ) -> None:
        left = dict.fromkeys(digests)
        moved_s = self._clock.monotonic_s()
        patience_s = PATIENCE_S

        def keep(digest: str, plaintext: bytes) -> None:
            nonlocal moved_s, patience_s
            take(digest, plaintext)
            left.pop(digest, None)
            moved_s, patience_s = self._clock.monotonic_s(), PATIENCE_S

        def tired() -> bool:
            return cancelled() or self._clock.monotonic_s() - moved_s >= patience_s

        while left and not cancelled():
            for source in self._sources:
                if left and not cancelled() and self._rested_s.get(source.base, 0.0) <= self._clock.monotonic_s():
                    self._ask(source, tuple(left), keep, cancelled, trouble)
            if left and not cancelled():
                moved_s = self._clock.monotonic_s()
                self._broker.collect(tuple(left), keep, cancelled=tired, trouble=trouble)
                patience_s = min(LONGEST_PATIENCE_S, 2 * patience_s)

    def _ask(
        self,
        source: Source,
        digests: Sequence[str],
        take: Callable[[str, bytes], None],
        cancelled: Cancelled,
        trouble: Trouble,
    ) -> None:
        try:
            source.collect(digests, take, cancelled=cancelled, trouble=_nobody)
        except FetchError as error:
            _LOG.warning("%s; going on without it for %.0f s. %s", error, REST_S, error.hint or "")
            trouble(Reason.WEB_SOURCE, f"{error}; the broker is asked for what is missing")
            self._rested_s[source.base] = self._clock.monotonic_s() + REST_S


def _nobody(reason: Reason, detail: str) -> None:
    """What one transport lacks is no trouble while another may have it."""
