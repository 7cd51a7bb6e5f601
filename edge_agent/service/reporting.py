"""What the device says of itself, from what its stages say: `reported`, events, and the lines of `edge-agent status`.

Pure: values in, values out. When it is sent is left to `agent`.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent import __version__
from edge_agent.config.pipeline import StageConfig
from edge_agent.errors import Reason
from edge_agent.link.messages import (
    AgentReport,
    BenchFigures,
    BenchReport,
    HardwareReport,
    HeldReport,
    OutcomeReport,
    ProblemReport,
    RejectionReport,
    ReleaseReport,
    Reported,
    StageReport,
)
from edge_agent.release.document import target_path
from edge_agent.telemetry.resources import Hardware
from edge_agent.update.benching import Answer
from edge_agent.update.machine import Fetching, Record, Trial
from edge_agent.update.probe import ProbeReport
from edge_agent.update.status import Problem, Status


@dataclass(frozen=True, slots=True)
class StageName:
    """Which model of which pipeline."""

    pipeline: str
    stage: str

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.stage}"


def stage_report(
    config: StageConfig, status: Status, *, trouble: Problem | None = None, p95_ms: float | None = None
) -> StageReport:
    """One stage. `trouble` is what its pipeline's worker or documents say; the updater's own problem comes first."""
    record = status.record
    problem = status.problem or trouble
    return StageReport(
        model=config.model,
        channel=config.channel,
        phase=type(record.phase).__name__.lower(),
        attempt=record.phase.attempt if isinstance(record.phase, Fetching) else None,
        starts=record.phase.starts if isinstance(record.phase, Trial) else None,
        current=_release(record.current, status.versions),
        previous=_release(record.previous, status.versions),
        candidate=_release(record.candidate, status.versions),
        last=_outcome(record, status.versions),
        rejected=tuple(RejectionReport(item.digest, item.reason.value) for item in record.rejected),
        lifted=record.lifted_for(target_path(config.model, config.channel)) or None,
        held=_held(status),
        problem=ProblemReport(problem.reason.value, problem.detail, problem.hint) if problem else None,
        p95_ms=p95_ms,
    )


def reported(
    *,
    hardware: Hardware,
    library: str | None,
    labels: tuple[str, ...],
    stages: Mapping[StageName, StageReport],
    at_s: float,
) -> Reported:
    """The whole retained message."""
    pipelines: dict[str, dict[str, StageReport]] = {}
    for name, report in stages.items():
        pipelines.setdefault(name.pipeline, {})[name.stage] = report
    return Reported(
        agent=AgentReport(__version__, platform.python_version(), library),
        hardware=_hardware(hardware),
        labels=labels,
        pipelines=pipelines,
        at_s=round(at_s, 3),
    )


def bench_report(answer: Answer, hardware: Hardware, at_s: float) -> BenchReport:
    measured = answer.measured
    return BenchReport(
        digest=answer.digest,
        model=answer.model,
        version=answer.version,
        outcome=answer.outcome,
        measured=BenchFigures(
            library=measured.library,
            delegated=measured.delegated,
            load_ms=measured.load_ms,
            p50_ms=measured.p50_ms,
            p95_ms=measured.p95_ms,
            memory_bytes=measured.memory_bytes,
            golden_vectors=measured.golden_vectors,
            disagreement=measured.disagreement,
        )
        if measured is not None
        else None,
        reason=answer.reason,
        detail=answer.detail,
        hint=answer.hint,
        hardware=_hardware(hardware),
        at_s=round(at_s, 3),
    )


def _hardware(hardware: Hardware) -> HardwareReport:
    return HardwareReport(hardware.model, hardware.machine, hardware.os, hardware.cpus, hardware.memory_bytes)


def sentence(report: StageReport) -> str:
    """One stage for `systemctl status`."""
    serving = f"{report.model} {report.current.version}" if report.current else "nothing installed"
    if report.candidate is not None:
        doing = f"{report.phase} {report.candidate.version or report.candidate.digest[:12]}"
        waits = report.problem if report.problem and report.problem.reason == Reason.POSTPONED else None
        return f"{serving}, {doing} ({waits.detail})" if waits else f"{serving}, {doing}"
    return f"{serving} ({report.problem.reason})" if report.problem else serving


def event_of(before: Status | None, now: Status) -> dict[str, object] | None:
    """What happened between two statuses of a stage, if it is worth telling: an outcome, a new phase, a problem."""
    if before is not None and now.record.last != before.record.last and now.record.last is not None:
        last = now.record.last
        return _event(last.result, last.digest, now, reason=last.reason, detail=last.detail)
    if before is not None and now.record.candidate is not None and _moved(before, now):
        return _event(type(now.record.phase).__name__.lower(), now.record.candidate, now)
    if now.problem is not None and (before is None or now.problem != before.problem):
        problem = now.problem
        return _event(
            "problem", now.record.candidate, now, reason=problem.reason, detail=problem.detail, hint=problem.hint
        )
    return None


def _moved(before: Status, now: Status) -> bool:
    """Whether another phase or candidate has been reached; one attempt more is not news."""
    return type(before.record.phase) is not type(now.record.phase) or before.record.candidate != now.record.candidate


def _event(kind: str, digest: str | None, status: Status, **more: object) -> dict[str, object]:
    version = status.versions.get(digest) if digest else None
    tree: dict[str, object] = {"kind": kind, "digest": digest, "version": version, **more}
    if kind == "staged" and status.fetched is not None:
        fetched = status.fetched
        patched = f", {fetched.patched_bytes} patched" if fetched.patched_bytes else ""
        tree["detail"] = f"{fetched.fetched_bytes} bytes fetched, {fetched.reused_bytes} re-used{patched}"
    if kind == "trial" and status.probe is not None:
        tree["detail"] = _proof(status.probe)
    return {key: value for key, value in tree.items() if value is not None}


def _proof(probe: ProbeReport) -> str:
    golden = "no golden vectors"
    if probe.disagreement is not None:
        golden = f"{probe.golden_vectors} golden vectors, disagreement {probe.disagreement:.4f}"
    slow = "" if probe.delegated else ", WITHOUT XNNPACK"
    peak_mb = probe.memory_bytes / 1e6
    return f"probe passed: {golden}, p95 {probe.p95_ms:.2f} ms, peak {peak_mb:.0f} MB, {probe.library}{slow}"


def _held(status: Status) -> HeldReport | None:
    held = status.held
    return None if held is None else HeldReport(held.digest, held.version, held.reason.value, held.detail)


def _release(digest: str | None, versions: Mapping[str, str]) -> ReleaseReport | None:
    return ReleaseReport(digest, versions.get(digest)) if digest else None


def _outcome(record: Record, versions: Mapping[str, str]) -> OutcomeReport | None:
    last = record.last
    if last is None:
        return None
    reason = last.reason.value if last.reason else None
    return OutcomeReport(last.digest, last.result, versions.get(last.digest), reason, last.detail)
