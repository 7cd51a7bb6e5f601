"""The stories that are cut: everything an updater does to the disk."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from edge_agent.disk import Disk
from edge_agent.release.document import Lifts
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.release.rollout import Rollout
from edge_agent.release.sealing import public_of
from edge_agent.update.machine import Trial
from edge_agent.update.patcher import PatchJob
from edge_agent.update.shadow import ShadowPlan
from edge_agent.update.store import ReleaseStore
from tests.power.exploration import RECORD, Story
from tests.sim.device import SimDevice
from tests.sim.disk import PowerCut, Survival
from tests.sim.records import format_schema_1
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
# The same of half of FIRST, the other half new: its patch takes two chunks, so that a fetch can end between them.
PATCHED_HALF = with_patches(make_release("4", PATCHED.members[MODEL_FILE][:65_000] + noise(65_000, "new")), FIRST)
NAMES = (
    "first_install", "update", "rejection", "roll_back", "crash_loop", "operator", "resume", "initial",
    "halt", "revert", "retry", "sealed",
    "patch", "patch_resumed", "patch_fails", "shadow", "disagreement",
    "withdraw", "fall_back", "fall_back_of_a_sick_one", "garbage", "schema_upgrade", "schema_upgrade_in_a_fetch",
)  # fmt: skip
# Every path on which an agent writes to its disk → the stories that take it; the tests see that they do. Keys are
# rotated in `test_trust_cuts`.
PATHS = {
    "fetch": ("first_install", "update", "resume", "sealed", "schema_upgrade_in_a_fetch"),
    "patch": ("patch", "patch_resumed", "patch_fails"),
    "adopt": ("initial", "first_install", "update"),
    "activate": ("update", "revert", "shadow"),
    "trial": ("update", "roll_back", "crash_loop"),
    "commit": ("update", "first_install", "initial", "retry"),
    "reject": ("rejection", "disagreement", "roll_back", "crash_loop"),
    "withdraw": ("withdraw", "halt"),
    "fall back": ("fall_back", "fall_back_of_a_sick_one", "operator"),
    "garbage collection": ("garbage", "update", "operator", "withdraw"),
    "schema upgrade": ("schema_upgrade", "schema_upgrade_in_a_fetch"),
}


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
        release = PATCHED_HALF if name == "patch_resumed" else PATCHED
        ends_with = frozenset({first, release.digest})
        return Story(_PATCHING[name], lambda device: device.run(release.target), release.digest, ends_with)
    return {
        "first_install": Story(_fresh, _run_to_first, first, only_first),
        "update": Story(_with_older, _run_to_second, second, both),
        "resume": Story(_half_fetched, _run_to_second, second, both),
        "halt": Story(_half_fetched, _halt, first, frozenset({first, OLDER.digest}), staged=frozenset({second})),
        "revert": Story(_with_both, _revert, first, both),
        "retry": Story(_with_rejected, _retry, second, both),  # OLDER is what it lets go
        "sealed": Story(_with_key, _run_to_sealed, second, both),
        "shadow": Story(_with_shadow, _run_to_second, second, both),
        "disagreement": Story(
            lambda: _with_shadow("disagreeing"), _run_to_second, first, only_first, rejected=frozenset({second})
        ),
        "withdraw": Story(_on_trial, _run_unasked, first, frozenset({first, OLDER.digest})),
        "fall_back": Story(_rotten, _run_unasked, OLDER.digest, frozenset({OLDER.digest}), rotten=only_first),
        "fall_back_of_a_sick_one": Story(
            _with_sick_current, _run_unasked, OLDER.digest, frozenset({OLDER.digest}), rejected=only_first
        ),
        "garbage": Story(_littered, _run_unasked, first, frozenset({first, OLDER.digest})),
        "schema_upgrade": Story(
            _with_old_record, _retry, first, frozenset({first, OLDER.digest}), rejected=frozenset({second})
        ),
        "schema_upgrade_in_a_fetch": Story(_half_fetched_before, _run_to_second, second, both),
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
    device = _on_disk_of(_run_through(OLDER, FIRST)).boot()
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
    device.transport.add(PATCHED_HALF)
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
    device.transport.breaks_after = 2  # the index and the first chunk of the patch
    device.run(PATCHED_HALF.target)
    (patch,) = PATCHED_HALF.target.patches
    there_bytes = device.disk.size(f"staging/{PATCHED_HALF.digest}.patch/{MODEL_FILE}")
    assert len(patch.chunks) == 2
    assert there_bytes is not None
    assert there_bytes < patch.size_bytes
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


@cache
def _trying() -> SimDevice:
    """The power goes while SECOND is on trial."""
    device = _on_disk_of(_run_through(OLDER, FIRST)).boot()

    def cut() -> None:
        raise PowerCut

    device.server.before_word = cut
    with suppress(PowerCut):
        device.run(SECOND.target)
    assert device.record.phase == Trial(SECOND.digest, 1)
    return device


def _on_trial() -> SimDevice:
    """And the fleet takes SECOND back before it is on again."""
    device = _on_disk_of(_trying())
    device.desired = FIRST.target
    return device


def _rotten() -> SimDevice:
    """A byte of FIRST turns over while the power is off, and nobody is there to give it again."""
    device, model = _with_older(), f"releases/{FIRST.digest}/{MODEL_FILE}"
    (byte,) = device.disk.read(model, 100, 1)
    device.disk.write(model, 100, bytes([byte ^ 1]))
    device.disk.sync_file(model)
    return device


def _with_sick_current() -> SimDevice:
    device = _with_older()
    device.sick["unloadable"] = {FIRST.digest}
    return device


def _littered() -> SimDevice:
    """A release that no stage needs any more, and what has come of another one with all that lies beside it."""
    device = _with_older()
    store = ReleaseStore(Disk(device.disk), Path())
    for member, content in SECOND.members.items():
        store.disk.write_atomic(f"releases/{SECOND.digest}/{member}", content)
    for name in ("", ".patch"):
        store.disk.write_atomic(f"staging/{PATCHED.digest}{name}/{MODEL_FILE}", b"some of it")
    for name in (store.index_name(PATCHED.digest), store.keyring_name(PATCHED.digest)):
        store.disk.write_atomic(name, b"of it")
    return device


def _of_schema_1(device: SimDevice, lifted: int) -> SimDevice:
    """The same device with the record that an agent of schema 1 wrote."""
    content = format_schema_1(replace(device.record, lifted=()), lifted=lifted)
    Disk(device.disk).write_atomic(RECORD, content)
    return device


def _with_old_record() -> SimDevice:
    """It has rejected SECOND, after the order that `_retry` gives again: it must forget neither."""
    return _of_schema_1(_with_rejected(), lifted=5)


def _half_fetched_before() -> SimDevice:
    return _of_schema_1(_half_fetched(), lifted=0)
