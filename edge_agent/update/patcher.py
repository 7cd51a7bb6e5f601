"""Applying a patch in a short-lived child process: what blows up in it ends a child, and the supervisor stays small.

Base and patch go in block by block and the result comes out chunk by chunk, so that none of them is in the supervisor's
memory as a whole. Whether the result is what was signed is left to `patching`.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Timer
from typing import IO, Protocol, cast

from edge_agent.errors import describe_exit
from edge_agent.release.chunks import CHUNK_BYTES
from edge_agent.release.patch import PatchError

_TIMEOUT_S = 900.0  # hung; its limit of CPU time is over long before that
_TAIL = 300  # characters of its last words


@dataclass(frozen=True, slots=True)
class PatchJob:
    """Base and patch in blocks, with their sizes and that of the result."""

    base: Iterable[bytes]
    base_bytes: int
    patch: Iterable[bytes]
    patch_bytes: int
    result_bytes: int


class Patcher(Protocol):
    def __call__(self, job: PatchJob) -> Iterator[bytes]:
        """The result in chunks of `CHUNK_BYTES`, the last one shorter.

        Raises:
            PatchError: there is none. Chunks that came before it may be as wrong as they like.
        """
        ...


def patch_in_child(job: PatchJob) -> Iterator[bytes]:
    """A `Patcher`. Closing the iterator ends the child."""
    sizes = [str(size) for size in (job.base_bytes, job.patch_bytes, job.result_bytes)]
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "edge_agent.update.patch_child", *sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:  # no memory left for a process, say
        raise PatchError(f"the patching cannot be started: {error.strerror or error}") from error
    timer = Timer(_TIMEOUT_S, child.kill)
    timer.daemon = True
    timer.start()
    with child:
        try:
            _feed(cast("IO[bytes]", child.stdin), job)
            yield from _chunks(cast("IO[bytes]", child.stdout))
            words = cast("IO[bytes]", child.stderr).read()
            code = child.wait()
        finally:
            timer.cancel()
            child.kill()
    if code != 0:
        said = words.decode(errors="replace").strip()[-_TAIL:]
        raise PatchError(f"the patching ended with {describe_exit(code)}" + (f": {said}" if said else ""))


def _feed(stdin: IO[bytes], job: PatchJob) -> None:
    """All of base and patch. A child that has ended takes no more and says why later."""
    with suppress(BrokenPipeError):
        for blocks in (job.base, job.patch):
            for block in blocks:
                stdin.write(block)
    with suppress(BrokenPipeError):
        stdin.close()


def _chunks(stdout: IO[bytes]) -> Iterator[bytes]:
    while chunk := stdout.read(CHUNK_BYTES):
        yield chunk
