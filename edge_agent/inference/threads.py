"""How many threads an interpreter gets when nobody says: measured on this machine, with this model, when it is loaded.

Measured paced, as a camera gives pictures. In a tight loop two threads look twice as fast, because the interpreter's
idle threads spin for a while after each invoke and are still awake at the next one; between two pictures they fall
asleep, and waking them costs what they gain (MobileNetV2 on two cores: 6.7 to 3.5 ms in a loop, 7.5 to 7.5 ms at 30
pictures a second). A model that takes longer than the pause runs back to back, as it would behind a camera.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from threading import Event

import numpy as np

from edge_agent.clock import Clock
from edge_agent.inference.engine import Engine, ThreadFigures, warm_up

PACED_HZ = 30.0
_BUDGET_S = 0.5  # for all numbers of threads together; a slow model is invoked once with each all the same
_WORTH = 1.1  # of the best time: fewer threads that come within it leave cores to others
_MOST_INVOKES = 15


def usable_cores(cap: int | None = None) -> int:
    """The cores this process may use, at most `cap`: several pipelines share a machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, cap) if cap is not None else allowed)


def candidates(cores: int) -> list[int]:
    """1, 2, 4, ... and all the cores there are."""
    doubling = [1 << power for power in range(cores.bit_length()) if 1 << power <= cores]
    return sorted({*doubling, cores})


def choose(p50_ms: Mapping[int, float]) -> int:
    """The fewest threads that come within 10 % of the best."""
    best_ms = min(p50_ms.values())
    return min(threads for threads, value_ms in p50_ms.items() if value_ms <= best_ms * _WORTH)


def measure(load: Callable[[int], Engine], cores: int, clock: Clock) -> ThreadFigures:
    """The median time of an invoke with each number of threads up to `cores`, one loaded model after the other.

    There and back again, so that what else the machine does meanwhile does not count against one of them alone; a model
    that is too slow for that is measured once. Ends early at a number that is slower than the one before.

    Raises:
        ModelError: as `load` does.
    """
    numbers = candidates(cores)
    began_s = clock.monotonic_s()
    share_s = _BUDGET_S / len(numbers) / 2
    times_ms: dict[int, list[float]] = {}
    for threads in numbers:
        with load(threads) as engine:
            times_ms[threads] = _times_ms(engine, share_s, clock)
        if _median(times_ms[threads]) > _WORTH * min(map(_median, times_ms.values())):
            break
    too_slow = clock.monotonic_s() - began_s > _BUDGET_S
    for threads in () if too_slow else sorted(times_ms, reverse=True):
        with load(threads) as engine:
            times_ms[threads] += _times_ms(engine, share_s, clock)
    p50_ms = {threads: round(_median(times), 3) for threads, times in times_ms.items()}
    return ThreadFigures(p50_ms, PACED_HZ)


def _times_ms(engine: Engine, budget_s: float, clock: Clock) -> list[float]:
    never = Event()
    began_s = clock.monotonic_s()
    warm_up(engine)
    times_ms: list[float] = []
    while not times_ms or (len(times_ms) < _MOST_INVOKES and clock.monotonic_s() - began_s < budget_s):
        invoked_s = clock.monotonic_s()
        warm_up(engine)
        took_s = clock.monotonic_s() - invoked_s
        times_ms.append(took_s * 1000)
        if took_s < 1 / PACED_HZ:
            clock.wait(never, 1 / PACED_HZ - took_s)
    return times_ms


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))  # importing `statistics` for this costs a megabyte
