"""Every state that the update machine can come to, whatever is desired, fails, crashes or rots: safe, and alive.

Safe: what serves has been verified, has passed a probe on this device and was not rejected; a release that could serve
is not given up for nothing. Alive: from every one of these states, once nothing fails any more, the release that is
desired and not refused is committed and serves. Then the machine is broken, one mutation at a time, and each must be
found.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.errors import Reason
from edge_agent.update import machine
from edge_agent.update.machine import Idle, Record, Trial
from tests.model.world import Move, Renamed, Rules, World, explore, renamed

_ENOUGH_STEPS = 25
# What a release may be rejected for. "remember" is a trial's verdict, "give up" that of several crashes.
_CAUSES = {
    "wrong bytes", f"probe: {Reason.GOLDEN_MISMATCH}", f"probe: {Reason.INCOMPATIBLE}", "remember", "give up",
    "serve the one before", "operator",
}  # fmt: skip


def unsafe(before: World, move: Move) -> str | None:
    """What is wrong about a move, if anything is."""
    return next((what for what, wrong in _faults(before, move) if wrong), None) or _given_up(before, move)


def _faults(before: World, move: Move) -> Iterator[tuple[str, bool]]:
    after, record = move.after, move.after.record
    committed = {digest for digest in (record.current, record.previous) if digest}
    serves = {digest for digest in (record.serving, after.served) if digest}
    phase = record.phase
    yield "it is to serve what was rejected", record.serving is not None and record.refuses(record.serving)
    yield "what serves has never passed a probe", not serves <= after.proved
    yield "it was committed without a probe", not committed <= after.proved
    yield "it was committed without a trial that it passed", not committed <= after.tried
    yield "it falls back to itself", record.current is not None and record.current == record.previous
    yield (
        "a trial serves whose start was not remembered",
        isinstance(phase, Trial) and after.served == phase.digest and phase.starts == 0,
    )
    yield (
        "it was rejected, and nothing was wrong with it",
        move.what not in _CAUSES and _refused(after.record) > _refused(before.record),
    )


def _refused(record: Record) -> set[str]:
    return {rejection.digest for rejection in record.rejected}


def _given_up(before: World, move: Move) -> str | None:
    """Current and previous are given up only as rejected or rotten; a commit lets the oldest go."""
    after = move.after
    had = [before.record.current, before.record.previous]
    has = {after.record.current, after.record.previous}
    committed = after.record.current != before.record.current and after.record.previous == before.record.current
    for digest in had:
        lost = digest is not None and digest not in has
        oldest = committed and digest == before.record.previous
        if lost and not oldest and digest in before.sound and not (digest and after.record.refuses(digest)):
            return f"{digest} was given up, and could have served"
    if after.record.current is None and before.record.current is not None and before.record.previous in before.sound:
        return "nothing serves, and the release before could"
    return None


def stuck(rules: Rules, world: World, desired: str | None) -> str | None:
    """Whether, from here and without faults, the device does not come to rest as it should."""
    taken = desired is not None and not _is_doomed(world, desired)
    world = replace(world, desired=desired, held=False)
    for _ in range(_ENOUGH_STEPS):
        following = list(rules.moves(world, faults=False))
        if not following:
            break
        (move,) = following
        world = move.after
    else:
        return f"it does not come to rest: {world}"
    record = world.record
    if world.served != record.current or not (isinstance(record.phase, Idle) or desired is None):
        return f"it rests, and does not serve what it has committed: {world}"
    if taken and record.current != desired:
        return f"it rests without {desired}, with which nothing was wrong: {world}"
    return None


def _is_doomed(world: World, desired: str) -> bool:
    """Whether it has been refused, or has just failed, or crashed as often as may be."""
    phase = world.record.phase
    crashed = isinstance(phase, Trial) and phase.digest == desired and phase.starts >= machine.MAX_TRIAL_STARTS
    decided = world.decided is not None and world.decided.refuses(desired)
    return crashed or decided or world.record.refuses(desired)


def check(mutant: Any, releases: str = "ab") -> int:
    """Explore all, up to the names of releases; returns how many states there are.

    Raises:
        AssertionError: a state is unsafe, or stuck.
    """
    rules = Rules(mutant, releases)
    states = explore(rules, unsafe, represent=Renamed(releases))
    for world in {replace(world, desired=None, held=False) for world in states}:
        for desired in (None, *releases):
            wrong = stuck(rules, world, desired)
            assert wrong is None, f"from {world}: {wrong}"
    return len(states)


def test_every_state_is_safe_and_alive() -> None:
    assert check(machine) > 1_000


def test_every_state_with_three_releases_is_safe_and_alive() -> None:
    """A candidate beside a current and a previous that are neither it nor each other."""
    assert check(machine, "abc") > 20_000


def test_the_states_up_to_renaming_are_all_states_renamed() -> None:
    """What the symmetry reduction leaves out is left out because it is the same."""
    rules, represent = Rules(machine, "ab"), Renamed("ab")
    every = explore(rules, unsafe)
    some = explore(rules, unsafe, represent=represent)

    assert {represent(world) for world in every} == set(some)
    assert len(some) < 0.6 * len(every)
    swapped = {"a": "b", "b": "a"}
    assert all(represent(renamed(world, swapped)) == represent(world) for world in every)


# --- the suite's own teeth ----------------------------------------------------------------------------------


def _with(**changed: Callable[..., Any]) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(machine), **changed})


def _commit_forgets_what_was(record: Record, detail: str | None = None) -> Record:
    return replace(machine.commit(record, detail), previous=record.previous)


def _commit_keeps_nothing(record: Record, detail: str | None = None) -> Record:
    return replace(machine.commit(record, detail), previous=None)


def _commit_keeps_the_oldest(record: Record, detail: str | None = None) -> Record:
    committed = machine.commit(record, detail)
    kept = record.previous if record.previous != committed.current else None
    return replace(committed, previous=kept or record.current)


def _reject_forgets(record: Record, reason: Reason, detail: str | None = None) -> Record:
    return replace(machine.reject(record, reason, detail), rejected=record.rejected)


def _reject_drops_current(record: Record, reason: Reason, detail: str | None = None) -> Record:
    return replace(machine.reject(record, reason, detail), current=record.previous, previous=None)


def _reject_leaves_it_as_previous(record: Record, reason: Reason, detail: str | None = None) -> Record:
    return replace(machine.reject(record, reason, detail), previous=record.previous)


def _started_is_not_counted(record: Record) -> Record:
    machine.started(record)
    return record


def _activate_commits(record: Record) -> Record:
    tried = machine.activate(record)
    return machine.commit(tried)


def _stage_activates(record: Record) -> Record:
    return machine.activate(machine.stage(record))


def _withdraw_rejects(record: Record) -> Record:
    return machine.reject(record, Reason.OPERATOR)


def _fall_back_goes_nowhere(record: Record, reason: Reason, detail: str | None = None) -> Record:
    return replace(machine.fall_back(record, reason, detail), current=None)


def _fall_back_takes_it_again(record: Record, reason: Reason, detail: str | None = None) -> Record:
    return replace(machine.fall_back(record, Reason.ROTTEN, detail), previous=record.current)


def _fall_back_keeps_the_candidate(record: Record, reason: Reason, detail: str | None = None) -> Record:
    return replace(machine.fall_back(record, reason, detail), phase=record.phase)


def _next_ignores_rejections(record: Record, desired: str | None, *, held: bool = False) -> machine.Step:
    return machine.next_step(replace(record, rejected=()), desired, held=held)


def _next_never_gives_up(record: Record, desired: str | None, *, held: bool = False) -> machine.Step:
    step = machine.next_step(record, desired, held=held)
    return machine.Judge(step.digest) if isinstance(step, machine.GiveUp) else step


def _next_gives_up_at_once(record: Record, desired: str | None, *, held: bool = False) -> machine.Step:
    step = machine.next_step(record, desired, held=held)
    return machine.GiveUp(step.digest, Reason.CRASH_LOOP) if isinstance(step, machine.Judge) else step


def _next_waits_while_fetching(record: Record, desired: str | None, *, held: bool = False) -> machine.Step:
    step = machine.next_step(record, desired, held=held)
    return machine.Wait() if isinstance(step, machine.Fetch) and step.attempt > 1 else step


def _next_wants_what_it_has(record: Record, desired: str | None, *, held: bool = False) -> machine.Step:
    if record.candidate is None and desired is not None and not held and not record.refuses(desired):
        return machine.Begin(desired)
    return machine.next_step(record, desired, held=held)


def _next_skips_the_probe(record: Record, desired: str | None, *, held: bool = False) -> machine.Step:
    step = machine.next_step(record, desired, held=held)
    return machine.Judge(step.digest) if isinstance(step, machine.Activate) else step


MUTANTS = {
    "commit forgets what was": _with(commit=_commit_forgets_what_was),
    "commit keeps nothing to fall back to": _with(commit=_commit_keeps_nothing),
    "reject forgets": _with(reject=_reject_forgets),
    "reject drops current": _with(reject=_reject_drops_current),
    "what is rejected stays as previous": _with(reject=_reject_leaves_it_as_previous),
    "a start is not counted": _with(started=_started_is_not_counted),
    "activate commits": _with(activate=_activate_commits),
    "stage activates": _with(stage=_stage_activates),
    "withdraw rejects": _with(withdraw=_withdraw_rejects),
    "fall back goes nowhere": _with(fall_back=_fall_back_goes_nowhere),
    "fall back takes it again": _with(fall_back=_fall_back_takes_it_again),
    "fall back keeps the candidate": _with(fall_back=_fall_back_keeps_the_candidate),
    "rejections are ignored": _with(next_step=_next_ignores_rejections),
    "a crash loop is never given up": _with(next_step=_next_never_gives_up),
    "every trial is given up": _with(next_step=_next_gives_up_at_once),
    "fetching is not tried again": _with(next_step=_next_waits_while_fetching),
    "what serves is fetched again": _with(next_step=_next_wants_what_it_has),
    "the probe is left out": _with(next_step=_next_skips_the_probe),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_machine_is_found(name: str) -> None:
    with pytest.raises((AssertionError, machine.IllegalTransitionError)):
        check(MUTANTS[name])


def test_three_releases_find_what_two_cannot() -> None:
    mutant = _with(commit=_commit_keeps_the_oldest)
    check(mutant, "ab")

    with pytest.raises(AssertionError, match="was given up, and could have served"):
        check(mutant, "abc")
