"""What this device trusts, on its disk: for each channel the document believed last, and the floor of the clock.

One file for each channel holds the target and the TUF metadata that proves it; roots are shared among the channels. One
more holds the newest time at which a believed document was signed, and which keys said so. All are replaced
atomically by one thread. When documents are judged is left to `documents`.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edge_agent import schema
from edge_agent.clock import Clock
from edge_agent.disk import Disk
from edge_agent.errors import StorageError
from edge_agent.release.document import Target
from edge_agent.release.trust import Verified, created_s, share_roots

_LOG = logging.getLogger(__name__)
FLOOR_FILE = "trust/clock.json"  # no channel's: theirs have two dots
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Channel:
    """A release topic: TUF's unit of trust here."""

    model: str
    channel: str

    @property
    def file(self) -> str:
        return f"trust/{self.model}.{self.channel}.json"  # neither part may hold a dot


@dataclass(frozen=True, slots=True)
class Believed:
    """What is kept for a channel."""

    target: Target
    trusted: str  # the verified metadata, as `release.trust` gave it


@dataclass(frozen=True, slots=True)
class Floor:
    """The newest time that documents have been signed at: a clock that shows less is wrong."""

    signed_s: float = 0.0
    keys: tuple[str, ...] = ()  # those that could say so; when none of them counts any more, it is forgotten

    def after(self, verified: Verified) -> "Floor":
        """The floor once `verified` is believed: never lower while a key counts that it stands on."""
        signed_s = verified.signed_s or created_s(verified.target)
        forgotten = self.keys and verified.online and not set(self.keys) & set(verified.online)
        return Floor(signed_s if forgotten else max(self.signed_s, signed_s), verified.online or self.keys)


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
        floor_keys: tuple[str, ...],
        device_class: str | None,
    ) -> Verified: ...


class Trusted:
    """Believes documents, and remembers what it has believed. Not thread-safe."""

    def __init__(
        self,
        disk: Disk,
        root: bytes,
        clock: Clock,
        verify: Verify,
        *,
        device_class: str = "",
        is_synchronized: Callable[[], bool] = lambda: True,
    ) -> None:
        self._disk = disk
        self._root = root
        self._clock = clock
        self._verify = verify
        self._device_class = device_class
        self._is_synchronized = is_synchronized
        self._believed: dict[Channel, Believed] = {}
        self._floor = _read(disk, FLOOR_FILE, Floor) or Floor()
        self._told_s = clock.monotonic_s()  # when the floor was learned, as far as we know

    def recall(self, channel: Channel) -> Target | None:
        """What this channel wanted when the device last believed a document of it."""
        believed = _read(self._disk, channel.file, Believed)
        if believed is None:
            return None
        self._believed[channel] = believed
        if not self._floor.keys:  # kept by an agent that had no file for the floor
            self._floor = Floor(max(self._floor.signed_s, created_s(believed.target)))
        return believed.target

    def believe(self, channel: Channel, payload: bytes) -> Verified:
        """Check a document and remember it.

        Raises:
            TrustError: it is not to be believed; nothing has changed.
            StorageError: it cannot be remembered, so it is not believed yet.
            ConfigError: the device's root is none.
        """
        before = self._believed.get(channel)
        others = [believed.trusted.encode() for other, believed in self._believed.items() if other != channel]
        verified = self._verify(
            self._root,
            share_roots(before.trusted.encode() if before else None, others),
            payload,
            model=channel.model,
            channel=channel.channel,
            now_s=self._clock_s(),
            floor_s=self._floor_s(),
            floor_keys=self._floor.keys,
            device_class=self._device_class,
        )
        believed, floor = Believed(verified.target, verified.trusted.decode()), self._floor.after(verified)
        if floor != self._floor:  # first: a cut between the two leaves a floor that is not too low
            self._disk.write_atomic(FLOOR_FILE, json.dumps(schema.dump(floor)).encode())
            self._floor, self._told_s = floor, self._clock.monotonic_s()
        if believed != before:
            self._disk.write_atomic(channel.file, json.dumps(schema.dump(believed)).encode())
            self._believed[channel] = believed
        return verified

    def now_s(self) -> float:
        """The time that expiry is judged by: the wall clock only where a time server has set it.

        Else the floor, and the time that has passed since it was learned: it is certainly not earlier.
        """
        return max(self._clock_s(), self._floor_s())

    def _clock_s(self) -> float:
        return self._clock.now_s() if self._is_synchronized() else 0.0

    def _floor_s(self) -> float:
        passed_s = self._clock.monotonic_s() - self._told_s
        return self._floor.signed_s + passed_s if self._floor.signed_s else 0.0


def read_target(disk: Disk, channel: Channel) -> Target | None:
    """What a channel wanted when the device last believed a document of it; None where that is not known."""
    believed = _read(disk, channel.file, Believed)
    return None if believed is None else believed.target


def _read(disk: Disk, name: str, kind: type[Kind]) -> Kind | None:
    try:
        if not disk.exists(name):
            return None
        return schema.parse(kind, json.loads(disk.read(name)), strict=False)
    except (ValueError, RecursionError, schema.SchemaError, StorageError):
        # Written atomically, so this is a failing disk. The broker's document will be judged from the root again.
        _LOG.warning("%s cannot be read; it is ignored until the next document", name)
        return None
