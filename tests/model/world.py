"""A device as small as it can be: the machine's record, what is desired, what is on the disk and what serves.

`moves` gives everything that can happen next: what the fleet may say, each way a step may turn out, a crash or a power
cut, bytes that rot, the operator. It does with `machine` what `updater` does; what is durable is the record alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from edge_agent.errors import InputError, Reason
from edge_agent.update.machine import Fetching, Idle, Record, Rejection, Staged, Trial

_HARD, _MENDABLE = Reason.GOLDEN_MISMATCH, Reason.INCOMPATIBLE
_MOST_ATTEMPTS = 2  # further ones are the same state


@dataclass(frozen=True, slots=True)
class World:
    record: Record = field(default_factory=Record)
    desired: str | None = None
    held: bool = False  # something was said, and it is not for this device
    sound: frozenset[str] = frozenset()  # whole on the disk
    proved: frozenset[str] = frozenset()  # have passed a probe here
    tried: frozenset[str] = frozenset()  # have passed a trial here
    served: str | None = None  # what the worker runs
    decided: Record | None = None  # by a trial that has ended, not yet remembered

    def remember(self, record: Record) -> "World":
        """The record is replaced atomically; what no record needs is swept."""
        kept = record.digests | ({self.desired} if self.desired else frozenset())
        return replace(self, record=_normal(record), sound=self.sound & kept)


@dataclass(frozen=True, slots=True)
class Move:
    what: str
    after: World


class Rules:
    """What may happen, with `machine` or a mutant of it."""

    def __init__(self, machine: ModuleType | Any, releases: str) -> None:
        self._machine = machine
        self._releases = tuple(releases)

    def moves(self, world: World, *, faults: bool = True) -> Iterator[Move]:
        """Everything that can happen next; without `faults`, only what the device does by itself, all going well."""
        yield from self.steps(world, faults=faults)
        if not faults:
            return
        for desired in (None, *self._releases):
            for held in (False, True) if desired else (False,):
                if (desired, held) != (world.desired, world.held):
                    yield Move(f"desire {desired} {held}", replace(world, desired=desired, held=held))
        yield Move("power cut", self._started_again(world))
        for digest in world.sound:
            yield Move(f"{digest} rots", replace(world, sound=world.sound - {digest}))
        yield from self._rolled_back(world)

    def steps(self, world: World, *, faults: bool) -> Iterator[Move]:
        """One turn of the updater, each way it may turn out."""
        if world.decided is not None:
            yield Move("remember", replace(world, decided=None).remember(world.decided))
            return
        serving = list(self._serve_committed(world, faults=faults))
        if serving:
            yield from serving
            return
        machine, record = self._machine, world.record
        wanted = None if world.held else world.desired
        match machine.next_step(record, wanted, held=world.held):
            case machine.Wait():
                return
            case machine.Begin(digest):
                yield Move("begin", world.remember(machine.fetch(record, digest)))
            case machine.Fetch(digest):
                there = replace(world, sound=world.sound | {digest})
                yield Move("stage", there.remember(machine.stage(record)))
                if faults:
                    yield Move("link fails", world.remember(machine.retry(record)))
                    yield Move("wrong bytes", world.remember(machine.reject(record, Reason.INTEGRITY)))
            case machine.Activate(digest):
                yield from self._prove(world, digest, faults=faults)
            case machine.Judge(digest):
                yield from self._judge(world, digest, faults=faults)
            case machine.GiveUp(_, reason):
                yield Move("give up", world.remember(machine.reject(record, reason)))
            case machine.Withdraw():
                yield Move("withdraw", world.remember(machine.withdraw(record)))

    def _prove(self, world: World, digest: str, *, faults: bool) -> Iterator[Move]:
        machine, record = self._machine, world.record
        if digest not in world.sound:
            yield Move("refetch", world.remember(machine.refetch(record)))
            return
        proved = replace(world, proved=world.proved | {digest})
        yield Move("activate", proved.remember(machine.activate(record)))
        if faults:
            for reason in (_HARD, _MENDABLE):
                yield Move(f"probe: {reason}", world.remember(machine.reject(record, reason)))

    def _judge(self, world: World, digest: str, *, faults: bool) -> Iterator[Move]:
        machine = self._machine
        begun = world.remember(machine.started(world.record))
        if digest not in world.sound:
            yield Move("it has rotten", replace(begun, decided=machine.withdraw(begun.record)))
            return
        serving = replace(begun, served=digest)
        passed = replace(serving, tried=serving.tried | {digest})
        yield Move("passes", replace(passed, decided=machine.commit(begun.record)))
        if faults:
            yield Move("power cut in the trial", self._started_again(begun))
            yield Move("worker crashes", replace(begun, served=None))
            yield Move("fails", replace(serving, decided=machine.reject(begun.record, Reason.TRIAL_ERRORS)))
            yield Move("agent stops", self._started_again(begun.remember(machine.stopped(begun.record))))

    def _serve_committed(self, world: World, *, faults: bool) -> Iterator[Move]:
        machine, record = self._machine, world.record
        on_trial = isinstance(record.phase, Trial) and world.served == record.phase.digest
        if on_trial or world.served == record.current:
            return
        if record.current is not None and record.current not in world.sound:
            yield Move("fall back", world.remember(machine.fall_back(record, Reason.ROTTEN)))
            return
        yield Move("serve", replace(world, served=record.current))
        if faults and record.current is not None and record.previous in world.sound:
            fallen = machine.fall_back(record, Reason.LOAD_FAILED)
            yield Move("serve the one before", replace(world.remember(fallen), served=record.previous))

    def _started_again(self, world: World) -> World:
        """A new process on what the disk holds: it looks whether that is whole before it serves or tries it."""
        machine = self._machine
        world = replace(world, served=None, decided=None).remember(machine.reconsider(world.record))
        while (current := world.record.current) is not None and current not in world.sound:
            world = world.remember(machine.fall_back(world.record, Reason.ROTTEN))
        match world.record.phase:
            case Staged(digest) if digest not in world.sound:
                return world.remember(machine.refetch(world.record))
            case Trial(digest) if digest not in world.sound:
                return world.remember(machine.withdraw(world.record))
        return world

    def _rolled_back(self, world: World) -> Iterator[Move]:
        if world.decided is not None:
            return
        try:
            record = self._machine.roll_back(world.record, world.sound.__contains__)
        except InputError:
            return
        yield Move("operator", world.remember(record))


def explore(
    rules: Rules,
    look: Callable[[World, Move], str | None],
    *,
    most: int = 50_000,
    represent: Callable[[World], World] = lambda world: world,
) -> dict[World, Move]:
    """Every world that can be reached from a new device, with how it was reached first.

    `represent` gives one world for all that are alike: only that one is gone on from (see `renamed`).

    Raises:
        AssertionError: `look` found something wrong with a move; the way to it is in the message.
    """
    start = World()
    reached: dict[World, tuple[World | None, str]] = {start: (None, "new")}
    waiting = [start]
    moves: dict[World, Move] = {start: Move("new", start)}
    while waiting:
        world = waiting.pop()
        for move in rules.moves(world):
            wrong = look(world, move)
            if wrong is not None:
                raise AssertionError(f"{wrong}\n" + "\n".join([*_way(reached, world), f"{move.what}: {move.after}"]))
            after = represent(move.after)
            if after not in reached:
                reached[after] = (world, move.what)
                moves[after] = move
                waiting.append(after)
        assert len(reached) < most, "the model has become too large to be explored"
    return moves


class Renamed:
    """One world for all that differ only by the names of their releases: a symmetry reduction.

    Nothing in the machine or in `Rules` tells releases apart but by whether two are the same one, so worlds that become
    each other by renaming have the same moves, renamed. Each release is described by all that a world says of it. Those
    descriptions, sorted, give the names; two releases of the same description are not told apart by anything.
    """

    def __init__(self, releases: str) -> None:
        self._releases = tuple(releases)
        self._known: dict[World, World] = {}

    def __call__(self, world: World) -> World:
        if world not in self._known:
            order = sorted(self._releases, key=lambda name: _description(world, name))
            is_one = order == list(self._releases) and world.decided is None  # whose rejections may have another order
            self._known[world] = world if is_one else renamed(world, dict(zip(order, self._releases, strict=True)))
        return self._known[world]


def _description(world: World, name: str) -> tuple[object, ...]:
    return (
        world.desired == name, world.served == name, name in world.sound, name in world.proved, name in world.tried,
        *_description_in(world.record, name), *(_description_in(world.decided, name) if world.decided else ()),
    )  # fmt: skip


def _description_in(record: Record, name: str) -> tuple[object, ...]:
    reason = next((each.reason.value for each in record.rejected if each.digest == name), "")
    return record.current == name, record.previous == name, record.candidate == name, reason


def renamed(world: World, names: Mapping[str, str]) -> World:
    """The same world, with other names for its releases."""

    def one(digest: str | None) -> str | None:
        return None if digest is None else names[digest]

    def record_of(record: Record) -> Record:
        phase = (
            record.phase if isinstance(record.phase, Idle) else replace(record.phase, digest=names[record.phase.digest])
        )
        rejected = tuple(Rejection(names[each.digest], each.reason) for each in record.rejected)
        last = None if record.last is None else replace(record.last, digest=names[record.last.digest])
        return replace(
            record, current=one(record.current), previous=one(record.previous), phase=phase, last=last,
            rejected=tuple(sorted(rejected, key=lambda each: each.digest)),
        )  # fmt: skip

    sound, proved, tried = (
        frozenset(map(names.__getitem__, each)) for each in (world.sound, world.proved, world.tried)
    )
    decided = None if world.decided is None else record_of(world.decided)
    return replace(
        world, record=record_of(world.record), desired=one(world.desired), served=one(world.served), decided=decided,
        sound=sound, proved=proved, tried=tried,
    )  # fmt: skip


def _way(reached: dict[World, tuple[World | None, str]], world: World) -> list[str]:
    steps: list[str] = []
    at: World | None = world
    while at is not None:
        before, what = reached[at]
        steps.append(f"{what}: {at}")
        at = before
    return steps[::-1]


def _normal(record: Record) -> Record:
    """Records that the machine treats alike are one state."""
    phase = record.phase
    if isinstance(phase, Fetching):
        phase = Fetching(phase.digest, min(phase.attempt, _MOST_ATTEMPTS))
    rejected = tuple(Rejection(each.digest, _kind(each.reason)) for each in record.rejected)
    return replace(record, phase=phase, rejected=tuple(sorted(rejected, key=lambda each: each.digest)), last=None)


def _kind(reason: Reason) -> Reason:
    return _MENDABLE if reason in (_MENDABLE, Reason.MISSING_DELEGATE) else _HARD
