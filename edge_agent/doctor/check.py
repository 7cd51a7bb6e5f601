"""What the doctor says, and the machine it looks at: everything below a root, and commands that may not be there."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]
_COMMAND_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what it is about, how it stands, and what to do unless it is well."""

    name: str
    verdict: Verdict
    detail: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """`root` is where /proc, /sys and /dev are found; `run` gives a command's output, None where it cannot be had."""

    root: Path
    run: Callable[[Sequence[str]], str | None]

    def read(self, path: str) -> str | None:
        """A file of the machine; None where it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8").strip("\0\n ")
        except (OSError, UnicodeDecodeError):
            return None


def this_machine() -> Machine:
    return Machine(Path("/"), run_command)


def run_command(command: Sequence[str]) -> str | None:
    """The standard output of a command; None where there is none, it fails, or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=_COMMAND_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
