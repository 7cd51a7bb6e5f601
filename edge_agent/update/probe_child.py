"""The child process of `probe`: `python -m edge_agent.update.probe_child DIRECTORY CIRCUMSTANCES`.

Limits itself first, then opens the release the way a worker does, runs its golden vectors and times it. Prints one JSON
line, whatever the verdict; dying without one is a verdict too.
"""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent import schema
from edge_agent.errors import EdgeError, Reason, RejectionError
from edge_agent.inference.limits import limit_process
from edge_agent.inference.model import Model, open_release
from edge_agent.release.golden import GoldenVectors, parse_golden
from edge_agent.release.manifest import GOLDEN_FILE
from edge_agent.transform.tensor import Array
from edge_agent.update.probe import Answer, Circumstances, ProbeReport, Refused, Unable, format_answer

_TIMED_INVOKES = 20
_FEWEST_INVOKES = 3
_TIMING_BUDGET_S = 5.0  # a slow model is timed less often
_NICE = 5


@dataclass(frozen=True, slots=True)
class _Timing:
    load_ms: float
    invokes_ms: list[float]  # sorted

    def quantile_ms(self, share: float) -> float:
        return self.invokes_ms[max(0, math.ceil(share * len(self.invokes_ms)) - 1)]


def main(arguments: Sequence[str]) -> int:
    directory = Path(arguments[0])
    told = schema.parse(Circumstances, json.loads(arguments[1]), strict=True)
    _limit_ourselves(directory, told)
    answer: Answer
    try:
        answer = prove(directory, told)
    except RejectionError as error:
        answer = Refused(error.reason, str(error).replace(f"{directory}{os.sep}", ""), error.hint)
    except EdgeError as error:
        answer = Unable(str(error), error.hint)
    except MemoryError:
        answer = Refused(Reason.TOO_BIG, "the probe ran out of memory", "convert the model smaller, int8 for example")
    print(format_answer(answer), flush=True)
    return 0


def prove(directory: Path, told: Circumstances) -> ProbeReport:
    """Run the release and hold it to its limits.

    Raises:
        RejectionError: it does not keep one of them, or cannot be run.
    """
    began_s = time.perf_counter()
    with open_release(directory, told.threads, delegate=told.delegate, cores=told.cores) as model:
        load_ms = (time.perf_counter() - began_s) * 1000
        golden = _read_golden(directory, model)
        worst = _check_answers(model, golden) if golden else None
        timing = _Timing(load_ms, _time_invokes(model, golden))
        memory_bytes = _peak_memory_bytes()
        _check_limits(model, timing, memory_bytes)
        return ProbeReport(
            library=model.engine.report.library,
            delegated=model.engine.report.delegated,
            load_ms=round(timing.load_ms, 1),
            p50_ms=round(timing.quantile_ms(0.5), 3),
            p95_ms=round(timing.quantile_ms(0.95), 3),
            memory_bytes=memory_bytes,
            golden_vectors=len(golden) if golden else 0,
            disagreement=None if worst is None else round(worst, 6),
        )


def _read_golden(directory: Path, model: Model) -> GoldenVectors | None:
    if GOLDEN_FILE not in model.manifest.files:
        return None
    golden = parse_golden((directory / GOLDEN_FILE).read_bytes())
    takes = [(tensor.shape, tensor.dtype) for tensor in model.engine.inputs]
    for vector in golden.inputs:
        if [(array.shape, array.dtype) for array in vector] != takes:
            found = ", ".join(f"{array.dtype}{list(array.shape)}" for array in vector)
            expected = ", ".join(tensor.label for tensor in model.engine.inputs)
            raise RejectionError(
                f"the golden inputs are {found}; the model takes {expected}", reason=Reason.GOLDEN_MISMATCH
            )
    return golden


def _check_answers(model: Model, golden: GoldenVectors) -> float:
    """The worst disagreement, within the tolerance."""
    found = [model.real_outputs(model.engine.invoke(inputs)) for inputs in golden.inputs]
    disagreements = model.disagreements(golden.outputs, found)
    worst, tolerance = max(disagreements), model.manifest.limits.golden_tolerance
    if not worst <= tolerance:  # a NaN is no agreement either
        beyond = sum(not each <= tolerance for each in disagreements)
        raise RejectionError(
            f"{beyond} of {len(golden)} golden vectors disagree: by {worst:.4g}, at most {tolerance:g} is allowed",
            reason=Reason.GOLDEN_MISMATCH,
            hint="the model answers otherwise on this device than where it was published",
        )
    return worst


def _time_invokes(model: Model, golden: GoldenVectors | None) -> list[float]:
    nothing: tuple[Array, ...] = tuple(np.zeros(tensor.shape, tensor.dtype) for tensor in model.engine.inputs)
    vectors = golden.inputs if golden else (nothing,)
    model.engine.invoke(vectors[0])  # the first one is still warming caches
    times_ms: list[float] = []
    while len(times_ms) < _TIMED_INVOKES and (
        len(times_ms) < _FEWEST_INVOKES or sum(times_ms) < _TIMING_BUDGET_S * 1e3
    ):
        began_s = time.perf_counter()
        model.engine.invoke(vectors[len(times_ms) % len(vectors)])
        times_ms.append((time.perf_counter() - began_s) * 1000)
    return sorted(times_ms)


def _check_limits(model: Model, timing: _Timing, memory_bytes: int) -> None:
    limits = model.manifest.limits
    p95_ms = timing.quantile_ms(0.95)
    if limits.p95_ms is not None and p95_ms > limits.p95_ms:
        raise RejectionError(
            f"p95 of {len(timing.invokes_ms)} invokes is {p95_ms:.1f} ms, at most {limits.p95_ms:g} ms is allowed",
            reason=Reason.TOO_SLOW,
            hint="convert it smaller, give the pipeline more threads, or cool the device",
        )
    if limits.memory_bytes is not None and memory_bytes > limits.memory_bytes:
        raise RejectionError(
            f"the probe took {memory_bytes / 1e6:.1f} MB, at most {limits.memory_bytes / 1e6:.1f} MB is allowed",
            reason=Reason.TOO_BIG,
            hint="convert it smaller, int8 for example",
        )


def _limit_ourselves(directory: Path, told: Circumstances) -> None:
    with suppress(OSError):
        os.nice(_NICE)  # never so much that the device's load makes a good release look slow
    threads = (os.cpu_count() or 1) if told.threads == "auto" else told.threads
    limit_process(directory, threads=threads, cpu_s=math.ceil(told.timeout_s) * max(1, threads))


def _peak_memory_bytes() -> int:
    """Peak resident set. Not `ru_maxrss` where it can be helped: that one begins with the parent's at the exec."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
