"""How near a worker comes to the slower of its two halves: MobileNetV2 on 1080p JPEG files, one interpreter thread.

The worker reads, decodes, resizes, invokes, decodes the answer and sends it to the supervisor. Beside it in the same
run: a loop that only invokes, and one that only prepares; with two cores nothing can be faster than the slower of them;
and a loop written by hand that overlaps the two and does nothing else. All run in turn, several times, and the median
of the ratios counts.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue
from threading import Thread

import numpy as np

from benchmarks.releases import full_hd_pictures, mobilenet_release
from benchmarks.workers import MeasuredWorker
from edge_agent.config.sources import FolderSource
from edge_agent.inference.model import Model, open_release
from edge_agent.transform.image import read_image
from edge_agent.transform.prepared import Prepared

_ROUNDS = 5
_FRAMES = 800


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        release = mobilenet_release(Path(temporary) / "release")
        pictures = full_hd_pictures(Path(temporary) / "pictures")
        source = FolderSource("folder", pictures, repeat=True)
        rounds, by_hand = [], []
        with open_release(release) as model:
            prepare = _preparing(model, sorted(pictures.iterdir()))
            for _ in range(_ROUNDS):
                limits = (loop_fps(invoking(model), _FRAMES), loop_fps(prepare, _FRAMES))
                by_hand.append(_by_hand_fps(model, prepare, _FRAMES))
                with MeasuredWorker(source, release) as worker:
                    rounds.append((*limits, worker.fps(_FRAMES, warm_up=100)))
    more = {"by_hand_ratio": round(statistics.median(h / min(r[:2]) for h, r in zip(by_hand, rounds, strict=True)), 3)}
    return report("worker_fps", "worker, 1080p JPEG", rounds, more)


def report(
    name: str, title: str, rounds: list[tuple[float, float, float]], more: Mapping[str, float] | None = None
) -> dict[str, float]:
    """From rounds of invoke-only, prepare-only and worker frames/s."""
    ratios = [mine / min(invoke, prepare) for invoke, prepare, mine in rounds]  # of neighbors in time
    invoke, prepare, mine = (round(statistics.median(column), 1) for column in zip(*rounds, strict=True))
    figures = {
        "invoke_only_fps": invoke,
        "prepare_only_fps": prepare,
        "worker_fps": mine,
        "ratio": round(statistics.median(ratios), 3),
        "best_ratio": round(max(ratios), 3),  # on a machine that does other things too, nearer to the truth
        **(more or {}),
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


def _by_hand_fps(model: Model, prepare: Callable[[int], Prepared], count: int) -> float:
    """The least that overlaps both: a thread that prepares, one that invokes; no results, no figures, no supervisor."""
    waiting: Queue[Prepared] = Queue(2)
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)

    def prepare_all() -> None:
        for number in range(count):
            waiting.put(prepare(number))

    thread = Thread(target=prepare_all)
    thread.start()
    began_s = time.monotonic()
    for _ in range(count):
        model.invoke(waiting.get())
    fps = count / (time.monotonic() - began_s)
    thread.join()
    sys.setswitchinterval(before)
    return fps


def invoking(model: Model) -> Callable[[int], object]:
    prepared = Prepared(tuple(np.zeros(tensor.shape, tensor.dtype) for tensor in model.engine.inputs))
    return lambda _: model.invoke(prepared)


def _preparing(model: Model, paths: list[Path]) -> Callable[[int], Prepared]:
    return lambda number: model.prepare_image(read_image(paths[number % len(paths)]))


if __name__ == "__main__":
    main()
