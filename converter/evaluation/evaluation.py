"""What models are worth on labeled data: the values, and the call that runs them in a child process.

What is said of them on the terminal is left to `text`; whether they are good enough, to `fidelity`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converter.child import run_child
from converter.evaluate import Data
from converter.report.sections import ChangedAnswer, Sections
from edge_agent.release.manifest import Manifest, format_manifest

CHILD = "converter.evaluation.evaluation_child"
_TIMEOUT_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is to be judged."""

    name: str  # in tables: float32, int8, digits-2.edge
    path: Path
    manifest: Manifest
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one or two models on the same samples. Everything is a plain tree: it goes into JSON and reports."""

    samples: int
    digest: str  # sha-256 over names and contents of the data
    metric: str  # the figure that stands for all
    figures: Mapping[str, Mapping[str, Any]]  # by the model's name, what is judged last
    values: Mapping[str, float | None]  # of `metric`
    # of two models: drop, interval, verdict, mcnemar
    comparison: Mapping[str, Any] | None
    changed: tuple[ChangedAnswer, ...]
    notes: tuple[str, ...]

    @property
    def value(self) -> float | None:
        """The metric of the model that is judged."""
        return list(self.values.values())[-1]

    @property
    def drop(self) -> float | None:
        """By how much it is worse than the other one, in the metric's own unit."""
        return None if self.comparison is None else self.comparison["drop"]

    def to_json(self) -> dict[str, Any]:
        """All of it, without pictures."""
        changed = [{"sample": each.sample, "before": each.before, "after": each.after} for each in self.changed]
        return {**self.summary(), "figures": dict(self.figures), "changed": changed, "notes": list(self.notes)}

    def summary(self) -> dict[str, Any]:
        """What an artifact's report.json keeps."""
        tree: dict[str, Any] = {
            "samples": self.samples,
            "sha256": self.digest,
            "metric": self.metric,
            "values": dict(self.values),
        }
        return tree if self.comparison is None else {**tree, "comparison": dict(self.comparison)}

    def fill(self, sections: Sections) -> Sections:
        """The report's parts that are about accuracy."""
        names = ("float", "converted") if len(self.figures) == 2 else ("converted",)
        evaluation = {
            name: {"samples": self.samples, "metric": self.metric, **figures}
            for name, figures in zip(names, self.figures.values(), strict=True)
        }
        return replace(sections, evaluation=evaluation, changed=self.changed)


def evaluate(
    candidates: Sequence[Candidate],
    data: Data,
    folder: Path,
    *,
    calibration: Data | None = None,
) -> Evaluation:
    """Judge one model, or the second beside the first, in a child process.

    `data.limit` is ignored: all samples count. `calibration` is what the model was calibrated with, where that is
    known: samples in both, and values beyond it, are noted.

    Raises:
        CalibrationError: the data cannot be read, does not fit the model, or has labels that it does not know.
        ConversionError: a model does not load, or crashes.
    """
    request = {
        "candidates": [
            {
                "name": each.name,
                "path": str(each.path),
                "manifest": format_manifest(each.manifest).decode(),
                "labels": list(each.labels),
            }
            for each in candidates
        ],
        "data": _tree(data),
        "calibration": _tree(calibration) if calibration else None,
    }
    answer = run_child(CHILD, request, folder, what="evaluating the model", timeout_s=_TIMEOUT_S)
    changed = tuple(
        ChangedAnswer(
            each["sample"],
            each["before"],
            each["after"],
            base64.b64decode(each["picture"]) if each["picture"] else None,
        )
        for each in answer["changed"]
    )
    return Evaluation(
        samples=answer["samples"],
        digest=answer["digest"],
        metric=answer["metric"],
        figures=answer["figures"],
        values=answer["values"],
        comparison=answer["comparison"],
        changed=changed,
        notes=tuple(answer["notes"]),
    )


def _tree(data: Data) -> dict[str, Any]:
    return {
        "path": data.path,
        "limit": data.limit,
        "input_names": list(data.input_names),
        "skip_unreadable": data.skip_unreadable,
    }
