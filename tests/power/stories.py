"""The stories that are cut: everything an updater does to the disk."""

from functools import cache
from pathlib import Path

from edge_agent.update.machine import Trial
from edge_agent.update.shadow import ShadowPlan
from tests.power.exploration import Story
from tests.sim.device import SimDevice
from tests.sim.disk import Survival
from tests.sim.releases import SimRelease, SimTransport, make_release, noise

FIRST = make_release("1")
OLDER = make_release("0")
# Shares its first chunk with FIRST and has another twice.
SECOND = make_release("2", noise(60_000, "1") + noise(60_000, "2") * 2 + noise(9_000, "3"))
_SICKNESSES = {"rejection": "unproven", "roll_back": "erring", "crash_loop": "crashing_later"}
NAMES = (
    "first_install",
    "update",
    "rejection",
    "roll_back",
    "crash_loop",
    "operator",
    "resume",
    "initial",
    "shadow",
    "disagreement",
)


def story(name: str, folder: Path) -> Story:
    """One of `NAMES`. `folder`: for an artifact on a real disk."""
    first, second = FIRST.digest, SECOND.digest
    only_first, both = frozenset({first}), frozenset({first, second})
    if name == "initial":
        path = FIRST.write(folder / "first.edge")
        return Story(lambda: _fresh(path), _run_unasked, first, only_first)
    if name in _SICKNESSES:
        return Story(lambda: _sick(_SICKNESSES[name]), _run_to_second, first, only_first, rejected=frozenset({second}))
    return {
        "first_install": Story(_fresh, _run_to_first, first, only_first),
        "update": Story(_with_older, _run_to_second, second, both),
        "resume": Story(_half_fetched, _run_to_second, second, both),
        "shadow": Story(_with_shadow, _run_to_second, second, both),
        "disagreement": Story(
            lambda: _with_shadow("disagreeing"), _run_to_second, first, only_first, rejected=frozenset({second})
        ),
        "operator": Story(_with_both, _roll_back, first, only_first, rejected=frozenset({second})),
    }[name]


def _run_to_first(device: SimDevice) -> None:
    device.run(FIRST.target)


def _run_to_second(device: SimDevice) -> None:
    device.run(SECOND.target)


def _run_unasked(device: SimDevice) -> None:
    device.run()


def _roll_back(device: SimDevice) -> None:
    """The operator asks until it is done."""
    device.run(SECOND.target)
    if device.record.current == SECOND.digest:
        request = device.updater.roll_back()
        device.run()
        request.result(timeout=0)


def _fresh(initial: Path | None = None) -> SimDevice:
    return SimDevice(SimTransport(FIRST, SECOND), initial=initial)


@cache
def _run_through(*releases: SimRelease) -> SimDevice:
    device = SimDevice(SimTransport(*releases)).boot()
    for release in releases:
        device.run(release.target)
    return device


def _on_disk_of(before: SimDevice) -> SimDevice:
    device = _fresh()
    device.disk = before.disk.after_power_cut(Survival.NOTHING)  # so that nothing of it is waiting to be synced
    return device


def _with_older() -> SimDevice:
    return _on_disk_of(_run_through(OLDER, FIRST))


def _with_both() -> SimDevice:
    return _on_disk_of(_run_through(FIRST, SECOND))


def _sick(kind: str) -> SimDevice:
    device = _on_disk_of(_run_through(FIRST))
    if kind == "unproven":
        device.unproven.add(SECOND.digest)
    else:
        device.sick[kind] = {SECOND.digest}
    return device


def _with_shadow(kind: str | None = None) -> SimDevice:
    device = _with_older() if kind is None else _sick(kind)
    device.shadow = ShadowPlan(0.5, 100, 60.0, lambda: None)
    return device


@cache
def _broken_off() -> SimDevice:
    device = _on_disk_of(_run_through(OLDER, FIRST)).boot()
    device.transport.breaks_after = 2  # the index and one chunk
    device.run(SECOND.target)
    assert not isinstance(device.record.phase, Trial)
    assert device.record.candidate == SECOND.digest
    return device


def _half_fetched() -> SimDevice:
    device = _fresh()
    device.disk = _broken_off().disk.after_power_cut(Survival.EVERYTHING)
    return device
