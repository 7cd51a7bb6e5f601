"""Getting chunks off the broker: which to ask for, which have come, which are not there (docs/mqtt-interface.md).

`Download` decides and is pure: it is told what happened and says what to do. A retained message that does not exist
is never announced by MQTT, so a batch of subscriptions that stays incomplete is followed by a barrier: a nonce sent to
ourselves. When the nonce is back and a moment of grace is over, what has not come is absent. Doing it is left to
`collector`.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge_agent.errors import Reason
from edge_agent.link.messages import MAX_NEED
from edge_agent.link.topics import MAX_FILTERS

BARRIER_AFTER_S = 0.1  # a batch that is complete by then needs no barrier, which is most of them
GRACE_S = 1.0  # a chunk may come after the nonce on some brokers, by milliseconds
STALL_S = 60.0  # nothing at all for so long, with questions open: the connection is dead, whatever it says
_NO_LIMIT = 1 << 30
_RETRY_FIRST_S, _RETRY_LONGEST_S = 2.5, 60.0
_TOGETHER = 2  # chunks asked for: fewer SUBSCRIBEs than one by one, and a long line stays full (half a window does not)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Ask for these chunks, and report the answer with `Download.granted(batch, ...)`."""

    batch: int
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Barrier:
    """Send the nonce of this batch to ourselves, and report its return with `Download.echoed(batch, ...)`."""

    batch: int


@dataclass(frozen=True, slots=True)
class Need:
    """Tell publishers what is missing."""

    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The broker has stopped answering."""


Action = Subscribe | Unsubscribe | Barrier | Need | Trouble | Reconnect


class Download:
    """The state of one download. Not thread-safe; times are of a monotonic clock.

    With `patient`, what is absent is asked for again until it comes; else it is given up at once.
    """

    def __init__(
        self,
        digests: Iterable[str],
        *,
        patient: bool = True,
        grace_s: float = GRACE_S,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.window = MAX_FILTERS  # chunks subscribed at a time; may be changed between steps
        self.allowance = _NO_LIMIT  # chunks that may be asked for in the next step
        self._patient = patient
        self._grace_s = grace_s
        self._uniform = uniform
        self._waiting = deque(dict.fromkeys(digests))
        self._remaining = set(self._waiting)
        self._asked: dict[str, float | None] = {}  # → when it is absent; None while SUBACK or nonce are on their way
        self._unbarred: dict[int, float] = {}  # batches that are granted → when to send their nonce
        self._absent: dict[str, float] = {}  # → when to ask again
        self._attempts: dict[str, int] = {}
        self._subscribed: set[str] = set()
        self._idle: list[str] = []  # subscribed for no more reason
        self._batches: dict[int, tuple[str, ...]] = {}
        self._batch = 0
        self._actions: list[Action] = []
        self._needed: list[str] = []
        self._online = False
        self._heard_s = 0.0

    # --- what happened ----------------------------------------------------------------------------------------

    @property
    def remaining(self) -> frozenset[str]:
        """What has not been taken."""
        return frozenset(self._remaining)

    @property
    def finished(self) -> bool:
        """Everything is here, or (not patient) whatever is not here is absent."""
        return not self._remaining or (not self._patient and not self._waiting and not self._asked)

    def wants(self, digest: str) -> bool:
        return digest in self._remaining

    def connected(self, now_s: float) -> None:
        """A new, clean connection: nothing is subscribed any more."""
        self.disconnected()
        self._online = True
        self._heard_s = now_s

    def disconnected(self) -> None:
        self._online = False
        again = [*self._asked, *self._absent]
        self._waiting.extend(digest for digest in again if digest in self._remaining)
        for state in (self._asked, self._absent, self._subscribed, self._idle, self._batches, self._unbarred):
            state.clear()

    def granted(self, batch: int, problems: tuple[str | None, ...], now_s: float) -> None:
        """The broker has answered a Subscribe; a problem for each filter it refused."""
        self._heard_s = now_s
        digests = self._batches.get(batch, ())
        refused = [digest for digest, problem in zip(digests, problems, strict=False) if problem is not None]
        if refused:
            self._subscribed.difference_update(refused)
            self._lose(refused, now_s)
            detail = f"the broker refuses {len(refused)} subscriptions: {next(filter(None, problems))}"
            self._actions.append(Trouble(Reason.MISSING_CHUNK, detail))
        if digests:
            self._unbarred[batch] = now_s + (BARRIER_AFTER_S if self._patient else 0)

    def echoed(self, batch: int, now_s: float) -> None:
        """The nonce of a batch is back: what of it exists is here, or at most a moment away."""
        self._heard_s = now_s
        for digest in self._batches.pop(batch, ()):
            if digest in self._asked:
                self._asked[digest] = now_s + self._grace_s

    def arrived(self, digest: str, now_s: float) -> bool:
        """A payload has come; says whether it is wanted. `taken` or `spoilt` must follow."""
        self._heard_s = now_s
        if digest not in self._remaining:
            return False
        self._asked.pop(digest, None)
        if self._absent.pop(digest, None) is not None:
            self._absent = dict.fromkeys(self._absent, now_s)  # a publisher is at work: ask for the others at once
        return True

    def taken(self, digest: str) -> None:
        """It is verified and kept."""
        self._remaining.discard(digest)
        if digest in self._subscribed:
            self._idle.append(digest)

    def spoilt(self, digest: str, reason: Reason, detail: str, now_s: float) -> None:
        """What came under this name is something else (or nothing: it was cleared). It stays subscribed."""
        if digest not in self._waiting:  # it came for somebody else before we asked
            self._lose([digest], now_s)
        self._actions.append(Trouble(reason, detail))

    def leave(self) -> tuple[str, ...]:
        """It is over, finished or not: what is still subscribed."""
        subscribed, self._subscribed = tuple(self._subscribed), set()
        return subscribed

    # --- what to do -------------------------------------------------------------------------------------------

    def step(self, now_s: float) -> list[Action]:
        """What is to be done now, in order."""
        if self._online:
            due_s = self.wake_s()
            if self._needed or (due_s is not None and due_s <= now_s):
                self._bar(now_s)
                self._judge(now_s)
                self._revive(now_s)
            self._top_up()
        actions, self._actions = self._actions, []
        return actions

    def wake_s(self) -> float | None:
        """When to ask for a step even if nothing happens."""
        times = [time for time in self._asked.values() if time is not None]
        times += self._unbarred.values()
        times += self._absent.values()
        if self._asked:
            times.append(self._heard_s + STALL_S)
        return min(times) if times else None

    def _bar(self, now_s: float) -> None:
        for batch in [batch for batch, due_s in self._unbarred.items() if due_s <= now_s]:
            del self._unbarred[batch]
            if any(digest in self._asked for digest in self._batches[batch]):
                self._actions.append(Barrier(batch))
            else:
                del self._batches[batch]

    def _judge(self, now_s: float) -> None:
        absent = [digest for digest, due_s in self._asked.items() if due_s is not None and due_s <= now_s]
        if absent:
            self._lose(absent, now_s)
            detail = f"{len(self._absent)} chunks are not on the broker, {absent[0][:12]}… among them"
            self._actions.append(Trouble(Reason.MISSING_CHUNK, detail))
        if self._needed:
            self._actions.append(Need(tuple(self._needed[:MAX_NEED])))
            self._needed.clear()
        if self._asked and now_s - self._heard_s >= STALL_S:
            self._heard_s = now_s
            self._actions.append(Reconnect())

    def _lose(self, digests: list[str], now_s: float) -> None:
        for digest in digests:
            self._asked.pop(digest, None)
            attempt = self._attempts[digest] = self._attempts.get(digest, 0) + 1
            longest_s = min(_RETRY_LONGEST_S, _RETRY_FIRST_S * 2 ** min(attempt - 1, 10))
            if self._patient:
                self._absent[digest] = now_s + self._uniform(0, longest_s)
                self._needed.append(digest)
            elif digest in self._subscribed:
                self._idle.append(digest)

    def _revive(self, now_s: float) -> None:
        """What was absent long enough is asked for again."""
        for digest in [digest for digest, due_s in self._absent.items() if due_s <= now_s]:
            del self._absent[digest]
            self._waiting.append(digest)
            if digest in self._subscribed:
                self._idle.append(digest)  # some brokers send a retained message only to a new subscription

    def _top_up(self) -> None:
        """Ask for more once two places are free. What is absent keeps a place only while nobody else wants it."""
        if not self._waiting or len(self._asked) > max(0, self.window - _TOGETHER):
            if not self._remaining or len(self._idle) > self.window // 2:
                self._unsubscribe()
            return
        ask = self._next(min(self.window - len(self._asked), self.allowance))
        kept = [digest for digest in self._subscribed if digest in self._absent]
        surplus = len(self._asked) + len(ask) + len(kept) - self.window
        self._idle += kept[: max(0, surplus)]
        self._unsubscribe()
        for start in range(0, len(ask), MAX_FILTERS):
            batch = tuple(ask[start : start + MAX_FILTERS])
            self._batch += 1
            self._batches[self._batch] = batch
            self._asked.update(dict.fromkeys(batch))
            self._subscribed.update(batch)
            self._actions.append(Subscribe(self._batch, batch))

    def _next(self, count: int) -> list[str]:
        found: list[str] = []
        while self._waiting and len(found) < count:
            digest = self._waiting.popleft()
            if digest in self._remaining:  # else it came for somebody else before we asked
                found.append(digest)
        return found

    def _unsubscribe(self) -> None:
        if self._idle:
            self._subscribed.difference_update(self._idle)
            self._actions.append(Unsubscribe(tuple(self._idle)))
            self._idle.clear()
