"""Whether this device takes what its channel gives, or holds, and why.

Pure. Asked before every step, so that a halt that comes while a release is on its way ends it. A release is *begun*
once its trial stands in the record: before (fetching, staged, in the probe) a halt ends it, with the bytes left where
they are; after, it goes on until it is committed or rejected. What a committed release is, no halt takes back.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.release.document import Target
from edge_agent.release.rollout import belongs, place_of
from edge_agent.release.version import is_older
from edge_agent.update.machine import Record, Trial


class HoldReason(StrEnum):
    """Why a release is not taken although its document is believed. Closed: the wire protocol lists these."""

    NOT_IN_ROLLOUT = "not_in_rollout"
    HALTED = "halted"
    DOWNGRADE = "downgrade"  # older than what serves, and nobody has ordered that
    REJECTED_BEFORE = "rejected_before"  # and the rejection is not lifted


@dataclass(frozen=True, slots=True)
class Device:
    """Who asks."""

    id: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """What a release on the disk calls itself."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Held:
    """What is not taken, why, and that in a sentence."""

    digest: str
    version: str
    reason: HoldReason
    detail: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to strive for (None: nothing), and what of the channel's newest word is not followed."""

    aim: Target | None
    held: Held | None = None


def decide(target: Target, device: Device, record: Record, current: Named | None) -> Decision:
    """What this device makes of its channel's word. `current` is what `record.current` calls itself.

    A device to which the newest release is not given follows the word before it, as if the newest had not been said:
    so a rollout neither leaves a new device without any release, nor breaks off the update or the revert before it.
    """
    held = _held(target, device, record, current)
    if held is None:
        return Decision(target)
    if held.reason in (HoldReason.NOT_IN_ROLLOUT, HoldReason.HALTED):
        for earlier in target.previous:
            if _held(earlier, device, record, current) is None:
                return Decision(earlier, held)
    return Decision(None, held)


def _held(target: Target, device: Device, record: Record, current: Named | None) -> Held | None:
    if target.digest == record.current:
        return None
    why = _rejected(target, record)
    if why is None and not _is_begun(target, record):
        why = _older(target, current) or _not_given(target, device.id, device.labels)
    return None if why is None else Held(target.digest, target.version, *why)


def _is_begun(target: Target, record: Record) -> bool:
    return isinstance(record.phase, Trial) and record.phase.digest == target.digest


def _rejected(target: Target, record: Record) -> tuple[HoldReason, str] | None:
    for rejection in record.rejected:
        if rejection.digest == target.digest:
            return (
                HoldReason.REJECTED_BEFORE,
                f"it was refused here before ({rejection.reason}); 'edgectl release retry' lifts that",
            )
    return None


def _older(target: Target, current: Named | None) -> tuple[HoldReason, str] | None:
    if current is None or target.downgrade or current.model != target.model:
        return None
    if not is_older(target.version, current.version):
        return None
    return (
        HoldReason.DOWNGRADE,
        f"{target.version} is older than {current.version}, which serves; 'edgectl release revert' orders that",
    )


def _not_given(target: Target, device: str, labels: Collection[str]) -> tuple[HoldReason, str] | None:
    rollout = target.rollout
    if rollout.state == "halted":
        return HoldReason.HALTED, "the rollout is halted, and its trial had not begun here"
    if belongs(rollout, target.digest, device, labels):
        return None
    place = place_of(device, target.digest)
    return HoldReason.NOT_IN_ROLLOUT, f"it is for {rollout.percent} % of the devices; this one's place is {place}"
