"""Four pipelines at once, each a worker of its own: their frames/s together, of one that has the machine alone.

`starved` is the slowest one's share of a fair quarter.
"""

import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from benchmarks.releases import full_hd_pictures, mobilenet_release
from benchmarks.workers import MeasuredWorker
from edge_agent.config.sources import FolderSource

_ROUNDS = 3
_PIPELINES = 4
_FRAMES = 250  # of the one alone


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        release = mobilenet_release(Path(temporary) / "release")
        source = FolderSource("folder", full_hd_pictures(Path(temporary) / "pictures"), repeat=True)
        rounds = []
        for _ in range(_ROUNDS):
            with MeasuredWorker(source, release) as worker:
                alone = worker.fps(_FRAMES)
            rounds.append((alone, _together(source, release, _FRAMES / alone)))
    alone = round(statistics.median(fps for fps, _ in rounds), 1)
    shares = [[count / sum(counts) * _PIPELINES for count in counts] for _, (counts, _) in rounds]
    figures = {
        "alone_fps": alone,
        "together_fps": round(statistics.median(sum(counts) / seconds for _, (counts, seconds) in rounds), 1),
        "starved": round(min(min(row) for row in shares), 3),
        "ratio": round(statistics.median(sum(counts) / seconds / fps for fps, (counts, seconds) in rounds), 3),
    }
    print(json.dumps({"benchmark": "pipelines", **figures}))
    print(f"one alone {alone} frames/s, four {figures['together_fps']}, least {figures['starved']}", file=sys.stderr)
    return figures


def _together(source: FolderSource, release: Path, seconds: float) -> tuple[list[int], float]:
    """Frames of each over about `seconds`, and how long that was."""
    with ExitStack() as stack:
        workers = [stack.enter_context(MeasuredWorker(source, release)) for _ in range(_PIPELINES)]
        for worker in workers:
            worker.take(30)
        for worker in workers:
            worker.waiting()
        began_s = time.monotonic()
        Event().wait(2 * seconds)
        counts = [len(worker.waiting()) for worker in workers]
        return counts, time.monotonic() - began_s


if __name__ == "__main__":
    main()
