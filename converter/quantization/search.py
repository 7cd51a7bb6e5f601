"""What to make of quantized candidates once they are measured: which ones are worth having, and which one is taken.

Pure: candidates are made and measured by `auto_child`, latencies on another machine by whoever is asked for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converter.columns import aligned
from converter.report.sections import Candidate

_SAME_LATENCY, _SAME_MS = 1.05, 0.01  # times the fastest, or more than it: what a busy machine cannot tell apart


@dataclass(frozen=True, slots=True)
class Limits:
    """What the result must keep to. None: not judged."""

    max_drop: float | None = 0.01  # of the fidelity figure, 0 to 1
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            raise ValueError(f"the largest drop is a share from 0 to 100 %, found {self.max_drop:.0%}")


@dataclass(frozen=True, slots=True)
class Tried:
    """One way of quantizing, as it was measured."""

    label: str
    way: Mapping[str, Any]  # a recipe that gives it again
    size_bytes: int
    fidelity: float  # the figure the choice is made by; larger is better
    snr_db: float  # of the worst output; what tells apart those whose fidelity is the same
    latency_ms: float  # here
    partitions: int
    broken: str = ""  # why it cannot be taken at all
    where: str = "here"


@dataclass(frozen=True, slots=True)
class Curve:
    """All that was tried of one model."""

    tried: tuple[Tried, ...]
    fidelity_name: str
    reference: float  # the float model's figure


def within(one: Tried, limits: Limits, curve: Curve) -> bool:
    """Whether a candidate keeps to the limits."""
    return not one.broken and not misses(one, limits, curve)


def misses(one: Tried, limits: Limits, curve: Curve) -> list[str]:
    """Which limits a candidate misses."""
    missed = []
    # a share of whole samples: half of the smallest one is for the rounding of floats
    if limits.max_drop is not None and one.fidelity < curve.reference - limits.max_drop - 1e-9:
        missed.append("--max-drop")
    if limits.max_size_bytes is not None and one.size_bytes > limits.max_size_bytes:
        missed.append("--max-size")
    if limits.max_latency_ms is not None and one.latency_ms > limits.max_latency_ms:
        missed.append("--max-latency")
    return missed


def choose(curve: Curve, limits: Limits) -> Tried | None:
    """The fastest within the limits; of those as fast, the smallest; of those as small, the most faithful."""
    good = [one for one in curve.tried if within(one, limits, curve)]
    if not good:
        return None
    fastest = min(one.latency_ms for one in good)
    fast = [one for one in good if one.latency_ms <= max(_SAME_LATENCY * fastest, fastest + _SAME_MS)]
    return min(fast, key=lambda one: (one.size_bytes, -one.fidelity, -one.snr_db, one.label))


def pareto(tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """Those that no other one beats in size, fidelity (with its decibels) and latency at once."""
    sound = [one for one in tried if not one.broken]
    return tuple(one for one in sound if not any(_beats(other, one) for other in sound))


def candidates(curve: Curve, chosen: Tried | None) -> tuple[Candidate, ...]:
    """For a report; the smallest first."""
    best = pareto(curve.tried)
    ordered = sorted(curve.tried, key=lambda one: (one.size_bytes, one.label))
    return tuple(
        Candidate(
            one.label,
            one.size_bytes,
            one.fidelity,
            curve.fidelity_name,
            one.latency_ms,
            one.where,
            pareto=one in best,
            chosen=one is chosen,
        )
        for one in ordered
    )


def format_curve(curve: Curve, limits: Limits, chosen: Tried | None) -> str:
    """The table on the terminal: the Pareto set, the smallest first, and how many were left out of it."""
    best = sorted(pareto(curve.tried), key=lambda one: (one.size_bytes, one.label))
    rows = [["", "size", curve.fidelity_name, "SNR", "latency", "parts", ""]]
    for one in best:
        verdict = "chosen" if one is chosen else " ".join(misses(one, limits, curve))
        where = "" if one.where == "here" else f" on {one.where}"
        latency = f"{one.latency_ms:.3f} ms{where}"
        figures = [f"{one.size_bytes:,} B", f"{one.fidelity:.4f}", f"{one.snr_db:.1f} dB", latency, str(one.partitions)]
        rows.append([one.label, *figures, verdict])
    lines = aligned(rows, right=range(1, len(rows[0])))
    others = len(curve.tried) - len(best)
    if others:
        lines.append(f"and {others} that others beat in size, fidelity and latency at once")
    return "\n".join(line.rstrip() for line in lines)


def _beats(one: Tried, other: Tried) -> bool:
    """No worse in anything and better in something; what is as fast within the noise of a machine is as fast."""
    mine = (-one.size_bytes, one.fidelity, one.snr_db)
    theirs = (-other.size_bytes, other.fidelity, other.snr_db)
    no_worse = all(a >= b for a, b in zip(mine, theirs, strict=True)) and one.latency_ms <= other.latency_ms
    return no_worse and (mine != theirs or one.latency_ms < other.latency_ms)
