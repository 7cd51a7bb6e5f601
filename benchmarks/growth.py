"""Memory of a worker after 10,000 frames and 50 swaps, of its memory early on: nothing is left behind.

One reading swings by 2 % with where the allocator happens to stand after a swap, and the first ten swaps fill its
arenas: so each end is the median of nine readings, a swap apart, and the first end comes after ten swaps.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from benchmarks.releases import full_hd_pictures, mobilenet_release
from benchmarks.workers import DIGESTS, MeasuredWorker
from edge_agent.config.sources import FolderSource

_WARM_UP_SWAPS = 10
_READINGS = 9
_FRAMES = 10_000
_SWAPS = 50
_FRAMES_A_SWAP = _FRAMES // _SWAPS


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        releases = [mobilenet_release(Path(temporary) / name) for name in ("one", "two")]
        pictures = full_hd_pictures(Path(temporary) / "pictures")
        with MeasuredWorker(FolderSource("folder", pictures, repeat=True), releases[0]) as worker:
            swapping = _swap_for_ever(worker, releases)
            list(islice(swapping, _WARM_UP_SWAPS))
            before = statistics.median(islice(swapping, _READINGS))
            list(islice(swapping, _SWAPS - _READINGS))
            after = statistics.median(islice(swapping, _READINGS))
    figures = {"before_bytes": before, "after_bytes": after, "ratio": round(after / before, 3)}
    print(json.dumps({"benchmark": "growth", **figures}))
    print(
        f"{before / 2**20:.1f} MiB, after {_FRAMES} frames and {_SWAPS} swaps {after / 2**20:.1f} MiB", file=sys.stderr
    )
    return figures


def _swap_for_ever(worker: MeasuredWorker, releases: list[Path]) -> Iterator[int]:
    """PSS in bytes after each swap, once the release before has been closed and frames have gone on for a while."""
    for which in cycle((1, 0)):
        worker.swap(releases[which], DIGESTS[which])
        worker.waiting()
        worker.take(_FRAMES_A_SWAP)
        yield worker.pss_bytes


if __name__ == "__main__":
    main()
