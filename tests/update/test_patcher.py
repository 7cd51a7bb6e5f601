"""The child process that patches: whatever a patch does in it, a PatchError is all that comes out."""

import resource
import subprocess
from collections.abc import Iterator
from typing import Any

import bsdiff4
import pytest

from edge_agent.release.chunks import CHUNK_BYTES
from edge_agent.release.patch import PatchError
from edge_agent.update.patcher import PatchJob, patch_in_child
from tests.release.test_patch import crafted
from tests.sim.releases import noise

BASE = noise(3_000_000, "base")
NEW = BASE[:1_000_000] + b"between" + BASE[900_000:]
PATCH: bytes = bsdiff4.diff(BASE, NEW)


def job(base: bytes = BASE, patch: bytes = PATCH, result_bytes: int = len(NEW)) -> PatchJob:
    return PatchJob(_blocks(base), len(base), _blocks(patch), len(patch), result_bytes)


def _blocks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1 << 20):
        yield content[start : start + (1 << 20)]


def test_the_result_comes_in_chunks() -> None:
    chunks = list(patch_in_child(job()))

    assert {len(chunk) for chunk in chunks[:-1]} == {CHUNK_BYTES}
    assert b"".join(chunks) == NEW


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (job(patch=PATCH[:-1]), "cut off"),
        (job(patch=noise(1000, "patch")), "begins with"),
        (job(result_bytes=5), "expected 5"),
        (PatchJob(_blocks(BASE), len(BASE) + 1, _blocks(b""), 0, 10), "on stdin"),
        (PatchJob(_blocks(b""), 1 << 20, _blocks(b""), 0, 10), "on stdin"),
        (job(base=noise(len(BASE), "another")[:10], patch=crafted((9, 0, 0), diff=b"1")), "expected"),
    ],
)
def test_what_cannot_be_patched_is_said(broken: PatchJob, words: str) -> None:
    with pytest.raises(PatchError, match=words):
        list(patch_in_child(broken))


def test_a_patch_that_wants_more_memory_than_it_may_ends_its_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the bounds in `apply_patch` were not there: the limit of the child is a second wall."""
    greedy = "from edge_agent.release import patch, manifest\nfrom edge_agent.update import patch_child\n"
    greedy += "patch_child.apply_patch = lambda *_: bytes(1 << 30)\n"
    greedy += "import sys\nsys.exit(patch_child.main(sys.argv[1:]))"
    start = subprocess.Popen

    def start_greedy(command: list[str], **how: Any) -> object:
        return start([command[0], "-P", "-c", greedy, *command[4:]], **how)

    monkeypatch.setattr(subprocess, "Popen", start_greedy)
    with pytest.raises(PatchError, match="more memory than"):
        list(patch_in_child(job()))


def test_a_child_that_is_no_longer_wanted_is_ended() -> None:
    chunks = patch_in_child(job())
    next(chunks)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    chunks.close()  # type: ignore[attr-defined]  # it is a generator

    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime >= before  # it has been waited for
    assert list(chunks) == []


def test_a_child_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(PatchError, match="cannot be started: Cannot allocate memory"):
        list(patch_in_child(job()))
