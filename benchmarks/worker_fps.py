"""How near a worker comes to an invoke-only loop: MobileNetV2 on 1080p JPEG files, one interpreter thread.

The worker reads, decodes, resizes, invokes, decodes the answer and sends it to the supervisor; the loop only invokes.
Both run in turn, several times, and the median of the ratios counts. What a peer does is left to other benchmarks.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from benchmarks.releases import full_hd_pictures, mobilenet_release
from edge_agent.config.sources import FolderSource
from edge_agent.inference.ipc import Result, StageStart, Start, Word
from edge_agent.inference.model import open_release
from edge_agent.inference.process import WorkerProcess

_ROUNDS = 5
_WARM_UP_FRAMES = 30
_FRAMES = 250


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        release = mobilenet_release(Path(temporary) / "release")
        pictures = full_hd_pictures(Path(temporary) / "pictures")
        invoke_only, worker = [], []
        for _ in range(_ROUNDS):
            invoke_only.append(_invoke_only_fps(release))
            worker.append(_worker_fps(release, pictures))
    ratios = [mine / limit for mine, limit in zip(worker, invoke_only, strict=True)]  # of neighbors in time
    figures = {
        "invoke_only_fps": round(statistics.median(invoke_only), 1),
        "worker_fps": round(statistics.median(worker), 1),
        "ratio": round(statistics.median(ratios), 3),
        "best_ratio": round(max(ratios), 3),  # on a machine that does other things too, nearer to the truth
    }
    print(json.dumps({"benchmark": "worker_fps", **figures}))
    print(f"{'':24}{'frames/s':>10}", file=sys.stderr)
    print(f"{'invoke only':24}{figures['invoke_only_fps']:>10}", file=sys.stderr)
    print(f"{'worker, 1080p JPEG':24}{figures['worker_fps']:>10}   ratio {figures['ratio']}", file=sys.stderr)
    return figures


def _invoke_only_fps(release: Path) -> float:
    with open_release(release, threads=1) as model:
        inputs = [np.zeros(tensor.shape, tensor.dtype) for tensor in model.engine.inputs]
        for _ in range(_WARM_UP_FRAMES):
            model.engine.invoke(inputs)
        began_s = time.monotonic()
        for _ in range(_FRAMES):
            model.engine.invoke(inputs)
        return _FRAMES / (time.monotonic() - began_s)


def _worker_fps(release: Path, pictures: Path) -> float:
    arrived_s: SimpleQueue[float] = SimpleQueue()

    def hear(word: Word) -> None:
        if isinstance(word, Result):
            arrived_s.put(time.monotonic())

    source = FolderSource("folder", pictures, repeat=True)
    worker = WorkerProcess(Start("bench", source, {"main": StageStart(str(release), "0" * 64)}), hear, lambda _: None)
    try:
        times_s = [arrived_s.get(timeout=60) for _ in range(_WARM_UP_FRAMES + _FRAMES)]
    finally:
        worker.stop()
    return _FRAMES / (times_s[-1] - times_s[-_FRAMES - 1])


if __name__ == "__main__":
    main()
