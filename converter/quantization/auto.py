"""`--auto`: the best way to quantize a model within limits. Asks a child to try many, and takes one of them.

Candidates are made and measured by `auto_child`; what is better is decided by `search`. Latency is of this machine,
unless somebody hands over a way to measure it where the model will run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from converter.child import run_child
from converter.errors import ConversionError, QualityGateError
from converter.evaluate import Data
from converter.quantization.quantize import ready
from converter.quantization.search import (
    Curve,
    Limits,
    Tried,
    candidates,
    choose,
    format_curve,
    misses,
    pareto,
)
from converter.quantization.targets import Target
from converter.report.sections import Candidate
from edge_agent import schema
from edge_agent.release.manifest import Manifest, format_manifest

CHILD = "converter.quantization.auto_child"
SOURCE_NAME = "auto.source.tflite"
_TIMEOUT_S = 3600.0

# Milliseconds a model takes where it will run: by its bytes. Raises EdgeError where it cannot be told.
Latency = Callable[[bytes], float]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Auto:
    """What the search is asked for."""

    limits: Limits = field(default_factory=Limits)
    target: Target | None = None  # a kind of machine, of which no latency can be measured here
    latency: Latency | None = None  # of a machine that can be asked
    where: str = "here"  # the machine that is asked, a device's id


@dataclass(frozen=True, slots=True)
class Question:
    """What the child is asked."""

    labels: tuple[str, ...]
    data: Data
    evaluation: Data | None = None  # labeled data that candidates are judged by; None: by `data`


@dataclass(frozen=True, slots=True)
class Answer:
    """What the child found; the model of the n-th candidate is in `candidate_name(n)`."""

    curve: Curve
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The way that was taken, and the curve it was taken from."""

    way: Mapping[str, Any]  # a recipe
    label: str
    table: str
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


class NothingFoundError(QualityGateError):
    """No way of quantizing the model keeps to the limits. The CLI exits with 3; `candidates` are what was tried."""

    candidates: tuple[Candidate, ...] = ()


def candidate_name(number: int) -> str:
    return f"candidate-{number}.tflite"


def find_best(content: bytes, manifest: Manifest, question: Question, auto: Auto, *, folder: Path, tell: Tell) -> Found:
    """Search for the best way to quantize the float model `content`, whose manifest says how it is run.

    Raises:
        NothingFoundError: no way keeps to the limits; holds the table of what there is.
        ConversionError, CalibrationError: the model or the data.
    """
    (folder / SOURCE_NAME).write_bytes(ready(content))
    request = {"question": asdict(question), "manifest": format_manifest(manifest).decode()}
    told = run_child(
        CHILD, request, folder, what="searching for the best quantization", timeout_s=_TIMEOUT_S, tell=tell
    )
    answer = schema.parse(Answer, told, strict=True)
    curve = answer.curve if auto.latency is None else _measured_there(answer.curve, auto, folder, tell)
    chosen = choose(curve, auto.limits)
    table = format_curve(curve, auto.limits, chosen)
    shown = candidates(curve, chosen)
    notes = (*answer.notes, *(auto.target.notes if auto.target else ()))
    if chosen is None:
        nothing = NothingFoundError(
            f"no way of quantizing this model keeps to {_told(auto.limits)}. No artifact was written",
            hint=_nearest(curve, auto.limits),
            table=table,
            figures={"candidates": schema.dump(shown)},
            notes=notes,
        )
        nothing.candidates = shown
        raise nothing
    return Found(chosen.way, chosen.label, table, shown, notes)


def _measured_there(curve: Curve, auto: Auto, folder: Path, tell: Tell) -> Curve:
    """The latency of those worth it on the machine that can be asked; the others stay out of the choice."""
    assert auto.latency is not None
    worth = pareto(curve.tried)
    tried: list[Tried] = []
    problem: ConversionError | None = None
    for number, one in enumerate(curve.tried):
        if one not in worth:
            continue
        tell(f"{one.label} on {auto.where}")
        try:
            there = auto.latency((folder / candidate_name(number)).read_bytes())
        except ConversionError as error:  # it would never serve there
            tell(str(error))
            problem = error
        else:
            tried.append(replace(one, latency_ms=there, where=auto.where))
    if problem is not None and not tried:
        raise problem
    return replace(curve, tried=tuple(tried))


def _told(limits: Limits) -> str:
    told = []
    if limits.max_drop is not None:
        told.append(f"--max-drop {limits.max_drop:.4g}")
    if limits.max_size_bytes is not None:
        told.append(f"--max-size {limits.max_size_bytes}")
    if limits.max_latency_ms is not None:
        told.append(f"--max-latency {limits.max_latency_ms:g}")
    return ", ".join(told) or "what is needed of any"


def _nearest(curve: Curve, limits: Limits) -> str:
    """What the candidate that misses least would need."""
    sound: Sequence[Tried] = [one for one in curve.tried if not one.broken]
    if not sound:
        return "look at the representative data: the float model itself may be at fault"
    nearest = min(sound, key=lambda one: (len(misses(one, limits, curve)), curve.reference - one.fidelity))
    drop = max(curve.reference - nearest.fidelity, 0.0)
    return (
        f"{nearest.label} comes nearest: drop {drop:.4f}, {nearest.size_bytes} bytes, {nearest.latency_ms:.3f} ms; "
        "loosen a limit, or train the model for quantization"
    )
