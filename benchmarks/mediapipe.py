"""How many times as fast an agent is as MediaPipe Tasks' ImageClassifier, and with how much of its memory.

The same model, pictures, threads and cores. Ours is the whole of `edge-agent run`, supervisor and worker, with
telemetry on and each result written to a file; theirs, a script with nothing but the classifier. MediaPipe is installed
for this alone, in an environment of its own. Memory is the largest proportional set size of all processes, sampled.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Self

import psutil

from benchmarks.releases import artifact_of, mixed_pictures, mobilenet_release
from edge_agent.inference.process import read_pss_bytes

_ROUNDS = 3
_FRAMES = 600  # ten times the folder
_WARM_UP = 60
_VERSION = "mediapipe==1.2.2"
_ENVIRONMENT = Path(__file__).parent.parent / ".venv-mediapipe"
_SCRIPT = """
import sys, time
from pathlib import Path
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]), max_results=5)
pictures = sorted(Path(sys.argv[2]).iterdir())
count, warm_up = int(sys.argv[3]), int(sys.argv[4])
with vision.ImageClassifier.create_from_options(options) as classifier:
    for number in range(warm_up + count):
        if number == warm_up:
            began = time.monotonic()
        classifier.classify(mp.Image.create_from_file(str(pictures[number % len(pictures)])))
print(count / (time.monotonic() - began))
"""
_CONFIG = """
[storage]
state_dir = "state"
[telemetry]
interval_s = 1
[pipeline.bench]
model = "mobilenet"
initial = "mobilenet-1.0.0.edge"
source = {{ kind = "folder", path = "{pictures}", repeat = true }}
sinks = [{{ kind = "jsonl", path = "results.jsonl" }}]
"""


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    python = _mediapipe_python()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        release = mobilenet_release(folder / "release")
        artifact_of(release, folder / "mobilenet-1.0.0.edge")
        pictures = mixed_pictures(folder / "pictures")
        (folder / "agent.toml").write_text(_CONFIG.format(pictures=pictures))
        theirs, ours = [], []
        for _ in range(_ROUNDS):
            theirs.append(_mediapipe(python, release / "model.tflite", pictures))
            ours.append(_agent(folder))
    ratios = [mine[0] / other[0] for other, mine in zip(theirs, ours, strict=True)]
    memory = [mine[1] / other[1] for other, mine in zip(theirs, ours, strict=True)]
    figures = {
        "mediapipe_fps": round(statistics.median(fps for fps, _ in theirs), 1),
        "agent_fps": round(statistics.median(fps for fps, _ in ours), 1),
        "mediapipe_mib": round(statistics.median(size for _, size in theirs) / 2**20, 1),
        "agent_mib": round(statistics.median(size for _, size in ours) / 2**20, 1),
        "ratio": round(statistics.median(ratios), 3),
        "memory_ratio": round(statistics.median(memory), 3),
    }
    print(json.dumps({"benchmark": "mediapipe", **figures}))
    for name in ("mediapipe", "agent"):
        print(f"{name:12}{figures[f'{name}_fps']:>8} pictures/s {figures[f'{name}_mib']:>8} MiB", file=sys.stderr)
    return figures


def _mediapipe_python() -> Path:
    python = _ENVIRONMENT / "bin" / "python"
    if not (_ENVIRONMENT / ".installed").exists():
        print("installing MediaPipe for this benchmark ...", file=sys.stderr)
        venv.create(_ENVIRONMENT, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _VERSION]
        subprocess.run(install, check=True)
        (_ENVIRONMENT / ".installed").touch()
    return python


def _mediapipe(python: Path, model: Path, pictures: Path) -> tuple[float, int]:
    command = [str(python), "-c", _SCRIPT, str(model), str(pictures), str(_FRAMES), str(_WARM_UP)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with _Memory(process.pid) as memory:
        output, _ = process.communicate()
    return float(output), memory.largest_bytes


def _agent(folder: Path) -> tuple[float, int]:
    results = folder / "results.jsonl"
    results.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "EDGE_AGENT_CONFIG": str(folder / "agent.toml"),
        "MALLOC_ARENA_MAX": "1",
    }  # as its unit
    command = [sys.executable, "-m", "edge_agent.cli", "run"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with _Memory(process.pid) as memory:
            began_s = _when(lambda: _lines(results) >= _WARM_UP)
            before = _lines(results)
            ended_s = _when(lambda: _lines(results) >= before + _FRAMES)
            count = _lines(results) - before
    finally:
        process.terminate()
        process.wait()
    return count / (ended_s - began_s), memory.largest_bytes


class _Memory:
    """The largest sum of the memory of a process and its children while this is open."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ended = Event()
        self._thread = Thread(target=self._sample)
        self.largest_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.1):
            try:
                pids = [self._process.pid, *(child.pid for child in self._process.children(recursive=True))]
            except psutil.NoSuchProcess:
                return
            self.largest_bytes = max(self.largest_bytes, sum(read_pss_bytes(pid) or 0 for pid in pids))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _when(condition: Callable[[], bool]) -> float:
    pause = Event()
    while not condition():
        pause.wait(0.01)
    return time.monotonic()


if __name__ == "__main__":
    main()
