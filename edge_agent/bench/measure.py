"""Measures one model: what its steps reach alone in this process, then what a real worker reaches with all of them.

Both see the same frames of the same source. What they are is left to `plan`, how it is told to `figures`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from edge_agent.bench.figures import Alone, StepFigures
from edge_agent.clock import SystemClock
from edge_agent.config.pipeline import Delegate, Threads
from edge_agent.config.sources import SourceConfig
from edge_agent.errors import FrameError, ModelError, SourceError, WorkerCrashedError, counted, describe_exit
from edge_agent.inference.capture import Captured
from edge_agent.inference.engine import EngineReport
from edge_agent.inference.frame import Nothing, Taken, Unusable
from edge_agent.inference.ipc import (
    FrameFailed,
    LoadFailed,
    Result,
    SourceEnded,
    SourceTrouble,
    StageStart,
    Start,
    Word,
)
from edge_agent.inference.job import Served
from edge_agent.inference.model import open_release
from edge_agent.inference.process import WorkerProcess
from edge_agent.inference.sources.source import new_source
from edge_agent.transform.prepared import Prepared

_STAGE = "main"
_PREPARED_AT_MOST = 32  # inputs kept for invoking alone
_WARM_UP_FRAMES = 5
_SHORTEST_S = 1e-6  # nothing takes no time
_ANSWER_S = 60.0  # without any word of the worker
_FIRST_INPUT_S = 10.0  # until one can be prepared


@dataclass(frozen=True, slots=True)
class Limits:
    """When enough has been measured: whichever comes first."""

    frames: int | None = None
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """What a worker reached."""

    frames: int
    failed: int
    fps: float
    steps: dict[str, StepFigures]
    pss_bytes: int | None
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker is gone."""

    code: int


def measure_alone(
    release: Path, source: SourceConfig, threads: Threads, delegate: Delegate | None, limits: Limits
) -> tuple[Alone, EngineReport]:
    """Each step in a tight loop, one after the other; and what the engine says of itself.

    Raises:
        ModelError, ArtifactError: the model cannot be run.
        SourceError: the source gives nothing that it takes.
    """
    with open_release(release, threads, delegate=delegate) as model:
        model.warm_up()
        prepared, capture_fps, preprocess_fps = _prepare_alone(Served("", model), source, limits)
        invoked, began_s = 0, time.monotonic()
        while invoked < 1 or not _is_enough(invoked, began_s, limits):
            model.invoke(prepared[invoked % len(prepared)])
            invoked += 1
        invoke_fps = invoked / (time.monotonic() - began_s)
        alone = Alone(round(capture_fps, 2), round(preprocess_fps, 2), round(invoke_fps, 2))
        return alone, model.engine.report


def run_worker(source: SourceConfig, stage: StageStart, limits: Limits) -> EndToEnd:
    """A worker as the agent starts it, until enough has been measured.

    Raises:
        ModelError, SourceError: it can load or see nothing.
        WorkerCrashedError: it ended, or says nothing.
    """
    words: SimpleQueue[Word | Ended] = SimpleQueue()
    worker = WorkerProcess(Start("bench", source, {_STAGE: stage}), words.put, lambda code: words.put(Ended(code)))
    try:
        return gather(words, limits, lambda: (worker.pss_bytes, read_peak_bytes(worker.pid)))
    finally:
        worker.stop()


def gather(
    words: "SimpleQueue[Word | Ended]", limits: Limits, memory: Callable[[], tuple[int | None, int | None]]
) -> EndToEnd:
    """Results until there are enough; the first few are not counted, while caches and threads warm up."""
    latency_ms: dict[str, list[float]] = {}
    seen, failed, began_s, now_s = 0, 0, 0.0, 0.0
    while True:
        word = _next_word(words)
        now_s = time.monotonic()
        if isinstance(word, FrameFailed):
            failed += 1
            _check_failures(word, failed, seen)
        elif isinstance(word, SourceEnded):
            break  # it was shorter than what was asked for
        elif isinstance(word, Result):
            seen += 1
            if seen == _WARM_UP_FRAMES:
                began_s = now_s
            elif seen > _WARM_UP_FRAMES:
                _add(latency_ms, word)
                if _is_enough(seen - _WARM_UP_FRAMES, began_s, limits):
                    break
        else:
            _check(word)
    measured = seen - _WARM_UP_FRAMES
    if measured < 1:
        raise SourceError(f"the input gives only {counted(seen, 'frame')}", hint=f"give more than {_WARM_UP_FRAMES}")
    pss_bytes, peak_bytes = memory()
    steps = {step: StepFigures.of(values) for step, values in latency_ms.items()}
    return EndToEnd(measured, failed, measured / max(now_s - began_s, _SHORTEST_S), steps, pss_bytes, peak_bytes)


def read_peak_bytes(pid: int) -> int | None:
    """The most that has been resident of a process; None where it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _prepare_alone(served: Served, source: SourceConfig, limits: Limits) -> tuple[list[Prepared], float, float]:
    """Some prepared inputs, and how many a second could be captured and prepared."""
    kept: list[Prepared] = []
    done, failed, spent_s, capture_s, began_s = 0, 0, 0.0, 0.0, time.monotonic()
    problem = "it gives nothing"
    for taken, took_s in _frames(served, source):
        capture_s += took_s
        if isinstance(taken, Unusable):
            failed, problem = failed + 1, taken.detail
        else:
            for ready in served.feed(Captured(taken, 0.0), served.wants):
                prepared_s = time.monotonic()
                try:
                    prepared = ready.prepare()
                except FrameError as error:
                    failed, problem = failed + 1, str(error)
                    continue
                spent_s += time.monotonic() - prepared_s
                done += 1
                if len(kept) < _PREPARED_AT_MOST:
                    kept.append(prepared)
        if _is_enough(done, began_s, limits) if kept else _is_hopeless(failed, began_s):
            break
    if not kept:
        raise SourceError(f"the input has nothing that the model takes: {problem}", hint="give another --input")
    return kept, done / max(capture_s, _SHORTEST_S), done / max(spent_s, _SHORTEST_S)


def _is_hopeless(failed: int, began_s: float) -> bool:
    return failed >= _PREPARED_AT_MOST or time.monotonic() - began_s > _FIRST_INPUT_S


def _frames(served: Served, config: SourceConfig) -> Iterator[tuple[Taken | Unusable, float]]:
    """What the source gives, and how long each took."""
    with new_source(config, SystemClock()) as source:
        while True:
            began_s = time.monotonic()
            taken = source.take(served.wants)
            if taken is None:
                return
            if isinstance(taken, Nothing):
                continue
            yield taken, time.monotonic() - began_s


def _is_enough(frames: int, began_s: float, limits: Limits) -> bool:
    enough = limits.frames is not None and frames >= limits.frames
    return enough or time.monotonic() - began_s >= limits.seconds


def _next_word(words: "SimpleQueue[Word | Ended]") -> Word | Ended:
    try:
        return words.get(timeout=_ANSWER_S)
    except Empty:
        raise WorkerCrashedError(
            f"the worker has given no result for {_ANSWER_S:.0f} s", hint="run the model once with 'edge-agent infer'"
        ) from None


def _check(word: Word | Ended) -> None:
    """Raise what a word means for a measurement."""
    match word:
        case LoadFailed():
            raise ModelError(word.detail, reason=word.reason, hint=word.hint)
        case SourceTrouble():
            raise SourceError(word.detail, hint=word.hint)
        case Ended():
            raise WorkerCrashedError(f"the worker ended with {describe_exit(word.code)}", hint="is there memory left?")


def _check_failures(word: FrameFailed, failed: int, seen: int) -> None:
    if failed >= _PREPARED_AT_MOST and not seen:
        raise SourceError(f"no frame can be used: {word.detail}", hint="give another --input")


def _add(latency_ms: dict[str, list[float]], result: Result) -> None:
    latency_ms.setdefault("capture", []).append(result.capture_ms)
    for answer in result.answers.values():
        for step, value_ms in answer.latency_ms.items():
            latency_ms.setdefault(step, []).append(value_ms)
