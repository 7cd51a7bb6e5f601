"""The configuration, the clock, the broker and the service."""

import socket
import time
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.config.agent import Config, MqttConfig, read_config
from edge_agent.config.sources import paths_of
from edge_agent.doctor.check import Check, Machine
from edge_agent.errors import ConfigError, LinkError
from edge_agent.link.broker import read_settings, tls_context, unreachable

_CONNECT_S = 5.0
_LONG_AGO_S = 1_767_225_600.0  # 2026-01-01: this agent is younger than a clock that says less
_UNIT = "edge-agent.service"
_PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "ProcSubset")


def check_config(path: Path) -> tuple[Check, Config | None]:
    try:
        config = read_config(path)
    except ConfigError as error:
        return Check("configuration", "fail", str(error), error.hint), None
    missing = [
        str(each) for pipeline in config.pipeline.values() for each in paths_of(pipeline.source) if not each.exists()
    ]
    detail = f"{path}: device {config.device_id}, pipelines {', '.join(config.pipeline)}"
    if missing:
        return Check(
            "configuration", "warn", f"{detail}; there is no {', '.join(missing)}", "see 'edge-agent check-config'"
        ), config
    return Check("configuration", "ok", detail), config


def check_clock(machine: Machine, clock: Clock) -> Check:
    """A release document that has expired is only told by a clock that is right."""
    now_s = clock.now_s()
    today = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now_s))
    rtc = (machine.root / "dev/rtc0").exists()
    keeps = (
        "a real-time clock" if rtc else "no real-time clock, so it is wrong after each start until the network is there"
    )
    if now_s < _LONG_AGO_S:
        return Check(
            "clock", "fail", f"{today}, which has long been ({keeps})", "let it reach a time server: timedatectl status"
        )
    synced = (machine.run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"]) or "").strip()
    if synced == "no":
        return Check(
            "clock", "warn", f"{today}, not synchronized ({keeps})", "timedatectl set-ntp true, and open UDP port 123"
        )
    return Check("clock", "ok", f"{today}, {'synchronized' if synced == 'yes' else 'plausible'} ({keeps})")


def check_broker(config: MqttConfig) -> Check:
    """Whether the broker can be reached; whether it lets us in is told by the agent itself."""
    try:
        settings = read_settings(config)
        context = tls_context(settings) if settings.tls else None
        try:
            with socket.create_connection((settings.host, settings.port), _CONNECT_S) as plain:
                if context is not None:
                    with context.wrap_socket(plain, server_hostname=settings.host):
                        pass
        except (OSError, ValueError) as error:
            raise unreachable(settings, error) from error
    except LinkError as error:
        return Check("broker", "fail", str(error), error.hint)
    return Check(
        "broker", "ok", f"{settings.url} can be reached" + (", and its certificate is right" if context else "")
    )


def check_service(machine: Machine) -> Check:
    if not (machine.root / "run/systemd/system").is_dir():
        return Check("service", "ok", "this system is not run by systemd")
    said = machine.run(["systemctl", "show", _UNIT, *(f"-p{name}" for name in _PROPERTIES)])
    found = dict(line.split("=", 1) for line in (said or "").splitlines() if "=" in line)
    if not found or found.get("LoadState") == "not-found":
        return Check("service", "ok", f"{_UNIT} is not installed (systemd/install.sh does it)")
    detail = f"{_UNIT} is {found.get('ActiveState')} ({found.get('SubState')})"
    if found.get("ProcSubset") == "pid":
        return Check(
            "service", "fail", f"{detail}, with ProcSubset=pid", "set ProcSubset=all: XNNPACK needs /proc/cpuinfo"
        )
    if found.get("ActiveState") == "failed":
        return Check("service", "fail", f"{detail}: {found.get('Result')}", "journalctl -u edge-agent -n 50 tells why")
    if found.get("NRestarts", "0") not in ("", "0"):
        return Check(
            "service", "warn", f"{detail}, started again {found['NRestarts']} times", "journalctl -u edge-agent -n 200"
        )
    return Check("service", "ok", detail)
