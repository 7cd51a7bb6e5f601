"""Which share of a channel's devices gets a release now: what is signed of it, and who belongs to it.

Membership needs no list and no server: device and laptop ask the same pure function. What a device does when it does
not belong to it is left to `update.eligibility`.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from edge_agent.release.manifest import IDENTIFIER

EVERYBODY = 100  # percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The signed word on who gets a release. Canaries get it at any percentage, also at 0."""

    percent: int = EVERYBODY  # whole percents: signed JSON knows no fractions
    canary_devices: tuple[str, ...] = ()  # ids
    canary_labels: tuple[str, ...] = ()  # of `device.labels` in the device's configuration
    # paused: `edgectl rollout run` does not widen it; halted: also, devices that have not begun do not begin
    state: Literal["active", "paused", "halted"] = "active"
    since: str | None = None  # RFC 3339, UTC: when this percentage was signed

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= EVERYBODY:
            raise ValueError(f"percent must be 0 to {EVERYBODY}, found {self.percent}")
        for device in self.canary_devices:
            if not IDENTIFIER.fullmatch(device):
                raise ValueError(f"canary device {device!r} must be 1 to 64 of a-z, 0-9, _ and -")
        if not all(self.canary_labels):
            raise ValueError("a canary label is empty")


def place_of(device: str, digest: str) -> int:
    """Where a device stands in the rollout of one release, from 0 to 99.

    The first eight bytes of sha-256 of `<digest>/<device id>`, as a big-endian number, times 100, divided by 2^64 and
    rounded down. Another place for each release, so that it is not always the same devices that go first.
    """
    head = hashlib.sha256(f"{digest}/{device}".encode()).digest()[:8]
    return int.from_bytes(head, "big") * EVERYBODY >> 64


def belongs(rollout: Rollout, digest: str, device: str, labels: Collection[str]) -> bool:
    """Whether a device is one of those that get the release: a canary, or its place is below the percentage.

    Widening never takes one out.
    """
    return is_canary(rollout, device, labels) or place_of(device, digest) < rollout.percent


def is_canary(rollout: Rollout, device: str, labels: Collection[str]) -> bool:
    return device in rollout.canary_devices or any(label in rollout.canary_labels for label in labels)
