"""A candidate runs in shadow: the release that serves is hardly slower meanwhile, and loses no frame.

Live pictures at 30 a second through MobileNetV2, and a second one in shadow on a tenth of them, as `agent.toml` would
say, then on all. A frame's time is from capture to its answer.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from queue import SimpleQueue

from benchmarks.releases import full_hd_pictures, mobilenet_release
from benchmarks.swap import frame_ms, p99
from benchmarks.workers import DIGESTS, MeasuredWorker
from edge_agent.config.sources import FolderSource
from edge_agent.inference.ipc import EndShadow, Result, Shadow, Shadowed, Word

_FPS = 30.0
_BLOCKS = 5
_FRAMES = 150  # of a block
_SHARES = (0.1, 1.0)


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        serving, candidate = (mobilenet_release(folder / name) for name in ("one", "two"))
        pictures = full_hd_pictures(folder / "pictures")
        with _Worker(FolderSource("folder", pictures, repeat=True, max_fps=_FPS), serving) as worker:
            first = worker.take(60)[-1][1].seq
            alone: list[Result] = []
            beside: dict[float, list[Result]] = {share: [] for share in _SHARES}
            for _ in range(_BLOCKS):  # in turn: the machine may be busier at one time than at another
                alone += [result for _, result in worker.take(_FRAMES)]
                for share in _SHARES:
                    beside[share] += worker.take_beside(candidate, share)
        last = beside[_SHARES[-1]][-1].seq
        frames = sum(map(len, beside.values())) + len(alone) + worker.between
    before = sorted(map(frame_ms, alone))
    times = {share: sorted(map(frame_ms, results)) for share, results in beside.items()}
    figures = {
        "ratio": round(statistics.median(times[0.1]) / statistics.median(before), 3),
        "p99_ratio": round(p99(times[0.1]) / p99(before), 3),
        "all_frames_ratio": round(statistics.median(times[1.0]) / statistics.median(before), 3),
        "all_frames_p99_ratio": round(p99(times[1.0]) / p99(before), 3),
        "frames_lost": last - first - frames,
    }
    print(json.dumps({"benchmark": "shadow", "p50_before_ms": round(statistics.median(before), 2), **figures}))
    for share, values in times.items():
        print(
            f"shadow on {share:.0%} of the frames, {worker.compared[share]} compared: "
            f"p50 {statistics.median(values):.1f} ms after {statistics.median(before):.1f} ms, "
            f"p99 {p99(values):.1f} ms after {p99(before):.1f} ms",
            file=sys.stderr,
        )
    return figures


class _Worker(MeasuredWorker):
    """Hears of the shadow, too."""

    def __init__(self, source: FolderSource, release: Path) -> None:
        self._shadowed: SimpleQueue[Shadowed] = SimpleQueue()
        self.compared: dict[float, int] = {}
        self.between = 0  # results that came while a shadow was loading
        super().__init__(source, release)

    def take_beside(self, candidate: Path, share: float) -> list[Result]:
        """Results while `candidate` runs in shadow, from its first comparison on."""
        self.send(Shadow("main", str(candidate), DIGESTS[1], share, 10**6))
        first = self._shadowed.get(timeout=60)
        assert first.problem is None, first.problem
        self.between += len(self.waiting())
        results = [result for _, result in self.take(_FRAMES)]
        self.send(EndShadow("main"))
        compared = first.compared
        while not self._shadowed.empty():
            compared = self._shadowed.get().compared
        self.compared[share] = self.compared.get(share, 0) + compared
        return results

    def _hear(self, word: Word) -> None:
        super()._hear(word)
        if isinstance(word, Shadowed):
            self._shadowed.put(word)


if __name__ == "__main__":
    main()
