"""Drives a rollout through its stages: looks, asks `plan.next_move`, signs what it says, looks again.

Remembers nothing: killed at any point and started again, it goes on. What a move is, is left to `plan`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

from converter.broker import Broker
from converter.errors import RolloutStoppedError
from converter.fleet import census
from converter.fleet.census import Census
from converter.fleet.devices import look
from converter.fleet.plan import Move, Plan, next_move
from converter.publish import succession
from converter.publish.orders import Publisher
from converter.publish.repository import Published
from edge_agent.clock import Clock
from edge_agent.errors import LinkError
from edge_agent.release.document import Target

LOOK_S = 10.0  # between two looks at the fleet

Say = Callable[[str], None]


class _Told:
    """Says nothing twice in a row, of each thing that it tells of."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last: dict[str, str] = {}

    def once(self, what: str, sentence: str) -> None:
        if self._last.get(what) != sentence:
            self._say(sentence)
            self._last[what] = sentence


def count(broker: Broker, publisher: Publisher) -> Census:
    """Who belongs to the rollout of what the channel gives, and how far each is."""
    there = publisher.read(broker)
    return census.take(there.target, look(broker), there.completed)


def drive(publisher: Publisher, plan: Plan, clock: Clock, say: Say) -> Census:
    """Until the last stage of `plan` is over.

    Raises:
        RolloutStoppedError: a rule of `plan` has halted it, or would if others signed that, or it is halted or paused.
        LinkError: the broker cannot be reached to begin with; later it is tried again.
        TrustError, PublishError: the document cannot be read or replaced.
    """
    connected = False
    told = _Told(say)
    while True:
        wait_s: float | None = LOOK_S
        try:
            with publisher.connect() as broker:
                counted = count(broker, publisher)
            connected = True
            move = next_move(counted, plan, _now(clock))
            sentence = f"{counted.target.version} {succession.describe(counted.target.rollout)}: {move.why}"
            told.once("look", sentence)
            if move.kind == "finished":
                return counted
            wait_s = _act(publisher, counted.target, move, _now(clock), told)
        except LinkError as error:
            if not connected:
                raise
            say(f"{error}; trying again")
        if wait_s is not None:
            clock.wait(Event(), wait_s)


def _act(publisher: Publisher, seen: Target, move: Move, now: datetime, told: _Told) -> float | None:
    """Do it; gives how long to wait before the next look."""

    def widen(there: Published, _: int) -> Target:
        # What was judged is widened, and nothing that somebody has published since.
        return succession.widen(seen, move.percent, now) if there.target == seen else there.target

    def halt(there: Published, _: int) -> Target:
        return succession.turn(there.target, "halted", now) if there.target.digest == seen.digest else there.target

    if move.kind == "wait":
        return min(LOOK_S, move.wait_s or LOOK_S)
    if move.kind == "widen":
        ordered = publisher.amend(widen, now)
        if ordered.pending is None:
            return None
        told.once(
            "pending", f"to widen it to {move.percent} %, {ordered.what_to_do}; it goes on when that is published"
        )
        return LOOK_S
    name, percent = f"{seen.model} {seen.version} on {seen.channel}", seen.rollout.percent
    if move.kind == "halt":
        ordered = publisher.amend(halt, now)
        if ordered.pending is not None:
            raise RolloutStoppedError(
                f"the rollout of {name} has to be halted at {percent} %, and is not yet: {move.why}",
                hint=ordered.what_to_do,
            )
    raise RolloutStoppedError(
        f"the rollout of {name} is {'paused' if move.kind == 'paused' else 'halted'} at {percent} %: {move.why}",
        hint=f"to go on: edgectl rollout widen {percent} {seen.model} --channel {seen.channel}, then run this again; "
        f"to go back: edgectl rollout revert {seen.model} --channel {seen.channel}",
    )


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now_s(), UTC)
