"""The stories that are cut: everything an updater does to the disk."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from edge_agent.release.document import Lifts
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.release.rollout import Rollout
from edge_agent.release.sealing import public_of
from edge_agent.update.machine import Trial
from edge_agent.update.patcher import PatchJob
from edge_agent.update.shadow import ShadowPlan
from tests.power.exploration import Story
from tests.sim.device import SimDevice
from tests.sim.disk import Survival
from tests.sim.releases import SimRelease, SimTransport, make_release, noise, patch_here, seal_release, with_patches

FIRST = make_release("1")
OLDER = make_release("0")
# Shares its first chunk with FIRST and has another twice.
SECOND = make_release("2", noise(60_000, "1") + noise(60_000, "2") * 2 + noise(9_000, "3"))
SECRET = bytes(range(32))
SEALED = seal_release(SECOND, public_of(SECRET))
_SICKNESSES = {"rejection": "unproven", "roll_back": "erring", "crash_loop": "crashing_later"}
# FIRST with every chunk of its model changed a little, so that a patch is all that is fetched of it.
PATCHED = with_patches(
    make_release("3", bytes(byte ^ (at % 5000 == 0) for at, byte in enumerate(FIRST.members[MODEL_FILE]))), FIRST
)
NAMES = (
    "first_install", "update", "rejection", "roll_back", "crash_loop", "operator", "resume", "initial",
    "halt", "revert", "retry", "sealed",
    "patch", "patch_resumed", "patch_fails", "shadow", "disagreement",
)  # fmt: skip


def story(name: str, folder: Path) -> Story:
    """One of `NAMES`. `folder`: for an artifact on a real disk."""
    first, second = FIRST.digest, SECOND.digest
    only_first, both = frozenset({first}), frozenset({first, second})
    if name == "initial":
        path = FIRST.write(folder / "first.edge")
        return Story(lambda: _fresh(path), _run_unasked, first, only_first)
    if name in _SICKNESSES:
        return Story(lambda: _sick(_SICKNESSES[name]), _run_to_second, first, only_first, rejected=frozenset({second}))
    if name in _PATCHING:
        ends_with = frozenset({first, PATCHED.digest})
        return Story(_PATCHING[name], lambda device: device.run(PATCHED.target), PATCHED.digest, ends_with)
    return {
        "first_install": Story(_fresh, _run_to_first, first, only_first),
        "update": Story(_with_older, _run_to_second, second, both),
        "resume": Story(_half_fetched, _run_to_second, second, both),
        "halt": Story(_half_fetched, _halt, first, frozenset({first, OLDER.digest}), staged=frozenset({second})),
        "revert": Story(_with_both, _revert, first, both),
        "retry": Story(_with_rejected, _retry, second, both),
        "sealed": Story(_with_key, _run_to_sealed, second, both),
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


def _halt(device: SimDevice) -> None:
    device.run(replace(SECOND.target, rollout=Rollout(state="halted")))


def _revert(device: SimDevice) -> None:
    device.run(replace(FIRST.target, downgrade=True))


def _retry(device: SimDevice) -> None:
    device.run(replace(SECOND.target, lifts=Lifts(5, (SECOND.digest,))))


def _run_to_sealed(device: SimDevice) -> None:
    device.run(SEALED.target)


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


def _with_key() -> SimDevice:
    device = _with_older()
    device.transport = SimTransport(SEALED)
    device.secret = lambda: SECRET
    return device


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
def _with_second_rejected() -> SimDevice:
    device = _on_disk_of(_run_through(FIRST)).boot()
    device.unproven.add(SECOND.digest)
    device.run(SECOND.target)
    assert device.record.refuses(SECOND.digest)
    return device


def _with_rejected() -> SimDevice:
    return _on_disk_of(_with_second_rejected())


@cache
def _broken_off() -> SimDevice:
    device = _on_disk_of(_run_through(OLDER, FIRST)).boot()
    device.transport.breaks_after = 2  # the index and one chunk
    device.run(SECOND.target)
    assert not isinstance(device.record.phase, Trial)
    assert device.record.candidate == SECOND.digest
    return device


def _patching() -> SimDevice:
    device = _on_disk_of(_run_through(OLDER, FIRST))
    device.transport.add(PATCHED)
    return device


def _patch_failing() -> SimDevice:
    """Its patcher gives one chunk and then something else, so that some comes as chunks."""

    def lying(job: PatchJob) -> Iterator[bytes]:
        yield next(patch_here(job))
        yield b"something else"

    device = _patching()
    device.patcher = lying
    return device


@cache
def _patch_broken_off() -> SimDevice:
    device = _patching().boot()
    device.transport.breaks_after = 2  # the index and a chunk of the patch
    device.run(PATCHED.target)
    assert any(".patch/" in name for name in device.files())
    return device


def _half_patched() -> SimDevice:
    device = _patching()
    device.disk = _patch_broken_off().disk.after_power_cut(Survival.EVERYTHING)
    return device


_PATCHING = {"patch": _patching, "patch_resumed": _half_patched, "patch_fails": _patch_failing}


def _half_fetched() -> SimDevice:
    device = _fresh()
    device.disk = _broken_off().disk.after_power_cut(Survival.EVERYTHING)
    return device
