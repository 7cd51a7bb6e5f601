"""Cameras, microphones, delegates; heat, power and memory."""

import grp
import os
import shutil
from pathlib import Path

from edge_agent.config.agent import Config
from edge_agent.config.pipeline import Delegate
from edge_agent.config.sources import CameraSource, MicrophoneSource
from edge_agent.doctor.check import Check, Machine, Verdict, megabytes
from edge_agent.doctor.software import ask_child
from edge_agent.inference.delegates import device_problem, edge_tpu_devices, is_edge_tpu
from edge_agent.telemetry.resources import Resources

_HOT_C, _TOO_HOT_C = 75.0, 82.0  # a Pi slows down from 80 °C on, and more at 85 °C
_LITTLE_MEMORY_BYTES, _NO_MEMORY_BYTES = 200_000_000, 70_000_000  # supervisor and a worker take about 65 MB
_IN_WORDS = {
    "under_voltage": "the supply voltage is too low now",
    "frequency_capped": "the processor's clock is capped now",
    "throttled": "the processor is being slowed down now",
    "soft_temperature_limit": "the processor is near its temperature limit now",
    "under_voltage_since_start": "the supply voltage was too low since the start",
    "frequency_capped_since_start": "the processor's clock was capped since the start",
    "throttled_since_start": "the processor was slowed down since the start",
    "soft_temperature_limit_since_start": "the processor was near its temperature limit since the start",
}
_MORE_POWER = "use the board's own power supply and a short cable; unplug what draws power from it"
_MORE_AIR = "give it a heat sink or a fan, or a model that computes less"


def check_cameras(machine: Machine, config: Config | None) -> Check:
    wanted = [
        pipeline.source.device
        for pipeline in (config.pipeline.values() if config else ())
        if isinstance(pipeline.source, CameraSource) and pipeline.source.device.startswith("/")
    ]
    nodes = sorted((machine.root / "dev").glob("video*"))
    missing = [device for device in wanted if not (machine.root / device.lstrip("/")).exists()]
    if missing:
        there = _names(nodes) or "no camera"
        return Check(
            "cameras",
            "fail",
            f"the configuration names {', '.join(missing)}; found {there}",
            "plug it in; `v4l2-ctl --list-devices` names them. A name under /dev/v4l/by-id/ stays the same",
        )
    closed = [node for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        return Check(
            "cameras",
            "fail" if wanted else "warn",
            f"{_names(closed)} may not be used by this user",
            f"add the user to group {_group(closed[0])}: usermod -aG {_group(closed[0])} $USER, and log in anew",
        )
    if not nodes:
        return Check("cameras", "ok", "none here (/dev/video*), and none is configured")
    return Check("cameras", "ok", f"{_names(nodes)} can be opened")


def check_microphones(machine: Machine, config: Config | None) -> Check:
    wanted = any(
        isinstance(pipeline.source, MicrophoneSource) for pipeline in (config.pipeline.values() if config else ())
    )
    listed = machine.run(["arecord", "-l"])
    cards = [line for line in (listed or "").splitlines() if line.startswith("card ")]
    if cards:
        return Check("microphones", "ok", f"{len(cards)}: {cards[0]}")
    if listed is None:
        detail, advice = "arecord is not here or does not run", "apt-get install alsa-utils"
    else:
        detail, advice = "none is plugged in, or this user may not use it", "usermod -aG audio $USER, and log in anew"
    if wanted:
        return Check("microphones", "fail", detail, advice)
    return Check("microphones", "ok", f"{detail}; none is configured")


def check_delegates(machine: Machine, config: Config | None) -> list[Check]:
    """Those that the configuration names, and an Edge TPU that is plugged in."""
    named: dict[str, Delegate] = {}
    for pipeline in config.pipeline.values() if config else ():
        for stage in pipeline.stage.values():
            if stage.delegate is not None:
                named.setdefault(stage.delegate.library, stage.delegate)
    if not any(map(is_edge_tpu, named)) and edge_tpu_devices(machine.root):
        named["libedgetpu.so.1"] = Delegate("libedgetpu.so.1", fallback=True)
    if not named:
        return [Check("delegates", "ok", "none is configured, and no Edge TPU is plugged in")]
    return [_check_delegate(machine, delegate) for delegate in named.values()]


def _check_delegate(machine: Machine, delegate: Delegate) -> Check:
    name = f"delegate {Path(delegate.library).name}"
    verdict: Verdict = "warn" if delegate.fallback else "fail"
    found = ask_child("delegate", delegate.library)
    if "error" in found:
        return Check(name, verdict, str(found["error"]), str(found.get("hint") or "see what it needs"))
    problem = device_problem(delegate.library, machine.root)
    if problem is not None:
        return Check(name, verdict, problem.detail, problem.hint)
    return Check(
        name, "ok", "its library can be loaded" + (", and its device used" if is_edge_tpu(delegate.library) else "")
    )


def check_temperature(now: Resources) -> Check:
    if now.temperature_c is None:
        return Check("temperature", "ok", "this machine does not tell")
    detail = f"{now.temperature_c:.1f} °C"
    if now.temperature_c >= _HOT_C:
        verdict: Verdict = "fail" if now.temperature_c >= _TOO_HOT_C else "warn"
        return Check("temperature", verdict, f"{detail}: it slows down from 80 °C on", _MORE_AIR)
    return Check("temperature", "ok", detail)


def check_power(now: Resources) -> Check:
    """The firmware's bits of what holds the processor back, in words."""
    if now.throttled is None:
        return Check("power", "ok", "this board does not tell of low voltage or throttling")
    if not now.throttled:
        return Check("power", "ok", "neither low voltage nor throttling since the start")
    words = "; ".join(_IN_WORDS.get(name, name) for name in now.throttled)
    power = any(name.startswith("under_voltage") for name in now.throttled)
    verdict: Verdict = "fail" if "under_voltage" in now.throttled else "warn"
    return Check("power", verdict, words, _MORE_POWER if power else _MORE_AIR)


def check_memory(machine: Machine, now: Resources) -> Check:
    swap = _kilobytes(machine, "SwapTotal")
    limit = _cgroup_limit(machine)
    left = now.memory_available_bytes if limit is None else min(now.memory_available_bytes, limit)
    detail = (
        f"{megabytes(now.memory_available_bytes)} of {megabytes(now.memory_total_bytes)} available, "
        f"swap {megabytes(swap) if swap else 'none'}"
    )
    if limit is not None:
        detail += f", limited to {megabytes(limit)} by the control group"
    if left < _LITTLE_MEMORY_BYTES:
        verdict: Verdict = "fail" if left < _NO_MEMORY_BYTES else "warn"
        return Check(
            "memory", verdict, detail, "end what is not needed, add swap (zram), or use a smaller model (int8)"
        )
    return Check("memory", "ok", detail)


def check_disk(state_dir: Path) -> Check:
    """Whether there is room for releases, and whether they can be written."""
    there = next((path for path in (state_dir, *state_dir.parents) if path.exists()), state_dir)
    usage = shutil.disk_usage(there)
    detail = f"{state_dir}: {megabytes(usage.free)} of {megabytes(usage.total)} free"
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return Check(
            "disk", "fail", f"{detail}, mounted read-only",
            "mount it writable, or put storage.state_dir elsewhere; a file system with errors is mounted so: see dmesg",
        )  # fmt: skip
    if usage.free < 200_000_000:
        verdict: Verdict = "fail" if usage.free < 50_000_000 else "warn"
        return Check("disk", verdict, detail, "remove what is not needed: an update needs room for another release")
    if not os.access(there, os.W_OK):
        return Check(
            "disk", "warn", f"{detail}, not writable by this user", "run this as the agent: sudo -u edge-agent ..."
        )
    return Check("disk", "ok", detail)


def _cgroup_limit(machine: Machine) -> int | None:
    """The least memory.max of this process's control group (v2) and those above it."""
    lines = (machine.read("proc/self/cgroup") or "").splitlines()
    place = next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), None)
    if place is None:
        return None
    folders = [Path(place), *Path(place).parents]
    texts = [machine.read(f"sys/fs/cgroup/{folder}/memory.max") for folder in folders]
    return min((int(text) for text in texts if text is not None and text.isdigit()), default=None)


def _kilobytes(machine: Machine, key: str) -> int | None:
    for line in (machine.read("proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024
    return None


def _names(nodes: list[Path]) -> str:
    shown = ", ".join(f"/dev/{node.name}" for node in nodes[:3])
    return f"{shown} and {len(nodes) - 3} more" if len(nodes) > 3 else shown


def _group(node: Path) -> str:
    gid = node.stat().st_gid
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
