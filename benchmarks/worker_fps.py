"""How near a worker comes to the slower of its two halves: MobileNetV2 on 1080p JPEG files, one interpreter thread.

The worker reads, decodes, resizes, invokes, decodes the answer and sends it to the supervisor. Beside it in the same
run: a loop that only invokes, and one that only prepares; with two cores nothing can be faster than the slower
of them. All run in turn, several times, and the median of the ratios counts.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.releases import full_hd_pictures, mobilenet_release
from benchmarks.workers import MeasuredWorker
from edge_agent.config.sources import FolderSource
from edge_agent.inference.model import Model, open_release
from edge_agent.transform.image import read_image
from edge_agent.transform.prepared import Prepared

_ROUNDS = 7
_FRAMES = 800


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        release = mobilenet_release(Path(temporary) / "release")
        pictures = full_hd_pictures(Path(temporary) / "pictures")
        source = FolderSource("folder", pictures, repeat=True)
        rounds = []
        with open_release(release) as model:
            prepare = _preparing(model, sorted(pictures.iterdir()))
            for _ in range(_ROUNDS):
                limits = (loop_fps(invoking(model), _FRAMES), loop_fps(prepare, _FRAMES))
                with MeasuredWorker(source, release) as worker:
                    rounds.append((*limits, worker.fps(_FRAMES, warm_up=100)))
    return report("worker_fps", "worker, 1080p JPEG", rounds)


def report(name: str, title: str, rounds: list[tuple[float, float, float]]) -> dict[str, float]:
    """From rounds of invoke-only, prepare-only and worker frames/s."""
    ratios = [mine / min(invoke, prepare) for invoke, prepare, mine in rounds]  # of neighbors in time
    invoke, prepare, mine = (round(statistics.median(column), 1) for column in zip(*rounds, strict=True))
    figures = {
        "invoke_only_fps": invoke,
        "prepare_only_fps": prepare,
        "worker_fps": mine,
        "ratio": round(statistics.median(ratios), 3),
        "best_ratio": round(max(ratios), 3),  # on a machine that does other things too, nearer to the truth
    }
    print(json.dumps({"benchmark": name, **figures}))
    print(f"{'':24}{'frames/s':>10}", file=sys.stderr)
    for label, value in (("invoke only", invoke), ("prepare only", prepare)):
        print(f"{label:24}{value:>10}", file=sys.stderr)
    print(f"{title:24}{mine:>10}   ratio {figures['ratio']}", file=sys.stderr)
    return figures


def loop_fps(step: Callable[[int], object], count: int) -> float:
    for number in range(20):
        step(number)
    began_s = time.monotonic()
    for number in range(count):
        step(number)
    return count / (time.monotonic() - began_s)


def invoking(model: Model) -> Callable[[int], object]:
    prepared = Prepared(tuple(np.zeros(tensor.shape, tensor.dtype) for tensor in model.engine.inputs))
    return lambda _: model.invoke(prepared)


def _preparing(model: Model, paths: list[Path]) -> Callable[[int], object]:
    return lambda number: model.prepare_image(read_image(paths[number % len(paths)]))


if __name__ == "__main__":
    main()
