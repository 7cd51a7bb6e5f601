"""Damaged models through the real probe, many a minute: `python -m tests.update.hostile RELEASE FIRST COUNT SEED`.

A process that has imported what a probe imports forks one child for each; that runs `probe_child.main` with its real
limits, and is judged as `probe` judges. Prints one JSON line for each, `{"number", "how", "verdict"}`: the verdict is
"proved", a Reason, or what must not be: "unable: ...".
"""

import json
import os
import select
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from random import Random

from ai_edge_litert import schema_py_generated as tflite

from edge_agent import schema
from edge_agent.clock import SystemClock
from edge_agent.errors import RejectionError, WorkerCrashedError
from edge_agent.inference.tflite import engine_library
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.update import probe, probe_child

_TIMEOUT_S = 20.0  # a model that loops is a rejection too
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Damager:
    """Makes damaged copies of a model: bits flipped, numbers of its structure overwritten, the end cut off."""

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._structure = structure_of(model)

    def damaged(self, number: int, seed: int) -> tuple[str, bytes]:
        """How the `number`-th copy is damaged, and its bytes. Same numbers, same bytes."""
        chance = Random(f"{seed}.{number}")
        content = bytearray(self._model)
        if number % 8 == 0:
            del content[chance.randrange(len(content)) :]
            return f"cut to {len(content)} bytes", bytes(content)
        if number % 8 in (1, 2):
            flips = chance.choice((1, 8, 64, 4096))
            for _ in range(flips):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            return f"{flips} bits anywhere", bytes(content)
        if number % 8 in (3, 4):
            place, value = chance.choice(self._structure) & ~3, chance.choice(_EXTREMES)  # numbers are aligned
            content[place : place + 4] = value.to_bytes(4, "little")
            return f"{value:#x} at {place}", bytes(content)
        flips = chance.choice((1, 1, 2, 4))
        for _ in range(flips):
            content[chance.choice(self._structure)] ^= 1 << chance.randrange(8)
        return f"{flips} bits of the structure", bytes(content)


def structure_of(model: bytes) -> list[int]:
    """Where in the file something else than weights is."""
    weights = bytearray(len(model))
    root = tflite.Model.GetRootAs(model, 0)
    for number in range(root.BuffersLength()):
        buffer = root.Buffers(number)
        start, size = buffer.Offset(), buffer.Size()  # of one that lies behind the tables
        if start <= 1:
            data = buffer.DataAsNumpy()
            if isinstance(data, int):  # flatbuffers' word for an empty vector
                continue
            start, size = model.find(data.tobytes()), data.size
        weights[start : start + size] = b"\1" * size
    return [place for place, is_weight in enumerate(weights) if not is_weight]


def judge(directory: Path) -> str:
    """What the probe says of an unpacked release, run in a fork of this process."""
    reading, writing = os.pipe()
    told = probe.Circumstances(timeout_s=_TIMEOUT_S)
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(writing, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.close(reading)
        code = 70
        try:
            code = probe_child.main([str(directory), json.dumps(schema.dump(told))])
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(writing)
    said, in_time = _read_all(reading)
    if not in_time:
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not in_time:
        return "probe_timeout"
    try:
        probe._judge(os.waitstatus_to_exitcode(status), said, b"")
    except RejectionError as error:
        return error.reason.value
    except WorkerCrashedError as error:
        return f"unable: {error}"
    return "proved"


def _read_all(reading: int) -> tuple[bytes, bool]:
    """What the child says, and whether it ended in time."""
    clock, said = SystemClock(), b""
    end_s = clock.monotonic_s() + _TIMEOUT_S
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while (left_s := end_s - clock.monotonic_s()) > 0:
            if not select.select([pipe], [], [], left_s)[0]:
                break
            some = pipe.read(65536)
            if not some:
                return said, True
            said += some
    return said, False


def main(arguments: list[str]) -> int:
    release = Path(arguments[0])
    first, count, seed = map(int, arguments[1:])
    damager = Damager((release / MODEL_FILE).read_bytes())
    engine_library()  # imported before the forks, not by each
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "release"
        shutil.copytree(release, directory)
        for number in range(first, first + count):
            how, damaged = damager.damaged(number, seed)
            (directory / MODEL_FILE).unlink()  # a child that still maps it keeps its own
            (directory / MODEL_FILE).write_bytes(damaged)
            print(json.dumps({"number": number, "how": how, "verdict": judge(directory)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
