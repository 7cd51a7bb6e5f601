"""`make bench`: every benchmark in a process of its own, one after the other; a table, and results.json beside it.

Each prints ratios of two things measured side by side in one run. A floor that is missed makes this exit with 3.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.releases import SHARED_DATA
from edge_agent.disk import write_atomic

_RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Benchmark:
    """A module of this package, and what its ratio is held to."""

    name: str
    claim: str
    at_least: float | None = None
    at_most: float | None = None
    needs_shared_data: bool = True

    def holds(self, ratio: float) -> bool:
        return (self.at_least is None or ratio >= self.at_least) and (self.at_most is None or ratio <= self.at_most)

    @property
    def bound(self) -> str:
        return f">= {self.at_least}" if self.at_least is not None else f"<= {self.at_most}"


BENCHMARKS = (
    Benchmark("worker_fps", "frames/s of a worker on 1080p JPEG, of an invoke-only loop", at_least=0.80),
    Benchmark("memory", "PSS of a worker, of a bare numpy + pillow + interpreter script", at_most=1.25),
    Benchmark("supervisor", "PSS of the supervisor, of 30 MiB", at_most=1.0, needs_shared_data=False),
    Benchmark(
        "fetch",
        "speed of a verified 20 MB pull, of a bare subscriber that keeps it",
        at_least=0.5,
        needs_shared_data=False,
    ),
)


def main(names: list[str]) -> int:
    chosen = [benchmark for benchmark in BENCHMARKS if not names or benchmark.name in names]
    results: dict[str, object] = {}
    rows, missed = [], False
    for benchmark in chosen:
        if benchmark.needs_shared_data and not SHARED_DATA.is_dir():
            rows.append((benchmark, "skipped: needs ../shared/data"))
            continue
        command = [sys.executable, "-m", f"benchmarks.{benchmark.name}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        results[benchmark.name] = figures
        holds = benchmark.holds(figures["ratio"])
        missed |= not holds
        rows.append((benchmark, f"{figures['ratio']:<8} {benchmark.bound:<8} {'' if holds else 'MISSED'}"))
    if not names:
        write_atomic(_RESULTS, json.dumps(results, indent=1).encode() + b"\n")
    print()
    for benchmark, text in rows:
        print(f"{benchmark.claim:<66}{text}")
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
