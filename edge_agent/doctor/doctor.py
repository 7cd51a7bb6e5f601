"""`edge-agent doctor`: everything that is looked at, in the order it is told."""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.doctor.check import Check, Machine
from edge_agent.doctor.hardware import (
    check_cameras,
    check_delegates,
    check_disk,
    check_memory,
    check_microphones,
    check_power,
    check_temperature,
)
from edge_agent.doctor.software import ask_child, check_extras, check_interpreter, check_python, check_system
from edge_agent.doctor.surroundings import check_broker, check_clock, check_config, check_service
from edge_agent.service.local import state_directory
from edge_agent.telemetry.resources import ResourceMeter

_DEFAULT_STATE = Path("/var/lib/edge-agent")
_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def examine(config_path: Path | None, machine: Machine, clock: Clock) -> list[Check]:
    """Look at everything. `config_path` None: there is no configuration (yet), which is told."""
    if config_path is None:
        configured, config = (
            Check("configuration", "warn", "there is none", "write one (systemd/agent.toml), or pass -c"),
            None,
        )
    else:
        configured, config = check_config(config_path)
    now = ResourceMeter(machine.root, machine.root).read()
    checks = [
        check_python(),
        check_system(machine),
        *check_interpreter(machine, ask_child("interpreter")),
        *check_extras(config),
        configured,
        check_cameras(machine, config),
        check_microphones(machine, config),
        *check_delegates(machine, config),
        check_temperature(now),
        check_power(now),
        check_memory(machine, now),
        check_disk(state_directory(config) if config else _DEFAULT_STATE),
        check_clock(machine, clock),
    ]
    if config is not None and config.mqtt is not None:
        checks.append(check_broker(config.mqtt))
    return [*checks, check_service(machine)]


def is_well(checks: Sequence[Check]) -> bool:
    """Warnings are no faults."""
    return all(check.verdict != "fail" for check in checks)


def format_checks(checks: Sequence[Check]) -> str:
    """A line for each, and what to do under those that are not well."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        detail = check.detail.replace("\n", "\n" + " " * (width + 7))
        lines.append(f"{_MARKS[check.verdict]} {check.name:{width}}  {detail}")
        if check.advice and check.verdict != "ok":
            lines.append(f"{'':{width + 7}}→ {check.advice}")
    faults, warnings = (sum(check.verdict == verdict for check in checks) for verdict in ("fail", "warn"))
    return "\n".join([*lines, "", f"{_count(faults, 'fault')}, {_count(warnings, 'warning')}"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
