"""What `edge-agent status` and `rollback` do: ask the running agent, or read the state directory of a stopped one."""

import fcntl
import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent import schema
from edge_agent.config.agent import Config
from edge_agent.config.pipeline import PipelineConfig, StageConfig
from edge_agent.control import NotRunningError, ask
from edge_agent.disk import AGENT, Disk, RealDisk, open_disk
from edge_agent.errors import ConfigError, EdgeError, StorageError
from edge_agent.service.reporting import StageName, stage_report
from edge_agent.service.trusted import Channel, read_target
from edge_agent.update import machine
from edge_agent.update.eligibility import Device, decide
from edge_agent.update.journal import CorruptRecordError, ForeignRecordError, Journal, parse_record
from edge_agent.update.machine import Record
from edge_agent.update.status import Problem, Status, Versions
from edge_agent.update.store import ReleaseStore


def state_directory(config: Config) -> Path:
    """Where the agent keeps what must survive: configured, systemd's, or the default."""
    if config.storage.state_dir is not None:
        return config.storage.state_dir
    return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/edge-agent").split(":")[0])


def check_owner(directory: Path, command: str, *, otherwise: str = "") -> None:
    """Raise EdgeError where root would write into a directory of the agent's user; `otherwise` begins the hint."""
    owner = directory.stat().st_uid
    if os.geteuid() == 0 != owner:
        name = _user_name(owner)
        raise EdgeError(
            f"{directory} belongs to {name}: files that root writes there would lock its agent out",
            hint=f"{otherwise}as its user: sudo -u {name} edge-agent {command}",
        )


@contextmanager
def only_agent(state_dir: Path) -> Iterator[None]:
    """Hold the lock that makes this process the one writer of the state directory.

    Raises:
        EdgeError: another agent holds it, or we are root and it is not root's.
        StorageError: the directory cannot be made or written.
    """
    open_disk(state_dir, AGENT)
    check_owner(state_dir, "run", otherwise="systemctl start edge-agent, or ")
    try:
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StorageError(
            f"{state_dir}: {error.strerror}", hint="the agent's user must own its state directory ([storage] state_dir)"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EdgeError(
                f"another agent is running on {state_dir}", hint="stop it first, or give this one another state_dir"
            ) from error
        yield
    finally:
        os.close(descriptor)


def read_status(config: Config) -> dict[str, Any]:
    """The plain tree `edge-agent status --json` prints."""
    state_dir = state_directory(config)
    try:
        return {"running": True, **ask(state_dir, {"ask": "status"})}
    except NotRunningError:
        pass
    disk = Disk(RealDisk(state_dir, advice=AGENT))
    stages = {name: _stopped(disk, state_dir, config, name) for name in stages_of(config)}
    return {"running": False, "device": config.device_id, "pipelines": _nested(stages)}


def roll_back(config: Config, pipeline: str, stage: str | None) -> dict[str, Any]:
    """Go back by hand; returns the stage as `read_status` shows it.

    Raises:
        ConfigError: there is no such pipeline or stage.
        InputError: there is no release to go back to.
        EdgeError: the agent refused.
    """
    name = find_stage(config, pipeline, stage)
    state_dir = state_directory(config)
    try:
        answer = ask(state_dir, {"ask": "rollback", "pipeline": name.pipeline, "stage": name.stage})
        return dict(answer["stage"])
    except NotRunningError:
        pass
    with _as_owner(state_dir), only_agent(state_dir):
        disk = open_disk(state_dir, AGENT)
        journal = Journal(disk, name.pipeline, name.stage)
        journal.write(machine.roll_back(journal.read(), ReleaseStore(disk, state_dir).is_sound))
        return _stopped(disk, state_dir, config, name)


def find_stage(config: Config, pipeline: str, stage: str | None) -> StageName:
    """The stage a person means.

    Raises:
        ConfigError: there is none of that name, or the pipeline has several.
    """
    found: PipelineConfig | None = config.pipeline.get(pipeline)
    if found is None:
        raise ConfigError(f"no pipeline {pipeline!r}", hint=f"configured: {', '.join(config.pipeline)}")
    if stage is None and len(found.stage) == 1:
        stage = next(iter(found.stage))
    if stage is None or stage not in found.stage:
        raise ConfigError(f"pipeline {pipeline}: which stage?", hint=f"--stage {' or '.join(found.stage)}")
    return StageName(pipeline, stage)


def stages_of(config: Config) -> dict[StageName, StageConfig]:
    return {
        StageName(pipeline, name): stage
        for pipeline, table in config.pipeline.items()
        for name, stage in table.stage.items()
    }


def status_tree(device: str, stages: Mapping[StageName, Any]) -> dict[str, Any]:
    """The running agent's answer to `status`."""
    return {"device": device, "pipelines": _nested({name: schema.dump(report) for name, report in stages.items()})}


@contextmanager
def _as_owner(state_dir: Path) -> Iterator[None]:
    """If we are root, act as the user whose state it is: the agent could not read a record that is root's."""
    try:
        owner = state_dir.stat()
    except FileNotFoundError:
        owner = None
    if owner is None or os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def _stopped(disk: Disk, state_dir: Path, config: Config, name: StageName) -> dict[str, Any]:
    """One stage as the disk has it. What it does not take is told by the document that was believed last.

    Where there is none, `held_unknown` says so: what is not told is not known, rather than not there.
    """
    stage, store = stages_of(config)[name], ReleaseStore(disk, state_dir)
    journal = Journal(disk, name.pipeline, name.stage)
    try:
        record = _read_only(disk, journal.name)
    except ForeignRecordError as error:  # nothing is taken at all, which the problem says
        status = Status(error.known, problem=Problem.of_foreign_record(error))
        return _tree(stage, status, Versions(store))
    desired = read_target(disk, Channel(stage.model, stage.channel)) if config.mqtt is not None else None
    versions = Versions(store)
    if desired is None:
        unknown = f"no believed document of {stage.model}/{stage.channel} is on this disk"
        return _tree(stage, Status(record), versions) | ({"held_unknown": unknown} if config.mqtt is not None else {})
    current = versions.named(record.current) if record.current is not None else None
    held = decide(desired, Device(config.device_id, config.device.labels), record, current).held
    return _tree(stage, Status(record, desired, held=held), versions)


def _tree(stage: StageConfig, status: Status, versions: Versions) -> dict[str, Any]:
    known = versions.known(status.record, status.desired)
    return dict(schema.dump(stage_report(stage, replace(status, versions=known))))


def _read_only(disk: Disk, name: str) -> Record:
    """The record as it stands; setting a corrupt one aside is left to the agent that will write it."""
    try:
        return parse_record(disk.read(name), name=name) if disk.exists(name) else Record()
    except CorruptRecordError as error:
        raise StorageError(
            f"{name} is damaged: {error}", hint="start the agent: it sets it aside and goes on"
        ) from error


def _nested(stages: Mapping[StageName, Any]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for name, report in stages.items():
        tree.setdefault(name.pipeline, {})[name.stage] = report
    return tree
