"""Memory of a worker after 10,000 frames and 50 swaps, of its memory early on: nothing is left behind."""

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.releases import full_hd_pictures, mobilenet_release
from benchmarks.workers import DIGESTS, MeasuredWorker
from edge_agent.config.sources import FolderSource

_WARM_UP_SWAPS = 4
_SETTLING = 500  # frames
_FRAMES = 10_000
_SWAPS = 50


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        releases = [mobilenet_release(Path(temporary) / name) for name in ("one", "two")]
        pictures = full_hd_pictures(Path(temporary) / "pictures")
        with MeasuredWorker(FolderSource("folder", pictures, repeat=True), releases[0]) as worker:
            for number in range(_WARM_UP_SWAPS):
                which = (number + 1) % 2
                worker.swap(releases[which], DIGESTS[which])
            before = _settled_bytes(worker)
            for number in range(_SWAPS):
                worker.take(_FRAMES // _SWAPS)
                which = (number + 1) % 2
                worker.swap(releases[which], DIGESTS[which])
            after = _settled_bytes(worker)
    figures = {"before_bytes": before, "after_bytes": after, "ratio": round(after / before, 3)}
    print(json.dumps({"benchmark": "growth", **figures}))
    print(
        f"{before / 2**20:.1f} MiB, after {_FRAMES} frames and {_SWAPS} swaps {after / 2**20:.1f} MiB", file=sys.stderr
    )
    return figures


def _settled_bytes(worker: MeasuredWorker) -> int:
    """Once the release before has been closed and frames have gone on for a while."""
    worker.waiting()
    worker.take(_SETTLING)
    return worker.pss_bytes


if __name__ == "__main__":
    main()
