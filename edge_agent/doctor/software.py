"""Python, the system, the interpreter and the optional libraries."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from edge_agent.config.agent import Config
from edge_agent.config.row_sources import I2cSource, SerialSource
from edge_agent.config.sources import CameraSource, StreamSource, VideoSource
from edge_agent.doctor.check import Check, Machine, Verdict
from edge_agent.errors import describe_exit

_CHILD_TIMEOUT_S = 60.0
_OLDEST_GLIBC = (2, 27)  # of ai-edge-litert's wheels, manylinux_2_27
# Module → what it is for, and how it is installed.
_EXTRAS = {
    "av": ("videos, network cameras and H.264 USB cameras", "pip install 'edge-deploy[video]'"),
    "picamera2": ("the Pi's own camera", "apt-get install python3-picamera2, in an environment with system packages"),
    "serial": ("sensors on a serial port", "pip install 'edge-deploy[serial]'"),
    "smbus2": ("sensors on the I2C bus", "pip install 'edge-deploy[i2c]'"),
    "gpiod": ("triggers that switch a GPIO line", "pip install 'edge-deploy[gpio]'"),
}


def check_python(version: tuple[int, int] | None = None, bits: int | None = None) -> Check:
    version = version or sys.version_info[:2]
    bits = bits or (64 if sys.maxsize > 1 << 32 else 32)
    detail = f"Python {version[0]}.{version[1]}, {bits} bit"
    if version < (3, 11):
        return Check("python", "fail", f"{detail}; 3.11 is needed", "install a newer system, or Python with pyenv")
    if bits == 32:
        advice = "install the 64-bit system: there the faster interpreter runs, too"
        if version >= (3, 12):
            return Check("python", "fail", f"{detail}: no interpreter has a build for it", advice)
        return Check("python", "warn", f"{detail}: only tflite-runtime runs here", advice)
    return Check("python", "ok", detail)


def check_system(machine: Machine, libc: tuple[str, str] | None = None) -> Check:
    name, version = libc or platform.libc_ver()
    lines = (machine.read("etc/os-release") or "").splitlines()
    title = next(
        (line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "unknown system"
    )
    board = machine.read("proc/device-tree/model")
    detail = f"{title}, {platform.machine()}{f', {board}' if board else ''}"
    if name != "glibc":
        return Check(
            "system", "fail", f"{detail}, without glibc", "use Raspberry Pi OS or Debian: the interpreters need glibc"
        )
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_GLIBC:
        return Check("system", "fail", f"{detail}, glibc {version}", "install a newer system: glibc 2.27 is needed")
    return Check("system", "ok", f"{detail}, glibc {version}")


def check_interpreter(machine: Machine, found: Mapping[str, object]) -> list[Check]:
    """Whether a tiny model runs, by what `child` found.

    Importing the library proves nothing: under NumPy 2, tflite-runtime can be imported.
    """
    if "error" in found:
        return [Check("interpreter", "fail", str(found["error"]), _said(found, "pip install ai-edge-litert"))]
    detail = f"{found['library']}, NumPy {found['numpy']}"
    if not found["right"]:
        return [
            Check(
                "interpreter", "fail", f"{detail}: gives wrong answers to a tiny model", "install another version of it"
            )
        ]
    checks = [Check("interpreter", "ok", f"{detail}, runs a tiny model")]
    if found["delegated"]:
        return [*checks, Check("xnnpack", "ok", "the fast kernels (XNNPACK) are in use")]
    if machine.read("proc/cpuinfo"):
        advice = "see whether the library is a build for this processor; inference is several times slower"
    else:
        advice = "/proc/cpuinfo cannot be read, which XNNPACK needs: leave ProcSubset=pid out of the service's unit"
    verdict: Verdict = "warn" if str(found["library"]).startswith("tflite-runtime") else "fail"
    return [*checks, Check("xnnpack", verdict, "the fast kernels (XNNPACK) are not in use", advice)]


def check_extras(config: Config | None) -> list[Check]:
    """Optional libraries: missing ones are a fault only where the configuration needs them."""
    needed = needed_extras(config) if config else {}
    checks = []
    for module, (purpose, install) in _EXTRAS.items():
        name = f"extra {module}"
        if find_spec(module) is not None:
            checks.append(Check(name, "ok", f"installed, for {purpose}"))
        elif module in needed:
            checks.append(Check(name, "fail", f"missing, and {needed[module]} needs it", install))
        else:
            checks.append(Check(name, "ok", f"not installed; only {purpose} would need it ({install})"))
    return checks


def needed_extras(config: Config) -> Mapping[str, str]:
    """Module → the part of the configuration that needs it."""
    needed: dict[str, str] = {}
    for name, pipeline in config.pipeline.items():
        match pipeline.source:
            case CameraSource(device=device) if device.partition(":")[0] == "csi":
                needed.setdefault("picamera2", f"the camera of pipeline {name}")
            case CameraSource() | VideoSource() | StreamSource():
                needed.setdefault("av", f"the {pipeline.source.kind} of pipeline {name}")
            case SerialSource():
                needed.setdefault("serial", f"the serial port of pipeline {name}")
            case I2cSource():
                needed.setdefault("smbus2", f"the sensor of pipeline {name}")
        for trigger in pipeline.triggers:
            if trigger.gpio is not None:
                needed.setdefault("gpiod", f"trigger {trigger.name} of pipeline {name}")
    return needed


def ask_child(*words: str) -> dict[str, object]:
    """What `child` says; one that crashes is an error like any other."""
    command: Sequence[str] = [sys.executable, "-P", "-m", "edge_agent.doctor.child", *words]
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=_CHILD_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        return {"error": f"a process to try it in cannot be run: {error}"}
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        said = done.stderr.strip().splitlines()[-1:] or [""]
        return {"error": f"the process that tries it ended with {describe_exit(done.returncode)}: {said[0][:200]}"}
    found: dict[str, object] = json.loads(lines[-1])
    return found


def _said(found: Mapping[str, object], otherwise: str) -> str:
    return str(found.get("hint") or otherwise)
