"""What keeps an external delegate from being used, said before the interpreter is asked: its own words name no cause.

Everything is looked up below `root`, so that a test can lay a machine out. Loading the delegate into an interpreter is
left to `tflite`; whether it may be done without, to the configuration. Neither numpy nor an interpreter here.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.pipeline import Delegate
from edge_agent.inference.model_file import ModelFile

CREATE = "tflite_plugin_create_delegate"  # tensorflow/lite/delegates/external/external_delegate.h
DESTROY = "tflite_plugin_destroy_delegate"
_ROOT = Path("/")
# Where glibc's loader looks beside LD_LIBRARY_PATH and ld.so.conf (ld.so(8)), and Debian's directories by architecture.
_PLAIN_DIRECTORIES = ("lib", "usr/lib", "usr/local/lib", "lib64", "usr/lib64")
_EDGE_TPU_HINT = (
    "install package libedgetpu1-std from Coral's apt repository (see coral.ai/software), or a build of libedgetpu "
    "for this system"
)
# e_machine of the ELF header (elf(5)); 32-bit and 64-bit programs have different ones, but for x32
_MACHINES = {3: "x86 (32 bit)", 40: "ARM (32 bit)", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
# The USB accelerator names itself as a bare controller until it has been given its firmware, by its first use
# (libedgetpu, driver/usb and the udev rules of its package).
_EDGE_TPU_USB = (("1a6e", "089a"), ("18d1", "9302"))


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a delegate cannot be used, and what to try."""

    detail: str
    hint: str


def is_edge_tpu(library: str) -> bool:
    return Path(library).name.startswith("libedgetpu")


def library_problem(library: str, root: Path = _ROOT) -> Problem | None:
    """What keeps the library from being a delegate on this machine; loads it, so it may do anything.

    A delegate that crashes takes the process with it: ask where that is no loss, as in a worker.
    """
    found, searched = find_library(library, root)
    if found is None:
        hint = _EDGE_TPU_HINT if is_edge_tpu(library) else "install it, or give the path of the file"
        return Problem(f"delegate {library} is not on this machine; looked in {', '.join(searched)}", hint)
    return _architecture_problem(found) or _loading_problem(library, found)


def device_problem(library: str, root: Path = _ROOT) -> Problem | None:
    """What keeps the hardware behind a delegate from being used; of those known here, which is the Edge TPU."""
    if not is_edge_tpu(library):
        return None
    nodes = edge_tpu_devices(root)
    if not nodes:
        return Problem(
            "no Edge TPU is plugged in: neither USB (1a6e:089a, 18d1:9302) nor PCIe (/dev/apex_0)",
            "plug it in, to a USB 3 port with enough power; `lsusb` shows it. The agent's service must be allowed it: "
            "DeviceAllow= in its unit",
        )
    usable = [node for node in nodes if os.access(node, os.R_OK | os.W_OK)]
    if not usable:
        return Problem(
            f"the Edge TPU at {nodes[0]} may not be used by this user",
            "add the agent's user to its group (plugdev for USB, apex for PCIe): usermod -aG plugdev edge-agent; "
            "then start the service anew",
        )
    return None


def model_problem(delegate: Delegate, model: ModelFile) -> Problem | None:
    """What keeps the model from being run on that delegate."""
    if is_edge_tpu(delegate.library) and not model.needs_edge_tpu:
        return Problem(
            f"{model.path.name} is not compiled for the Edge TPU, so that all of it would run on the CPU",
            "compile it with edgetpu_compiler (it must be int8 all through), or leave the delegate out",
        )
    return None


def preflight(delegate: Delegate, model: ModelFile, root: Path = _ROOT) -> Problem | None:
    """The first thing that is missing, None where nothing is."""
    return (
        model_problem(delegate, model)
        or library_problem(delegate.library, root)
        or device_problem(delegate.library, root)
    )


def find_library(library: str, root: Path = _ROOT) -> tuple[Path | None, list[str]]:
    """The file that would be loaded, as dlopen(3) looks for it, and where was looked."""
    if "/" in library:
        return (Path(library) if Path(library).is_file() else None), [str(Path(library).parent)]
    searched = list(dict.fromkeys(_directories(root)))
    found = next((directory / library for directory in searched if (directory / library).is_file()), None)
    return found, [str(directory) for directory in searched if directory.is_dir()]


def edge_tpu_devices(root: Path = _ROOT) -> list[Path]:
    """The device nodes of the Edge TPUs that are plugged in."""
    nodes = sorted((root / "dev").glob("apex_*"))
    for device in sorted((root / "sys/bus/usb/devices").glob("*")):
        if (_word(device / "idVendor"), _word(device / "idProduct")) in _EDGE_TPU_USB:
            bus, number = _word(device / "busnum"), _word(device / "devnum")
            nodes.append(root / "dev/bus/usb" / bus.zfill(3) / number.zfill(3))
    return nodes


def elf_machine(path: Path) -> str | None:
    """What an ELF file was built for; None of a file that is no ELF."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError:
        return None
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(number, f"machine {number}")


def _architecture_problem(found: Path) -> Problem | None:
    built, ours = elf_machine(found), elf_machine(Path(sys.executable).resolve())
    if built is None:
        return Problem(f"{found} is no shared library", "download it again, or give the path of the .so file")
    if ours is not None and built != ours:
        return Problem(
            f"{found} is built for {built}; this Python is for {ours}", f"install the library's build for {ours}"
        )
    return None


def _loading_problem(library: str, found: Path) -> Problem | None:
    try:
        # As the interpreters load it: by the name that was given, so that the loader's own search counts.
        loaded = ctypes.PyDLL(library if "/" in library else found.name)
    except OSError as error:
        return Problem(f"{found} cannot be loaded: {error}", _loading_hint(str(error), library))
    lacking = [name for name in (CREATE, DESTROY) if not hasattr(loaded, name)]
    if lacking:
        return Problem(
            f"{found} is no TensorFlow Lite delegate: it has no {' and no '.join(lacking)}",
            "give the library of an external delegate",
        )
    return None


def _loading_hint(message: str, library: str) -> str:
    missing = message.partition(":")[0]
    if "cannot open shared object file" not in message:
        return "see what `ldd` says of it; take a build for this system"
    return "run ldconfig, or give its whole path" if missing == library else f"install {missing}, which it needs"


def _directories(root: Path) -> Iterator[Path]:
    for directory in filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")):
        yield Path(directory)
    yield from _configured(root, root / "etc/ld.so.conf")
    for plain in _PLAIN_DIRECTORIES:
        yield root / plain
        yield from sorted((root / plain).glob("*-linux-gnu*"))


def _configured(root: Path, path: Path) -> Iterator[Path]:
    """The directories of an ld.so.conf and of those it includes (ldconfig(8))."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        word = line.partition("#")[0].strip()
        if word.startswith("include "):
            pattern = word.removeprefix("include ").strip().lstrip("/")
            for included in sorted(root.glob(pattern)):
                if included != path:
                    yield from _configured(root, included)
        elif word.startswith("/"):
            yield root / word.lstrip("/")


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
