"""`edge-agent bench`: each number of threads in turn, one after the other, so that none disturbs the other."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.bench.figures import Bench, Condition, Run, ratio_of
from edge_agent.bench.measure import Limits, measure_alone, run_worker
from edge_agent.bench.plan import SYNTHETIC, lay_out_release, name_columns, source_of
from edge_agent.config.pipeline import Delegate, Threads
from edge_agent.config.sources import SourceConfig
from edge_agent.inference.ipc import StageStart
from edge_agent.inference.threads import usable_cores
from edge_agent.release.manifest import MODEL_FILE
from edge_agent.telemetry.resources import ResourceMeter, read_hardware


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured."""

    model: Path
    inputs: tuple[str, ...] = ()  # files, a folder, or `synthetic`; (): that
    threads: tuple[Threads, ...] = ("auto",)
    delegate: Delegate | None = None
    limits: Limits = field(default_factory=Limits)


def run_bench(wanted: Wanted, progress: Callable[[str], None]) -> Bench:
    """Measure. `progress` is told what is being done.

    Raises:
        ArtifactError, ModelError, InputError, SourceError, WorkerCrashedError: it cannot be measured.
    """
    with tempfile.TemporaryDirectory(prefix="edge-agent-bench-") as name:
        release, pictures = Path(name) / "release", Path(name) / "pictures"
        release.mkdir()
        pictures.mkdir()
        manifest, notes = lay_out_release(wanted.model, release)
        source = source_of(wanted.inputs, manifest.input, pictures, name_columns(release, manifest.input))
        measurement = _Measurement(release, source, wanted, progress)
        runs = [measurement.run(threads) for threads in wanted.threads]
    hardware = read_hardware()
    return Bench(
        model=wanted.model.name,
        task=manifest.task,
        input=_named(wanted.inputs, source),
        machine=hardware.machine,
        board=hardware.model,
        os=hardware.os,
        cores=usable_cores(),
        memory_bytes=hardware.memory_bytes,
        runs=tuple(runs),
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Measurement:
    release: Path
    source: SourceConfig
    wanted: Wanted
    progress: Callable[[str], None]

    def run(self, threads: Threads) -> Run:
        self.progress(f"threads {threads}: each step alone, then the worker ...")
        release, source, wanted = self.release, self.source, self.wanted
        meter = ResourceMeter(release)
        before = _condition(meter)
        digest = hashlib.sha256((release / MODEL_FILE).read_bytes()).hexdigest()
        if wanted.delegate is not None:  # it may end its process: a worker's, and not this one
            trying = StageStart(path=str(release), digest=digest, delegate=wanted.delegate)
            run_worker(source, trying, Limits(frames=1, seconds=wanted.limits.seconds))
        alone, report = measure_alone(release, source, threads, wanted.delegate, wanted.limits)
        if threads == "auto":
            self.progress(report.threads_chosen)
        stage = StageStart(path=str(release), digest=digest, threads=report.threads, delegate=wanted.delegate)
        reached = run_worker(source, stage, wanted.limits)
        return Run(
            threads=report.threads,
            library=report.library,
            xnnpack_or_delegate=report.delegated,
            partitions=report.partitions,
            delegated_operators=report.delegated_operators,
            operators=report.operators,
            frames=reached.frames,
            failed=reached.failed,
            fps=round(reached.fps, 2),
            alone=alone,
            ratio=ratio_of(reached.fps, reached.frames, alone),
            steps=reached.steps,
            before=before,
            after=_condition(meter),
            worker_pss_bytes=reached.pss_bytes,
            worker_peak_bytes=reached.peak_bytes,
            delegate=report.delegate,
            fell_back=report.fell_back,
            threads_measured_ms=report.measured.p50_ms if report.measured else None,
        )


def _condition(meter: ResourceMeter) -> Condition:
    now = meter.read()
    return Condition(now.load_1min, now.memory_available_bytes, now.temperature_c, now.throttled)


def _named(inputs: Sequence[str], source: SourceConfig) -> str:
    if inputs and list(inputs) != [SYNTHETIC]:
        return inputs[0] if len(inputs) == 1 else f"{len(inputs)} pictures"
    width, height = getattr(source, "width_px", None), getattr(source, "height_px", None)
    content = getattr(source, "content", "pictures")
    return f"made-up {content}" + (f" ({width} x {height} px JPEG)" if content == "pictures" else "")
