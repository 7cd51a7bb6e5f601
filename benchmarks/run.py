"""`make bench`: every benchmark in a process of its own, one after the other; a table, results.json beside it, and the
tables of figures in README and docs.

Each prints ratios of two things measured side by side in one run. A floor that is missed, or a benchmark that fails,
makes this exit with 3.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.documents import write_documents
from benchmarks.releases import SHARED_DATA
from edge_agent.disk import write_atomic

_RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Claim:
    """What one figure of a benchmark is held to."""

    text: str
    key: str = "ratio"
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def bound(self) -> str:
        return f">= {self.at_least}" if self.at_least is not None else f"<= {self.at_most}"


@dataclass(frozen=True)
class Benchmark:
    """A module of this package, and what it claims."""

    name: str
    claims: tuple[Claim, ...]
    needs_shared_data: bool = True


BENCHMARKS = (
    Benchmark("worker_fps", (Claim("frames/s of a worker on 1080p JPEG, of its slower half alone", at_least=0.90),)),
    Benchmark("video_fps", (Claim("frames/s of a worker on 720p H.264, of its slower half alone", at_least=0.95),)),
    Benchmark("label_image", (Claim("frames/s of a worker, of a label_image-style loop", at_least=2.3),)),
    Benchmark(
        "mediapipe",
        (
            Claim("frames/s of an agent, of MediaPipe's ImageClassifier", at_least=2.3),
            Claim("memory of that agent, of MediaPipe's", "memory_ratio", at_most=0.52),
        ),
    ),
    Benchmark(
        "swap",
        (
            Claim("p99 of a frame around a swap of releases, of before", at_most=1.5),
            Claim("frames lost in ten swaps", "frames_lost", at_most=0),
        ),
    ),
    Benchmark(
        "update",
        (
            Claim("written to the disk by an update of 3.6 MB, of its size", at_most=3.0),
            Claim("s from its document to its commit, without the trial's time", "update_s", at_most=3.0),
            Claim("frames lost in five updates", "frames_lost", at_most=0),
        ),
    ),
    Benchmark(
        "shadow",
        (
            Claim("p50 of a frame beside a shadow on a tenth of them, of before", at_most=1.15),
            Claim("p99 of these", "p99_ratio", at_most=1.5),
            Claim("frames lost beside a shadow", "frames_lost", at_most=0),
        ),
    ),
    Benchmark("growth", (Claim("memory of a worker after 10,000 frames and 50 swaps, of before", at_most=1.02),)),
    Benchmark(
        "pipelines",
        (
            Claim("frames/s of four pipelines together, of one alone", at_least=0.9),
            Claim("least share of the four, of a fair one", "starved", at_least=0.5),
        ),
    ),
    Benchmark("memory", (Claim("PSS of a worker, of a bare numpy + pillow + interpreter script", at_most=1.25),)),
    Benchmark("supervisor", (Claim("PSS of the supervisor, of 30 MiB", at_most=1.0),), needs_shared_data=False),
    Benchmark(
        "fetch",
        (
            Claim("speed of a verified 20 MB pull, of a bare subscriber that keeps it", at_least=0.5),
            Claim("the same, of a bare one that asks with the same window", "window_ratio", at_least=0.7),
        ),
        needs_shared_data=False,
    ),
    Benchmark(
        "fetch_memory",
        (Claim("memory of the supervisor while it pulls 100 MB, above idle, of 20 MiB", at_most=1.0),),
        needs_shared_data=False,
    ),
    Benchmark(
        "links",
        (
            Claim("share of a line (20-100 ms, 1-4 MB/s) that carries chunks, the worst", at_least=0.8),
            Claim("the same over HTTPS, by ranges", "https_ratio", at_least=0.8),
        ),
        needs_shared_data=False,
    ),
    Benchmark(
        "fleet",
        (
            Claim("devices of 1,000 that take a release, mosquitto killed in the middle", at_least=1.0),
            Claim("the same on three nodes of NATS, one killed", "nats_ratio", at_least=1.0),
        ),
        needs_shared_data=False,
    ),
    Benchmark(
        "bytes",
        (
            Claim("bytes of a patched model, of bsdiff", at_most=1.05),
            Claim("bytes of a model without a patch, of zlib as a whole", "whole_ratio", at_most=1.02),
            Claim("kilobytes of a whole update beyond bsdiff or zlib of the file", "overhead_kb", at_most=5.0),
            Claim("bytes of an update with patches, of the same without", "never_more", at_most=1.0),
        ),
        needs_shared_data=False,
    ),
    Benchmark(
        "quantize_speed",
        (
            Claim("time of int8 of a MobileNetV2, of TensorFlow's", at_most=0.3),
            Claim("memory of that, of TensorFlow's", "memory_ratio", at_most=0.5),
            Claim("dB of signal to noise more than TensorFlow's", "snr_gain_db", at_least=0.0),
            Claim("share of same answers more than TensorFlow's", "agreement_gain", at_least=0.0),
            Claim("latency of the int8 model, of TensorFlow's", "latency_ratio", at_most=1.05),
            Claim("latency of MobileNetV3Small by --auto, of TensorFlow's int8", "auto_latency_ratio", at_most=0.35),
            Claim("s that --auto took for it", "auto_s", at_most=600.0),
        ),
        needs_shared_data=False,
    ),
    Benchmark(
        "source_models",
        (
            Claim("latency of int8 of a source model, of TensorFlow's, the worst", at_most=1.1),
            Claim("dB of signal to noise more than TensorFlow's, the worst", "tensorflow_snr_gain_db", at_least=-0.5),
            Claim("the same of plain ai-edge-quantizer's", "quantizer_latency_ratio", at_most=1.2),
            Claim("dB more than that one's, the worst", "quantizer_snr_gain_db", at_least=-1.0),
        ),
    ),
)


def main(names: list[str]) -> int:
    """Run the benchmarks with these names, or all. The figures of those that were not run stay as they are."""
    chosen = [benchmark for benchmark in BENCHMARKS if not names or benchmark.name in names]
    known: dict[str, dict[str, Any]] = json.loads(_RESULTS.read_text(encoding="utf-8"))
    rows: list[tuple[str, str]] = []
    missed = False
    for benchmark in chosen:
        if benchmark.needs_shared_data and not SHARED_DATA.is_dir():
            rows += [(claim.text, "skipped: needs ../shared/data") for claim in benchmark.claims]
            continue
        command = [sys.executable, "-m", f"benchmarks.{benchmark.name}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            missed = True
            rows += [(claim.text, f"failed with exit code {done.returncode}") for claim in benchmark.claims]
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        known[benchmark.name] = figures
        for claim in benchmark.claims:
            value = figures[claim.key]
            missed |= not claim.holds(value)
            rows.append((claim.text, f"{value:<8} {claim.bound:<8} {'' if claim.holds(value) else 'MISSED'}"))
    results = {benchmark.name: known[benchmark.name] for benchmark in BENCHMARKS if benchmark.name in known}
    write_atomic(_RESULTS, json.dumps(results, indent=1).encode() + b"\n")
    if len(results) == len(BENCHMARKS):
        write_documents(results)
    print()
    for text, figure in rows:
        print(f"{text:<66}{figure}")
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
