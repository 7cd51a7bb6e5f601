"""What a child process that runs an unproved model allows itself: little of the processor, and not all memory."""

import math
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edge_agent.release.manifest import MODEL_FILE

# Python, numpy and LiteRT map 124 MB, each interpreter thread 8 MB more and possibly a malloc arena; a model, about
# twice its file (measured over the models in shared data). The limit stops one that asks for tens of gigabytes.
_ADDRESS_SPACE_BYTES = 1 << 30
_ADDRESS_SPACE_PER_THREAD_BYTES = 128 << 20
_ADDRESS_SPACE_PER_MODEL_BYTE = 4


def limit_process(directory: Path, *, threads: int, cpu_s: float) -> None:
    """Before anything of the release is read. Under a system call filter some of it is refused: then do without."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # short of memory, we go first
    model_bytes = (directory / MODEL_FILE).stat().st_size if (directory / MODEL_FILE).is_file() else 0
    address_space = (
        _ADDRESS_SPACE_BYTES + threads * _ADDRESS_SPACE_PER_THREAD_BYTES + model_bytes * _ADDRESS_SPACE_PER_MODEL_BYTE
    )
    for what, limit in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CPU, math.ceil(cpu_s)),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(OSError, ValueError):
            _, most = resource.getrlimit(what)
            resource.setrlimit(what, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def be_idle() -> None:
    """Take only the time that nobody else wants (Linux's SCHED_IDLE), else as little as can be asked for."""
    schedule: Callable[..., None] | None = getattr(os, "sched_setscheduler", None)
    with suppress(OSError):
        if schedule is not None:
            schedule(0, os.SCHED_IDLE, os.sched_param(0))
            return
    with suppress(OSError):
        os.nice(19)
