"""What the machine is and how it is doing. The only place that imports psutil.

A figure the machine does not have (no thermal zone, no firmware that tells of throttling) is left out, never made up.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from edge_agent.inference.process import read_pss_bytes

# The Raspberry Pi's firmware, `vcgencmd get_throttled`: bits 0-3 are now, 16-19 the same since the start.
_THROTTLE_BITS = {
    0: "under_voltage",
    1: "frequency_capped",
    2: "throttled",
    3: "soft_temperature_limit",
    16: "under_voltage_since_start",
    17: "frequency_capped_since_start",
    18: "throttled_since_start",
    19: "soft_temperature_limit_since_start",
}
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_COMMAND_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Hardware:
    """What does not change while the agent runs."""

    machine: str  # "aarch64"
    os: str
    cpus: int
    memory_bytes: int
    model: str | None = None  # "Raspberry Pi 4 Model B Rev 1.5"; None without a device tree


@dataclass(frozen=True, slots=True)
class Resources:
    """One look at the machine. Shares are 0..1."""

    cpu_share: float  # of all cores, since the last look
    load_1min: float
    memory_available_bytes: int
    memory_total_bytes: int
    supervisor_pss_bytes: int | None
    workers_pss_bytes: int | None
    disk_free_bytes: int
    disk_total_bytes: int
    uptime_s: float  # of the machine
    temperature_c: float | None = None
    throttled: tuple[str, ...] | None = None  # names of what is or was limited; None: the board cannot say

    def to_json(self) -> dict[str, object]:
        """The plain tree, without what is not known."""
        names = self.__slots__
        return {name: value for name in names if (value := _plain(getattr(self, name))) is not None}


class ResourceMeter:
    """Looks at the machine whenever asked; `root` is where /proc and /sys are found."""

    def __init__(self, state_dir: Path, root: Path = Path("/")) -> None:
        self._state_dir = state_dir
        self._root = root
        self._vcgencmd = shutil.which("vcgencmd")
        psutil.cpu_percent(None)  # the first look is always 0: take it now

    def read(self, worker_pids: Iterable[int] = ()) -> Resources:
        memory = psutil.virtual_memory()
        disk = shutil.disk_usage(self._state_dir)
        workers = [size for pid in worker_pids if (size := read_pss_bytes(pid)) is not None]
        return Resources(
            cpu_share=round(psutil.cpu_percent(None) / 100, 4),
            load_1min=round(psutil.getloadavg()[0], 2),
            memory_available_bytes=int(memory.available),
            memory_total_bytes=int(memory.total),
            supervisor_pss_bytes=read_pss_bytes(os.getpid()),
            workers_pss_bytes=sum(workers) if workers else None,
            disk_free_bytes=disk.free,
            disk_total_bytes=disk.total,
            uptime_s=round(_uptime_s(self._root), 1),
            temperature_c=self._temperature_c(),
            throttled=self._throttled(),
        )

    def _temperature_c(self) -> float | None:
        """The warmest thermal zone: on a Pi there is one, and it is the SoC."""
        degrees = []
        for zone in sorted((self._root / "sys/class/thermal").glob("thermal_zone*/temp")):
            try:
                degrees.append(int(zone.read_text(encoding="ascii")) / 1000)
            except (OSError, ValueError):
                continue  # some zones exist and cannot be read
        return round(max(degrees), 1) if degrees else None

    def _throttled(self) -> tuple[str, ...] | None:
        """From the kernel's firmware driver, else from the firmware's own command."""
        try:
            return throttle_names((self._root / _FIRMWARE).read_text(encoding="ascii"))
        except (OSError, ValueError):
            pass
        if self._vcgencmd is None:
            return None
        try:
            answer = subprocess.run(
                [self._vcgencmd, "get_throttled"],
                capture_output=True,
                text=True,
                timeout=_COMMAND_TIMEOUT_S,
                check=True,
            )
            return throttle_names(answer.stdout.strip().removeprefix("throttled="))
        except (OSError, ValueError, subprocess.SubprocessError):
            self._vcgencmd = None  # it is installed, but not on a Pi or not for us: don't ask each time
            return None


def read_hardware(root: Path = Path("/")) -> Hardware:
    try:
        model = (root / "proc/device-tree/model").read_text(encoding="utf-8").rstrip("\0\n") or None
    except (OSError, UnicodeDecodeError):
        model = None
    return Hardware(
        machine=platform.machine(),
        os=_os_name(root),
        cpus=os.cpu_count() or 1,
        memory_bytes=int(psutil.virtual_memory().total),
        model=model,
    )


def throttle_names(text: str) -> tuple[str, ...]:
    """`50005` or `0x50005` (both hexadecimal) as names.

    Raises:
        ValueError: it is no number.
    """
    bits = int(text.strip(), 16)
    return tuple(name for bit, name in _THROTTLE_BITS.items() if bits >> bit & 1)


def _os_name(root: Path) -> str:
    try:
        text = (root / "etc/os-release").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return platform.system()
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return pairs.get("PRETTY_NAME", platform.system()).strip('"')


def _uptime_s(root: Path) -> float:
    return float((root / "proc/uptime").read_text(encoding="ascii").split()[0])


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
