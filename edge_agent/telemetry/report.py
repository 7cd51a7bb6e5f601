"""Adds up what the workers say between two telemetry messages and lays it out as one plain tree.

`docs/mqtt-interface.md` describes the tree; putting a sequence number on it and sending it is left to `outbox` and
`link`. Not thread-safe beyond `Sum`, whose writer (the worker's reader) and reader differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from edge_agent.histogram import Histogram
from edge_agent.inference.ipc import STEPS, Figures

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One stage over `seconds`."""

    seconds: float
    digest: str | None
    frames_in: int
    frames_out: int
    dropped: int
    failed: int
    latency: Mapping[str, Histogram]  # by step

    def to_json(self) -> dict[str, object]:
        frames = {"in": self.frames_in, "out": self.frames_out, "dropped": self.dropped, "failed": self.failed}
        summaries = {step: histogram.summary() for step, histogram in self.latency.items() if histogram.count}
        tree: dict[str, object] = {"frames": frames, "latency_ms": summaries}
        if self.seconds > 0:
            tree["fps"] = round(self.frames_out / self.seconds, 2)
        if self.digest is not None:
            tree["digest"] = self.digest
        return tree


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """One pipeline: its stages in their order, and the memory of the process they share."""

    stages: Mapping[str, StageFigures]
    pss_bytes: int | None

    def to_json(self) -> dict[str, object]:
        """The first stage's figures are the pipeline's; where there are several, each has its own beside."""
        tree = next(iter(self.stages.values())).to_json()
        if len(self.stages) > 1:
            tree["stages"] = {name: figures.to_json() for name, figures in self.stages.items()}
        if self.pss_bytes is not None:
            tree["pss_bytes"] = self.pss_bytes
        return tree


class Sum:
    """One stage's figures since they were last taken."""

    def __init__(self, now_s: float) -> None:
        self._lock = Lock()
        self._begin(now_s, None)

    def add(self, figures: Figures) -> None:
        with self._lock:
            self._digest = figures.digest
            self._frames_in += figures.frames_in
            self._frames_out += figures.frames_out
            self._dropped += figures.dropped
            self._failed += figures.failed
            for step, buckets in figures.latency.items():
                histogram = Histogram.from_json(buckets, figures.latency_max_ms.get(step, 0.0))
                self._latency.setdefault(step, Histogram()).merge(histogram)

    def take(self, now_s: float) -> StageFigures:
        """What has been added since the last time, leaving nothing. `now_s` is monotonic."""
        with self._lock:
            figures = StageFigures(
                now_s - self._since_s,
                self._digest,
                self._frames_in,
                self._frames_out,
                self._dropped,
                self._failed,
                self._latency,
            )
            self._begin(now_s, self._digest)
        return figures

    def _begin(self, now_s: float, digest: str | None) -> None:
        self._since_s = now_s
        self._digest = digest
        self._frames_in = self._frames_out = self._dropped = self._failed = 0
        self._latency: dict[str, Histogram] = {step: Histogram() for step in STEPS}


def telemetry_tree(
    *, at_s: float, uptime_s: float, pipelines: Mapping[str, PipelineReport], resources: Mapping[str, object]
) -> dict[str, object]:
    """The whole telemetry message but for its sequence number. `at_s` is wall time, `uptime_s` the agent's."""
    return {
        "schema": SCHEMA,
        "at_s": round(at_s, 3),
        "uptime_s": round(uptime_s, 1),
        "pipelines": {name: report.to_json() for name, report in pipelines.items()},
        "resources": dict(resources),
    }
