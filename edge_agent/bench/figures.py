"""What was measured, as values: for the table that a person reads and the JSON that a script does."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.errors import counted
from edge_agent.inference.ipc import STEPS

FRAMES_FOR_RATIO = 30


@dataclass(frozen=True, slots=True)
class StepFigures:
    """Milliseconds of one step of the frames that were measured."""

    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, values_ms: Sequence[float]) -> "StepFigures":
        """Of at least one value."""
        ordered = sorted(values_ms)
        p50, p95, p99 = (ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in (0.5, 0.95, 0.99))
        return cls(round(p50, 3), round(p95, 3), round(p99, 3))


@dataclass(frozen=True, slots=True)
class Condition:
    """How the machine was."""

    load_1min: float
    memory_available_bytes: int
    temperature_c: float | None = None
    throttled: tuple[str, ...] | None = None  # None: the board cannot say


@dataclass(frozen=True, slots=True)
class Alone:
    """What each step reaches when nothing else runs, frames/s."""

    capture_fps: float
    preprocess_fps: float
    invoke_fps: float

    @property
    def limit_fps(self) -> float:
        """Of a pipeline that overlaps the three perfectly: the slowest one's."""
        return min(self.capture_fps, self.preprocess_fps, self.invoke_fps)


@dataclass(frozen=True, slots=True)
class Run:
    """One number of threads."""

    threads: int
    library: str
    xnnpack_or_delegate: bool
    partitions: int
    delegated_operators: int
    operators: int
    frames: int
    failed: int
    fps: float  # end to end, with overlap
    alone: Alone
    ratio: float | None  # fps, to the slowest step alone; None: see `ratio_of`
    steps: Mapping[str, StepFigures]
    before: Condition
    after: Condition
    worker_pss_bytes: int | None = None
    worker_peak_bytes: int | None = None  # resident
    delegate: str | None = None
    fell_back: str | None = None
    threads_measured_ms: Mapping[int, float] | None = None  # of "auto": median of an invoke by threads, paced


def ratio_of(fps: float, frames: int, alone: Alone) -> float | None:
    """End to end, of what its slowest step reaches alone; None of fewer frames than `FRAMES_FOR_RATIO`.

    Of a few frames both sides are chance: what had been prepared while the first were not counted comes in one burst.
    """
    return round(fps / alone.limit_fps, 3) if frames >= FRAMES_FOR_RATIO else None


@dataclass(frozen=True, slots=True)
class Bench:
    """A model on this machine."""

    model: str
    task: str
    input: str
    machine: str
    board: str | None
    os: str
    cores: int  # that this process may use
    memory_bytes: int
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = field(default=())


def format_table(bench: Bench) -> str:
    """What a person reads."""
    board = [bench.board] if bench.board else []
    memory = f"{_mb(bench.memory_bytes)} of memory"
    lines = [
        f"{bench.model} ({bench.task}) on {bench.input}",
        ", ".join([*board, bench.machine, counted(bench.cores, "usable core"), memory, bench.os]),
    ]
    for run in bench.runs:
        lines += ["", *_run_lines(run)]
    return "\n".join(lines)


def _run_lines(run: Run) -> list[str]:
    lines = [f"{counted(run.threads, 'interpreter thread')}, {run.library}, {_accelerated(run)}"]
    if run.fell_back:
        lines.append(f"  fell back to the CPU: {run.fell_back}")
    if run.threads_measured_ms:
        each = ", ".join(f"{threads}: {value_ms:.2f}" for threads, value_ms in run.threads_measured_ms.items())
        lines.append(f"  threads chosen by measuring, ms of a paced invoke by threads: {each}")
    lines.append(f"  {'ms':12}{'p50':>9}{'p95':>9}{'p99':>9}")
    for step in STEPS:
        if step in run.steps:
            of = run.steps[step]
            lines.append(f"  {step:12}{of.p50_ms:>9.2f}{of.p95_ms:>9.2f}{of.p99_ms:>9.2f}")
    failed = f", {run.failed} failed" if run.failed else ""
    alone = (
        f"alone, capture reaches {run.alone.capture_fps:.1f}, preprocess {run.alone.preprocess_fps:.1f}, "
        f"invoke {run.alone.invoke_fps:.1f}"
    )
    lines += [
        f"  {run.fps:.1f} frames/s end to end ({counted(run.frames, 'frame')}{failed})",
        f"  {_ratio(run)}: {alone} frames/s",
        f"  worker memory {_mb(run.worker_pss_bytes)} PSS, {_mb(run.worker_peak_bytes)} resident at most",
    ]
    return lines + _condition_lines(run)


def _ratio(run: Run) -> str:
    if run.ratio is None:
        return f"{counted(run.frames, 'frame')} are too few for a share of the limit ({FRAMES_FOR_RATIO} are needed)"
    return f"{run.ratio:.2f} of the limit"


def _condition_lines(run: Run) -> list[str]:
    lines = []
    if run.before.temperature_c is not None and run.after.temperature_c is not None:
        lines.append(f"  {run.before.temperature_c:.1f} °C before, {run.after.temperature_c:.1f} °C after")
    if run.after.throttled:
        lines.append(f"  held back by the board: {', '.join(run.after.throttled)}")
    return lines


def _accelerated(run: Run) -> str:
    where = (
        f"{run.delegated_operators} of {counted(run.operators, 'operator')} in {counted(run.partitions, 'partition')}"
    )
    if run.delegate:
        return f"delegate {run.delegate} and XNNPACK: {where}"
    return f"XNNPACK: {where}" if run.xnnpack_or_delegate else "no delegate took part, not even XNNPACK"


def _mb(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e6:.0f} MB"
