"""Release documents become targets: verified in a child, remembered durably, one file for each channel.

What a document says is believed only after `release.trust.verify`; what was believed last is kept with the TUF
metadata that proves it, so that after a start the device knows what its channels want before any broker has spoken,
and nobody can show it an older document. Acting on a target is left to the updaters.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Protocol, Self

from edge_agent import schema
from edge_agent.clock import Clock
from edge_agent.disk import Disk
from edge_agent.errors import EdgeError, StorageError
from edge_agent.release.document import Target
from edge_agent.release.trust import Verified, created_s

_LOG = logging.getLogger(__name__)
_FIRST_RETRY_S = 30.0  # doubles
_LONGEST_RETRY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Channel:
    """A release topic: TUF's unit of trust here."""

    model: str
    channel: str

    @property
    def file(self) -> str:
        return f"trust/{self.model}.{self.channel}.json"  # neither part may hold a dot


@dataclass(frozen=True, slots=True)
class _Believed:
    """What is kept for a channel."""

    target: Target
    trusted: str  # the verified metadata, as `release.trust` gave it


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Judged again later: a clock may be set, a disk freed, a busy machine become idle."""

    payload: bytes
    pause_s: float
    retry_at_s: float


class Verify(Protocol):
    """`release.trust.verify`, or a fake of it."""

    def __call__(
        self,
        root: bytes,
        trusted: bytes | None,
        candidate: bytes,
        *,
        model: str,
        channel: str,
        now_s: float,
        floor_s: float,
    ) -> Verified: ...


class Documents:
    """Verifies on a thread of its own: a verification takes half a second of a small machine."""

    def __init__(
        self,
        disk: Disk,
        root: bytes,
        clock: Clock,
        verify: Verify,
        *,
        on_target: Callable[[Channel, Target], None],
        on_refusal: Callable[[Channel, EdgeError], None],
    ) -> None:
        self._disk = disk
        self._root = root
        self._clock = clock
        self._verify = verify
        self._on_target = on_target
        self._on_refusal = on_refusal
        self._believed: dict[Channel, _Believed] = {}
        self._refused: dict[Channel, _Refusal] = {}
        self._offers: SimpleQueue[tuple[Channel, bytes]] = SimpleQueue()
        self._wake = Event()
        self._stop = Event()
        self._thread = Thread(target=self._work, name="documents", daemon=True)

    def recall(self, channel: Channel) -> Target | None:
        """What this channel wanted when the device last believed a document of it."""
        if not self._disk.exists(channel.file):
            return None
        try:
            believed = schema.parse(_Believed, json.loads(self._disk.read(channel.file)), strict=False)
        except (ValueError, schema.SchemaError, StorageError):
            # Written atomically, so this is a failing disk. The broker's document will be judged from the root again.
            _LOG.warning("%s cannot be read; it is ignored until the next document", channel.file)
            return None
        self._believed[channel] = believed
        return believed.target

    def offer(self, channel: Channel, payload: bytes) -> None:
        """A document has arrived. Returns at once."""
        self._offers.put((channel, payload))
        self._wake.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()  # before looking: what comes while we look wakes us again
            offer = self._next()
            if offer is not None:
                self._consider(*offer)
            elif self._refused:
                due_s = min(refusal.retry_at_s for refusal in self._refused.values())
                self._clock.wait(self._wake, max(0.0, due_s - self._clock.monotonic_s()))
            else:
                self._wake.wait()

    def _next(self) -> tuple[Channel, bytes] | None:
        """What has come since, else what was refused and is due to be judged again."""
        try:
            while True:
                channel, payload = self._offers.get_nowait()
                before = self._refused.get(channel)
                if before is None or before.payload != payload:  # retained messages come again with every connection
                    return channel, payload
        except Empty:
            now_s = self._clock.monotonic_s()
            due = ((channel, old.payload) for channel, old in self._refused.items() if old.retry_at_s <= now_s)
            return next(due, None)

    def _consider(self, channel: Channel, payload: bytes) -> None:
        try:
            self._judge(channel, payload)
        except EdgeError as error:
            before = self._refused.get(channel)
            again = before is not None and before.payload == payload
            pause_s = min(before.pause_s * 2, _LONGEST_RETRY_S) if before and again else _FIRST_RETRY_S
            self._refused[channel] = _Refusal(payload, pause_s, self._clock.monotonic_s() + pause_s)
            self._on_refusal(channel, error)
        else:
            self._refused.pop(channel, None)

    def _judge(self, channel: Channel, payload: bytes) -> None:
        before = self._believed.get(channel)
        verified = self._verify(
            self._root,
            before.trusted.encode() if before else None,
            payload,
            model=channel.model,
            channel=channel.channel,
            now_s=self._clock.now_s(),
            floor_s=self._floor_s(),
        )
        believed = _Believed(verified.target, verified.trusted.decode())
        if believed != before:
            self._disk.write_atomic(channel.file, json.dumps(schema.dump(believed)).encode())
            self._believed[channel] = believed
        self._on_target(channel, verified.target)

    def _floor_s(self) -> float:
        """A clock that shows less than this is wrong: something signed and believed was made then."""
        return max((created_s(believed.target) for believed in self._believed.values()), default=0.0)
