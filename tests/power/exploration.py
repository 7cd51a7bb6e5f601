"""Cutting the power everywhere: each disk operation of a story once, for each way a disk may forget.

A story is told to its end once to count its operations. Then it is told again for every one of them, the power goes
before that operation, the agent starts on what is left, and goes on. `explore` gives every cut after which something
was not as it must be; the tests want none, and the mutation tests want some.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from edge_agent.disk import Disk
from edge_agent.errors import EdgeError
from edge_agent.update.journal import CorruptRecordError, parse_record
from edge_agent.update.machine import Fetching, Record, Trial
from edge_agent.update.store import ReleaseStore
from edge_agent.update.upgrade import SCHEMA
from tests.sim.device import SimDevice
from tests.sim.disk import PowerCut, SimDisk, Survival

RECORD = "records/porch/main.json"
SURVIVALS = tuple(Survival)


@dataclass(frozen=True)
class Story:
    """How a device comes to a state, what is done to it then, and how that must end."""

    make: Callable[[], SimDevice]  # not booted; its disk is where the story begins
    act: Callable[[SimDevice], object]  # on a booted device; done again after each start, until nothing is left to do
    current: str  # and serving
    installed: frozenset[str]
    rejected: frozenset[str] = frozenset()
    staged: frozenset[str] = frozenset()  # what may be left in staging: of a release that is held
    rotten: frozenset[str] = frozenset()  # installed when the story begins, and not whole


@dataclass(frozen=True)
class Bad:
    cut: int
    survival: Survival
    what: str


def explore(story: Story, survival: Survival, durable: type[Disk] = Disk) -> Iterator[Bad]:
    """Every cut of `story` after which an invariant is broken."""
    operations = _tell(story, durable).disk.operations
    assert operations >= 4  # the least that replaces a record
    for cut in range(1, operations + 2):  # the last one comes when all is done
        for what in _problems_of_cut(story, survival, durable, cut):
            yield Bad(cut, survival, what)


def tell_cut(story: Story, device: SimDevice, cut: int) -> bool:
    """Boot and act, with the power going before operation `cut`; says whether it lasted to the end."""
    device.boot()
    device.disk.cut_before = cut
    try:
        story.act(device)
    except PowerCut:
        return False
    finally:
        device.disk.cut_before = None
    return True


def _tell(story: Story, durable: type[Disk]) -> SimDevice:
    device = story.make()
    device.durable = durable
    story.act(device.boot())
    return device


def _problems_of_cut(story: Story, survival: Survival, durable: type[Disk], cut: int) -> Iterator[str]:
    device = story.make()
    device.durable = durable
    tell_cut(story, device, cut)
    device.lose_power(survival, Random(cut))
    problems = list(problems_after_cut(device, story.rotten))
    yield from problems
    if not problems:
        yield from problems_of_recovery(story, device)


def explore_kills(story: Story, durable: type[Disk] = Disk) -> Iterator[Bad]:
    """The process is killed at every operation; the next one has its power cut, at every third."""
    for kill in range(1, _tell(story, durable).disk.operations + 1):
        killed = story.make()
        killed.durable = durable
        tell_cut(story, killed, kill)
        cut, done = 1 + kill % 3, False
        while not done:
            device = story.make()
            device.durable = durable
            device.disk = killed.disk.after_kill()
            done = tell_cut(story, device, cut)
            device.lose_power(Survival.NOTHING)
            for what in problems_after_cut(device, story.rotten):
                yield Bad(cut, Survival.NOTHING, f"killed at {kill}: {what}")
            cut += 3


def problems_of_recovery(story: Story, device: SimDevice) -> Iterator[str]:
    """Start on what is left, go on to the end, and look."""
    before = read_record(device.disk)
    device.boot()
    served_wrongly: list[str] = []
    device.server.before_serve = lambda digest: served_wrongly.extend(_problems_of_serving(device, digest))
    try:
        device.updater.run_to_rest()  # before the broker has said anything
        story.act(device)
    except EdgeError as error:
        yield f"it does not recover: {error}"
        return
    yield from served_wrongly
    first = device.server.served[0]
    if before.current is not None and before.current not in story.rotten and first != before.current:
        yield "the committed release was not the first to serve"
    yield from problems_at_the_end(story, device)


def problems_at_the_end(story: Story, device: SimDevice) -> Iterator[str]:
    record = device.record
    ends = (record.current, frozenset(rejection.digest for rejection in record.rejected), device.server.serving)
    if ends != (story.current, story.rejected, story.current):
        yield f"it ends with {ends}"
    installed = set(device.disk.entries("releases")) if device.disk.size("releases") is not None else set()
    if {name for name, _ in installed} != story.installed:
        yield f"{len(installed)} releases are installed"
    names = [name for name in device.files() if name.removeprefix("staging/")[:64] not in story.staged]
    left = [name for name in names if "/corrupt" in name or name.endswith((".tmp", ".index", ".keyring"))]
    left += [name for name in names if name.startswith("staging/")]
    if left:
        yield f"leftovers: {left}"
    if schema_on_disk(device.disk) != SCHEMA:
        yield "its record is left in an earlier schema"


def problems_after_cut(device: SimDevice, rotten: frozenset[str] = frozenset()) -> Iterator[str]:
    """What the power cut has left of what the agent was sure of."""
    problems = list(problems_on_disk(device.disk, rotten))
    yield from problems
    remembered = device.journal.remembered
    if remembered and not problems:
        found = read_record(device.disk)
        if found != remembered[-1] and found in [Record(), *remembered]:  # not even the one it was just writing
            yield "what was remembered is forgotten"


def problems_on_disk(disk: SimDisk, rotten: frozenset[str] = frozenset()) -> Iterator[str]:
    """What must hold at every moment, whatever was forgotten, but for releases that were `rotten` before."""
    try:
        record = read_record(disk)
    except (CorruptRecordError, EdgeError) as error:
        yield f"the record cannot be read: {error}"
        return
    for digest in record.digests:
        if digest == record.candidate and isinstance(record.phase, Fetching):
            continue
        if digest not in rotten and not _is_sound(disk, digest):
            yield f"the record names {digest[:8]}, which is not there whole"
    if record.serving is not None and record.refuses(record.serving):
        yield "it is to serve what was rejected"


def read_record(disk: SimDisk) -> Record:
    size = disk.size(RECORD)
    return Record() if size is None else parse_record(disk.read(RECORD, 0, size))


def schema_on_disk(disk: SimDisk) -> int:
    return int(json.loads(disk.read(RECORD, 0, disk.size(RECORD) or 0))["record"]["schema"])


def _is_sound(disk: SimDisk, digest: str) -> bool:
    return ReleaseStore(Disk(disk), Path()).is_sound(digest)


def _problems_of_serving(device: SimDevice, digest: str | None) -> Iterator[str]:
    """Before a release serves, what would be found if the power went now must already allow for it."""
    if digest is None:
        return
    if not _is_sound(device.disk, digest):
        yield "a release served that is not whole"
    try:
        lasting = read_record(device.disk.after_power_cut(Survival.NOTHING))
    except CorruptRecordError:
        yield "a release served while the record was not yet safe"
        return
    on_trial = isinstance(lasting.phase, Trial) and lasting.phase.starts > 0 and lasting.phase.digest == digest
    if not on_trial and digest not in (lasting.current, lasting.previous):
        yield "a release served that the record does not know of"
