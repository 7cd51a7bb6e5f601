"""What may follow what on a channel, and what the next document keeps of the one before.

Pure: targets in, targets out. Signing and sending are left to `push` and `orders`.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from converter.publish.repository import Published
from edge_agent.errors import EdgeError
from edge_agent.release.document import Lifts, Target
from edge_agent.release.rollout import EVERYBODY, Rollout
from edge_agent.release.version import is_older

MAX_PREVIOUS = 3  # targets that a document keeps of those before it
State = Literal["active", "paused", "halted"]


class PublishError(EdgeError):
    """The broker holds something else than what was published, or what is asked cannot follow what is there."""


def check(target: Target, rollout: Rollout | None, there: Published | None) -> None:
    """Whether a push of `target` makes sense after what the channel gives.

    Raises:
        PublishError: it is older than that, or the same release with another rollout.
    """
    if there is None or there.revoked:  # a thief's word binds nobody
        return
    given, model, channel = there.target, target.model, target.channel
    if given.digest != target.digest and is_older(target.version, given.version):
        raise PublishError(
            f"{model} {target.version} is older than {given.version}, which {channel} gives: no device that has that "
            "would take it",
            hint=f"to go back to it: edgectl release revert {model} --channel {channel} --artifact FILE",
        )
    if given.digest == target.digest and rollout is not None and not _is_same(rollout, given.rollout):
        raise PublishError(
            f"{model} {target.version} is published on {channel} already, with another rollout "
            f"({describe(given.rollout)})",
            hint=f"to change it: edgectl rollout widen PERCENT {model} --channel {channel}",
        )


def follow(target: Target, rollout: Rollout | None, there: Published | None, now: datetime) -> Target:
    """`target` as it is to be signed: what the channel gives already keeps all that was said of it.

    What a key has signed that was taken out of use since is not gone on from: devices that took it are ordered back.
    """
    if there is not None and there.revoked:
        return replace(target, rollout=replace(rollout or Rollout(), since=moment(now)), downgrade=True)
    if there is not None and there.target.digest == target.digest:
        return as_ordered(replace(target, created=moment(now)), there.target)
    given = replace(rollout or Rollout(), since=moment(now))
    return replace(target, rollout=given, previous=previous_of(there, target.digest))


def as_ordered(target: Target, given: Target) -> Target:
    """`target`, with all that was ordered of the same release in `given`."""
    return replace(target, rollout=given.rollout, downgrade=given.downgrade, lifts=given.lifts, previous=given.previous)


def is_given(target: Target, given: Target) -> bool:
    """Whether the channel gives this release already, to the same devices and in the same way."""
    return as_ordered(replace(target, created=given.created), given) == given


def previous_of(there: Published | None, digest: str) -> tuple[Target, ...]:
    """What a document for the release `digest` keeps of the one it replaces: newest first, each release once."""
    if there is None:
        return ()
    targets = (there.target, *there.target.previous)
    kept = [replace(each, previous=(), lifts=Lifts(), patches=()) for each in targets if each.digest != digest]
    return tuple(kept[:MAX_PREVIOUS])


def is_same_order(one: Target, other: Target) -> bool:
    """Whether they differ in nothing but when they were made."""
    return _timeless(one) == _timeless(other)


# --- orders about the release that the channel gives -----------------------------------------------------------


def widen(target: Target, percent: int, now: datetime) -> Target:
    """For at least so many devices; what was paused or halted goes on.

    Raises:
        PublishError: that would be fewer: no device gives a release back because of a percentage.
    """
    if percent < target.rollout.percent:
        raise PublishError(
            f"the rollout of {target.model} {target.version} is at {target.rollout.percent} % already; "
            f"it cannot be made narrower ({percent} %)",
            hint="edgectl rollout halt stops it, edgectl rollout revert takes it back",
        )
    if (percent, "active") == (target.rollout.percent, target.rollout.state):
        return target
    return _with(target, replace(target.rollout, percent=percent, state="active", since=moment(now)), now)


def turn(target: Target, state: State, now: datetime) -> Target:
    """Pause or halt. A rollout that is halted is not made a paused one: that would start it again."""
    if target.rollout.state == state:
        return target
    if target.rollout.state == "halted":
        raise PublishError(
            f"the rollout of {target.model} {target.version} is halted, which is more than {state}",
            hint=f"edgectl rollout widen {target.rollout.percent} lets it go on",
        )
    return _with(target, replace(target.rollout, state=state), now)


def retry(target: Target, number: int, now: datetime) -> Target:
    """Have devices that rejected this release forget that, once; `number` is that of the document."""
    return replace(target, lifts=Lifts(number, (target.digest,)), created=moment(now))


def revert(there: Published, to: Target, now: datetime) -> Target:
    """An order to go back to `to`, for everybody. What is left by it is for nobody any more.

    Raises:
        PublishError: that is what the channel gives.
    """
    if to.digest == there.target.digest:
        raise PublishError(
            f"{to.model} {to.version} is what {to.channel} gives already", hint="pass --to another VERSION"
        )
    left = replace(there.target, rollout=replace(there.target.rollout, state="halted"))
    kept = previous_of(replace(there, target=left), to.digest)
    given = Rollout(since=moment(now))
    return replace(to, created=moment(now), rollout=given, downgrade=True, lifts=Lifts(), previous=kept)


def earlier(target: Target, to: str | None) -> Target | None:
    """What to go back to, of what the document knows: version or digest `to`, else the last that is not newer."""
    known: Iterable[Target] = target.previous
    if to is None:
        known = (each for each in known if not is_older(target.version, each.version))
    else:
        known = (each for each in known if each.version == to or (len(to) >= 8 and each.digest.startswith(to)))
    return next(iter(known), None)


def describe(rollout: Rollout) -> str:
    """`5 %, canaries porch-pi and label lab, halted`."""
    words = ["for everybody" if rollout.percent == EVERYBODY else f"{rollout.percent} %"]
    canaries = [*rollout.canary_devices, *(f"label {label}" for label in rollout.canary_labels)]
    if canaries and rollout.percent < EVERYBODY:
        words.append(f"canaries {', '.join(canaries)}")
    if rollout.state != "active":
        words.append(rollout.state)
    return ", ".join(words)


def moment(now: datetime) -> str:
    """As it is signed."""
    return now.astimezone(UTC).isoformat(timespec="seconds")


def _with(target: Target, rollout: Rollout, now: datetime) -> Target:
    return replace(target, rollout=rollout, created=moment(now))


def _timeless(target: Target) -> Target:
    lifts = replace(target.lifts, number=0)  # which is that of the document
    return replace(target, created="", rollout=replace(target.rollout, since=None), lifts=lifts)


def _is_same(asked: Rollout, there: Rollout) -> bool:
    return replace(asked, since=None, state="active") == replace(there, since=None, state="active")
