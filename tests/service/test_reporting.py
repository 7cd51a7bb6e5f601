"""What is said of a stage: events between two statuses, the report, the sentence for systemd."""

from dataclasses import replace

import pytest

from edge_agent.config.pipeline import StageConfig
from edge_agent.errors import Reason
from edge_agent.link.messages import HeldReport, format_reported, parse_reported
from edge_agent.service.reporting import StageName, event_of, reported, sentence, stage_report
from edge_agent.telemetry.resources import Hardware
from edge_agent.update.eligibility import Held, HoldReason
from edge_agent.update.fetch import FetchReport
from edge_agent.update.machine import Fetching, Idle, Lifted, Outcome, Phase, Record, Rejection, Staged, Trial
from edge_agent.update.probe import ProbeReport
from edge_agent.update.status import Problem, Status

OLD, NEW = "a" * 64, "b" * 64
VERSIONS = {OLD: "1.0", NEW: "2.0"}
CONFIG = StageConfig("finder")
PROBE = ProbeReport(
    "ai-edge-litert 2.3.0", delegated=True, load_ms=1, p50_ms=2, p95_ms=3.14159, memory_bytes=50_000_000,
    golden_vectors=8, disagreement=0.01,
)  # fmt: skip
FULL = Problem(Reason.DISK_FULL, "full", "free some")


def status(phase: Phase | None = None, last: Outcome | None = None) -> Status:
    return Status(Record(OLD, None, phase or Idle(), last=last), versions=VERSIONS)


def test_the_first_status_after_a_start_is_no_event() -> None:
    assert event_of(None, status(Trial(NEW, 2), last=Outcome(OLD, "committed"))) is None


def test_a_problem_that_is_there_at_the_start_is_one() -> None:
    event = event_of(None, replace(status(), problem=FULL))
    assert event == {"kind": "problem", "reason": Reason.DISK_FULL, "detail": "full", "hint": "free some"}


@pytest.mark.parametrize(
    ("before", "now", "kind"),
    [
        (None, Fetching(NEW), "fetching"),
        (Fetching(NEW), Staged(NEW), "staged"),
        (Staged(NEW), Trial(NEW), "trial"),
        (Fetching(NEW), Fetching("c" * 64), "fetching"),
        (Fetching(NEW), Fetching(NEW, 2), None),
        (Trial(NEW), Trial(NEW, 1), None),
        (Trial(NEW), None, None),
        (None, None, None),
    ],
)
def test_another_phase_or_candidate_is_an_event_and_another_attempt_is_not(
    before: Phase | None, now: Phase | None, kind: str | None
) -> None:
    event = event_of(status(before), status(now))
    assert (event["kind"] if event else None) == kind


def test_an_outcome_is_an_event_with_its_reason_and_comes_before_all_else() -> None:
    last = Outcome(NEW, "rejected", Reason.GOLDEN_MISMATCH, "wrong answers")
    event = event_of(status(Staged(NEW)), replace(status(last=last), problem=FULL))
    assert event == {
        "kind": "rejected", "digest": NEW, "version": "2.0", "reason": "golden_mismatch", "detail": "wrong answers",
    }  # fmt: skip


def test_a_problem_that_lasts_is_one_event() -> None:
    troubled = replace(status(), problem=FULL)
    assert event_of(status(), troubled) is not None
    assert event_of(troubled, troubled) is None
    assert event_of(troubled, status()) is None


def test_what_an_update_has_cost_and_proved_is_told_with_its_phases() -> None:
    staged = replace(status(Staged(NEW)), fetched=FetchReport(1000, 250))
    trial = replace(status(Trial(NEW)), probe=PROBE)
    slow = replace(trial, probe=replace(PROBE, delegated=False, disagreement=None, golden_vectors=0))

    assert (event_of(status(Fetching(NEW)), staged) or {})["detail"] == "1000 bytes fetched, 250 re-used"
    assert (event_of(staged, trial) or {})["detail"] == (
        "probe passed: 8 golden vectors, disagreement 0.0100, p95 3.14 ms, peak 50 MB, ai-edge-litert 2.3.0"
    )
    detail = str((event_of(staged, slow) or {})["detail"])
    assert "no golden vectors" in detail
    assert detail.endswith("WITHOUT XNNPACK")


def test_what_is_not_taken_is_reported_with_its_reason_and_travels() -> None:
    held = Held(NEW, "2.0", HoldReason.HALTED, "the rollout is halted")
    report = stage_report(
        CONFIG,
        replace(status(), record=Record(OLD, lifted=(Lifted("finder/beta", 9), Lifted("finder/stable", 7))), held=held),
    )
    message = reported(
        hardware=Hardware("aarch64", "Debian 12", 4, 4_000_000_000),
        library=None,
        labels=(),
        stages={StageName("birds", "main"): report},
        at_s=1.0,
    )

    assert report.held == HeldReport(NEW, "2.0", "halted", "the rollout is halted")
    assert report.lifted == 7
    assert parse_reported(format_reported(message)) == message


def test_a_report_says_all_of_the_record_and_travels() -> None:
    record = Record(
        OLD,
        None,
        Fetching(NEW, 3),
        (Rejection("c" * 64, Reason.TOO_SLOW),),
        Outcome("c" * 64, "rejected", Reason.TOO_SLOW),
    )
    report = stage_report(CONFIG, Status(record, versions=VERSIONS, problem=FULL), trouble=None, p95_ms=3.2)
    message = reported(
        hardware=Hardware("aarch64", "Debian 12", 4, 4_000_000_000),
        library=None,
        labels=("porch",),
        stages={StageName("birds", "main"): report},
        at_s=1.23456,
    )

    assert parse_reported(format_reported(message)) == message
    assert (report.phase, report.attempt, report.starts) == ("fetching", 3, None)
    assert (report.candidate and report.candidate.version, report.p95_ms) == ("2.0", 3.2)
    assert [(each.digest, each.reason) for each in report.rejected] == [("c" * 64, "too_slow")]
    assert (report.last and (report.last.result, report.last.version)) == ("rejected", None)
    assert message.at_s == 1.235


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (Status(Record()), "nothing installed"),
        (status(), "finder 1.0"),
        (status(Trial(NEW)), "finder 1.0, trial 2.0"),
        (Status(Record(None, None, Fetching(NEW))), f"nothing installed, fetching {NEW[:12]}"),
        (replace(status(), problem=FULL), "finder 1.0 (disk_full)"),
    ],
)
def test_the_sentence_for_systemd(now: Status, said: str) -> None:
    assert sentence(stage_report(CONFIG, now)) == said
