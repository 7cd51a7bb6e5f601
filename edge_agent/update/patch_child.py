"""The child process of `patcher`: `python -m edge_agent.update.patch_child BASE_BYTES PATCH_BYTES RESULT_BYTES`.

Limits its memory and its time first, then reads base and patch from stdin and writes the result to stdout. It knows no
files. Says why it cannot in one line on stderr and ends with 1; dying without a word is an answer too.
"""

import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from edge_agent.release.patch import PatchError, apply_patch

_ROOM_BYTES = 48 << 20  # for Python's allocator and three bzip2 decoders of 4 MB, in turn
_NICE = 5
_CPU_S, _CPU_S_PER_MB = 30, 10  # a Pi Zero takes about a second a megabyte


def main(arguments: Sequence[str]) -> int:
    base_bytes, patch_bytes, result_bytes = map(int, arguments)
    _limit_ourselves(base_bytes, patch_bytes, result_bytes)
    try:
        base, patch = _read(sys.stdin.buffer, base_bytes), _read(sys.stdin.buffer, patch_bytes)
        result = apply_patch(base, patch, result_bytes)
    except PatchError as error:
        print(error, file=sys.stderr)
        return 1
    except MemoryError:
        print("the patch needs more memory than patches of its size may", file=sys.stderr)
        return 1
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(result)
        sys.stdout.buffer.flush()
    return 0


def _read(file: IO[bytes], size_bytes: int) -> bytes:
    content = file.read(size_bytes)
    if len(content) != size_bytes:
        raise PatchError(f"expected {size_bytes} bytes on stdin, found {len(content)}")
    return content


def _limit_ourselves(base_bytes: int, patch_bytes: int, result_bytes: int) -> None:
    with suppress(OSError):  # where memory ends, this is what goes first, and not what serves
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    os.nice(_NICE)
    # The result twice (as it grows, and whole), its diff and extra blocks, the control block of at most 1.5 of it.
    address_space = _mapped_bytes() + _ROOM_BYTES + base_bytes + 2 * patch_bytes + 6 * result_bytes
    cpu_s = _CPU_S + _CPU_S_PER_MB * result_bytes // 1_000_000
    for what, limit in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(what)
        with suppress(ValueError, OSError):  # a system may refuse one of them
            resource.setrlimit(what, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _mapped_bytes() -> int:
    """What this process has mapped already."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 128 << 20  # no Linux: a laptop that tries it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
