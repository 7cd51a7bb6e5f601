"""A release is swapped under load: no frame is lost, and frames take hardly longer meanwhile.

Live pictures at 30 a second through MobileNetV2; ten swaps between two releases. A frame's time is from capture to its
answer; those of the second in which a swap happens are held against those before any.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.releases import full_hd_pictures, mobilenet_release
from benchmarks.workers import DIGESTS, MeasuredWorker
from edge_agent.config.sources import FolderSource
from edge_agent.inference.ipc import Result

_FPS = 30.0
_BEFORE = 300  # frames
_SWAPS = 10
_BETWEEN = 60  # frames from one swap to the next
_DURING_S = 1.0  # of a swap, from the order on


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        releases = [mobilenet_release(Path(temporary) / name) for name in ("one", "two")]
        pictures = full_hd_pictures(Path(temporary) / "pictures")
        with MeasuredWorker(FolderSource("folder", pictures, repeat=True, max_fps=_FPS), releases[0]) as worker:
            worker.take(60)
            before = [frame_ms(result) for _, result in worker.take(_BEFORE)]
            during: list[float] = []
            sequence = [result.seq for _, result in worker.take(1)]
            for number in range(_SWAPS):
                which = (number + 1) % 2
                worker.swap(releases[which], DIGESTS[which])
                frames = worker.take(int(_FPS * _DURING_S))
                during += [frame_ms(result) for _, result in frames]
                frames += worker.take(_BETWEEN - len(frames))
                sequence += [result.seq for _, result in frames]
    lost = sequence[-1] - sequence[0] + 1 - len(sequence)
    p99_before, p99_during = p99(before), p99(during)
    figures = {
        "frames_lost": lost,
        "p99_before_ms": round(p99_before, 2),
        "p99_during_ms": round(p99_during, 2),
        "p50_before_ms": round(statistics.median(before), 2),
        "ratio": round(p99_during / p99_before, 3),
    }
    print(json.dumps({"benchmark": "swap", **figures}))
    print(f"{_SWAPS} swaps: {lost} frames lost, p99 {p99_during:.1f} ms after {p99_before:.1f} ms", file=sys.stderr)
    return figures


def frame_ms(result: Result) -> float:
    return result.capture_ms + sum(result.answers["main"].latency_ms.values())


def p99(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.99 * len(values)) - 1)]


if __name__ == "__main__":
    main()
