"""How far a rollout is: who belongs to it, and what has come of it on each device, from what the fleet reports.

Pure. What is done because of it is left to `plan`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from converter.fleet.devices import Device
from edge_agent.link.messages import OutcomeReport, RejectionReport, StageReport
from edge_agent.release.document import Target
from edge_agent.release.rollout import belongs, is_canary, place_of


class Progress(IntEnum):
    """What has come of the release on a device. Of several stages with this model, the first in this order counts."""

    ROLLED_BACK = 0  # refused after it served
    REJECTED = 1  # refused before it served
    HELD = 2  # not taken, for a reason that the rollout has nothing to do with
    UNDER_WAY = 3
    WAITING = 4  # not begun
    COMMITTED = 5

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", " ")


_ENDED = frozenset({Progress.ROLLED_BACK, Progress.REJECTED, Progress.COMMITTED})
_FAILED = frozenset({Progress.ROLLED_BACK, Progress.REJECTED})
# of a problem: the document itself is not followed on this device
_NOT_BELIEVED = frozenset({"signature", "expired", "replayed", "wrong_target", "wrong_class", "integrity"})


@dataclass(frozen=True, slots=True)
class Member:
    """A device that follows the channel."""

    device: str
    online: bool
    progress: Progress
    detail: str  # in a few words
    place: int  # 0 to 99
    canary: bool

    @property
    def ended(self) -> bool:
        return self.progress in _ENDED

    @property
    def failed(self) -> bool:
        return self.progress in _FAILED

    @property
    def reachable(self) -> bool:
        """Whether it can tell anything of the release, or has."""
        return self.online or self.ended


@dataclass(frozen=True, slots=True)
class Census:
    """All devices that follow a channel, with its newest release."""

    target: Target
    members: tuple[Member, ...]  # those that belong to the rollout
    others: tuple[Member, ...]
    completed: datetime | None = None  # `Published.completed`

    @property
    def reachable(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.reachable)

    @property
    def unfinished(self) -> tuple[Member, ...]:
        """Those of which an answer is still to be expected."""
        open_ = (Progress.UNDER_WAY, Progress.WAITING)
        return tuple(member for member in self.members if member.online and member.progress in open_)

    @property
    def least_percent(self) -> int:
        """The smallest percentage that one of the known devices belongs to."""
        return min((0 if each.canary else each.place + 1 for each in (*self.members, *self.others)), default=0)


def take(target: Target, devices: Iterable[Device], completed: datetime | None = None) -> Census:
    """Count the devices that follow the channel of `target`, by id."""
    members: list[Member] = []
    others: list[Member] = []
    for device in devices:
        stages = [stage for stage in _stages(device) if (stage.model, stage.channel) == (target.model, target.channel)]
        if not stages or device.reported is None:
            continue
        labels = device.reported.labels
        inside = belongs(target.rollout, target.digest, device.id, labels)
        progress, detail = min(_progress(target, stage, inside=inside) for stage in stages)
        place, canary = place_of(device.id, target.digest), is_canary(target.rollout, device.id, labels)
        member = Member(device.id, device.online is True, progress, detail, place, canary)
        (members if inside else others).append(member)
    return Census(target, tuple(members), tuple(others), completed)


def _stages(device: Device) -> list[StageReport]:
    pipelines = device.reported.pipelines if device.reported else {}
    return [stage for stages in pipelines.values() for stage in stages.values()]


def _progress(target: Target, stage: StageReport, *, inside: bool) -> tuple[Progress, str]:
    digest = target.digest
    problem = f"{stage.problem.reason}: {stage.problem.detail}" if stage.problem else ""
    if stage.current is not None and stage.current.digest == digest:
        return Progress.COMMITTED, ""
    if stage.candidate is not None and stage.candidate.digest == digest:
        return Progress.UNDER_WAY, ", ".join(filter(None, (stage.phase, problem)))
    rejection = next((each for each in stage.rejected if each.digest == digest), None)
    if rejection is not None and not _is_to_be_lifted(target, stage):
        return _refusal(rejection, stage.last)
    if stage.held is not None and stage.held.digest == digest and _is_lasting(target, stage.held.reason, inside=inside):
        return Progress.HELD, f"{stage.held.reason}: {stage.held.detail}"
    not_believed = stage.problem is not None and stage.problem.reason in _NOT_BELIEVED
    return Progress.HELD if not_believed else Progress.WAITING, problem


def _refusal(rejection: RejectionReport, last: OutcomeReport | None) -> tuple[Progress, str]:
    """Whether it served before is known only while nothing else has ended since."""
    if last is None or last.digest != rejection.digest:
        return Progress.REJECTED, rejection.reason
    progress = Progress.ROLLED_BACK if last.result == "rolled_back" else Progress.REJECTED
    return progress, ": ".join(filter(None, (rejection.reason, last.detail)))


def _is_to_be_lifted(target: Target, stage: StageReport) -> bool:
    """Whether the device has not heard yet that it is to try again."""
    return target.digest in target.lifts.digests and target.lifts.number > (stage.lifted or 0)


def _is_lasting(target: Target, reason: str, *, inside: bool) -> bool:
    """Whether what a device says of an earlier document holds for this one too."""
    match reason:
        case "halted":
            return target.rollout.state == "halted"
        case "not_in_rollout":
            return not inside
        case "downgrade":
            return not target.downgrade
        case "rejected_before":
            return False  # its rejection tells
        case _:
            return True
