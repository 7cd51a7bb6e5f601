"""The loop: what it does with each thing that happens, and what it says of it."""

import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import fields
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from edge_agent.errors import ConfigError, EdgeError, InputError, LinkError, Reason, StorageError, TrustError
from edge_agent.inference.ipc import Answer, Figures, Result, Serving, SourceEnded, SourceTrouble
from edge_agent.link.device import Ack, ReleaseDocument, SamplesAsked, SubscriptionRefused
from edge_agent.link.events import Connected, Disconnected, Failed
from edge_agent.link.messages import EventReport, Telemetry, format_ack, parse_event, parse_telemetry
from edge_agent.service.documents import Channel
from edge_agent.service.inbox import Asked, Benched, Changed, Desired, Quit, Refused
from edge_agent.service.pipelines import Heard
from edge_agent.service.questions import Questions
from edge_agent.update.benching import Answer as Measured
from edge_agent.update.machine import Fetching, Idle, Outcome, Record, Trial
from edge_agent.update.status import Problem, Status
from tests.sim.agent import CHANNEL, STAGE, AgentSim
from tests.sim.releases import make_release

OLD, NEW = "a" * 64, "b" * 64
RESTING = Changed(STAGE, Status(Record(OLD), versions={OLD: "1.0"}))
TRYING = Changed(STAGE, Status(Record(OLD, None, Trial(NEW, 1)), versions={OLD: "1.0", NEW: "2.0"}))
COMMITTED = Changed(STAGE, Status(Record(NEW, OLD, last=Outcome(NEW, "committed")), versions={OLD: "1.0", NEW: "2.0"}))
CONNECTED = Connected(1, "5")
ROLLBACK = {"ask": "rollback", "pipeline": "birds"}


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[AgentSim]:
    sim = AgentSim(tmp_path)
    yield sim
    sim.outbox.__exit__(None, None, None)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The other end of sd_notify, with a watchdog of 10 s."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "notify"))
        ours.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "10000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield ours


def said(systemd: socket.socket) -> list[str]:
    lines: list[str] = []
    while True:
        try:
            lines += systemd.recv(65_536).decode().split("\n")
        except BlockingIOError:
            return lines


def test_what_was_only_measured_is_answered_and_told(sim: AgentSim) -> None:
    answer = Measured(NEW, "birds", "2.0", "refused", reason="too_slow", detail="14 ms, 10 are allowed")
    sim.happen(CONNECTED, RESTING, Benched(answer))

    (report,), (event,) = sim.link.benched, sim.events
    assert (report.digest, report.outcome, report.reason) == (NEW, "refused", "too_slow")
    assert (event["kind"], event["reason"], event["version"]) == ("bench", "too_slow", "2.0")


# --- reported and events -----------------------------------------------------------------------------------


def test_what_an_updater_has_done_is_reported_and_told_once(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING).happen(TRYING).happen(COMMITTED)

    assert [each.pipelines["birds"]["main"].phase for each in sim.link.reported] == ["idle", "trial", "idle"]
    assert sim.stage.current is not None
    assert (sim.stage.current.version, sim.link.reported[-1].labels) == ("2.0", ("porch",))
    assert [(event["kind"], event["version"]) for event in sim.events] == [("trial", "2.0"), ("committed", "2.0")]


def test_changes_that_come_together_are_one_message(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING)
    sim.happen(TRYING, COMMITTED)

    assert [each.pipelines["birds"]["main"].phase for each in sim.link.reported] == ["idle", "idle"]


def test_results_that_never_stop_do_not_hold_up_what_is_reported(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING)
    flood = Heard("birds", Result(1, 0.0, "a.png", {"main": Answer(OLD, "classification", (), {"invoke": 1.0})}, 0.0))
    sim.clock.advance(2.0)
    sim.inbox.put(TRYING)
    sim.happen(*[flood] * 3, Quit(), flood)

    assert sim.stage.phase == "trial"


def test_what_has_not_changed_is_not_reported_again_until_the_connection_is_a_new_one(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING)
    sim.clock.advance(7.0)
    sim.happen(RESTING, RESTING)
    sim.advance(31.0)  # telemetry is due
    assert len(sim.link.reported) == 1

    sim.happen(Disconnected(1, "gone"), Connected(2, "5"))
    assert len(sim.link.reported) == 2


def test_nothing_is_reported_while_the_link_is_down_and_all_of_it_afterwards(sim: AgentSim) -> None:
    sim.link.connected = False
    sim.happen(RESTING, COMMITTED)
    assert sim.link.reported == []

    sim.link.connected = True
    sim.happen(CONNECTED)
    assert sim.stage.last is not None
    assert sim.stage.last.result == "committed"


def test_a_broker_that_cannot_be_reached_is_told_on_the_device_until_it_can(
    sim: AgentSim, systemd: socket.socket
) -> None:
    sim.link.connected = False
    sim.happen(RESTING, Failed(LinkError("cannot reach the broker", hint="check the network"), 1.0))
    assert any("(link)" in line for line in said(systemd))
    answer: Future[Mapping[str, Any]] = Future()
    sim.happen(Asked({"ask": "status"}, answer))
    problem = answer.result(0)["pipelines"]["birds"]["main"]["problem"]
    assert (problem["detail"], problem["hint"]) == ("cannot reach the broker", "check the network")

    sim.link.connected = True
    sim.happen(CONNECTED)
    assert sim.stage.problem is None


def test_events_and_telemetry_are_messages_of_the_wire_protocol(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING, COMMITTED)
    sim.happen(Heard("birds", Figures("main", 9, 8, 8, 1, 0, {"invoke": {"10": 8}}, {"invoke": 2.0}, NEW)))
    sim.advance(30.0)

    (event,), (telemetry,) = sim.broker.of("event"), sim.broker.of("telemetry")
    assert parse_event(json.dumps(event).encode()).kind == "committed"
    read = parse_telemetry(json.dumps(telemetry).encode())
    assert read.pipelines["birds"].frames == {"in": 9, "out": 8, "dropped": 1, "failed": 0}
    assert read.pipelines["birds"].pss_bytes == 40_000_000
    assert read.uptime_s == 30.0
    assert read.resources["disk_free_bytes"] > 0
    assert set(event) <= {each.name for each in fields(EventReport)}
    assert set(telemetry) <= {each.name for each in fields(Telemetry)}


def test_telemetry_comes_at_its_interval_and_no_sooner(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING).advance(29.0)
    assert sim.broker.of("telemetry") == []
    sim.advance(1.0).advance(29.0)
    assert len(sim.broker.of("telemetry")) == 1
    sim.advance(1.0)
    assert len(sim.broker.of("telemetry")) == 2


def test_a_collectors_word_frees_the_outbox(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING, COMMITTED)
    (event,) = sim.broker.of("event")
    sim.happen(Ack(format_ack({event["stream"]: event["seq"]})))

    assert sim.outbox.count() == 0


def test_an_ask_for_samples_is_left_to_who_sends_them(sim: AgentSim, tmp_path: Path) -> None:
    sim.happen(SamplesAsked(b"ask"))
    assert sim.sampler.heard == [b"ask"]
    (tmp_path / "nobody").mkdir()
    nobody = AgentSim(tmp_path / "nobody", without_broker=True)
    nobody.happen(SamplesAsked(b"ask"))
    assert nobody.sampler.heard == []


# --- documents ------------------------------------------------------------------------------------------------


def test_a_document_is_judged_elsewhere_and_a_believed_one_moves_the_updaters_that_follow_it(sim: AgentSim) -> None:
    target = make_release("2", name="finder").target
    sim.happen(ReleaseDocument("finder", "stable", b"{}"))
    sim.happen(Desired(CHANNEL, target), Desired(Channel("finder", "beta"), target))

    assert sim.documents.offered == [(CHANNEL, b"{}")]
    assert sim.updater.desired == [target]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrustError("forged", reason=Reason.SIGNATURE), "signature"),
        (StorageError("full", reason=Reason.DISK_FULL), "disk_full"),
        (ConfigError("root.json is none"), "signature"),
    ],
)
def test_a_document_that_is_not_followed_is_a_problem_and_one_event(
    sim: AgentSim, error: EdgeError, reason: str
) -> None:
    sim.happen(CONNECTED, RESTING)
    sim.happen(Refused(CHANNEL, error))
    sim.happen(Refused(CHANNEL, error))

    assert sim.stage.problem is not None
    assert sim.stage.problem.reason == reason
    assert [event["reason"] for event in sim.events] == [reason]
    assert len(sim.link.reported) == 2
    assert (sim.stage.rejected, sim.updater.desired) == ((), [])

    sim.happen(Desired(CHANNEL, make_release("2", name="finder").target))
    assert sim.stage.problem is None


# --- link and workers --------------------------------------------------------------------------------------


def test_a_subscription_that_is_refused_is_a_problem_until_the_next_connection(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING, SubscriptionRefused(("edge/v1/release/finder/stable",)))
    assert sim.stage.problem is not None
    assert sim.stage.problem.reason == "link"
    assert "edge/v1/release/finder/stable" in sim.stage.problem.detail

    sim.happen(Connected(2, "5"))
    assert sim.stage.problem is None


def test_a_broker_that_cannot_be_reached_ends_nothing(sim: AgentSim) -> None:
    sim.link.connected = False
    sim.happen(Failed(LinkError("refused", hint="check the password"), 2.0), RESTING)

    status = answer_of(sim, {"ask": "status"})
    assert status["pipelines"]["birds"]["main"]["current"]["version"] == "1.0"


def test_trouble_of_a_source_is_reported_and_gone_when_frames_flow_again(sim: AgentSim) -> None:
    sim.happen(CONNECTED, RESTING, Heard("birds", SourceTrouble("no pictures", "put some there")))
    assert sim.stage.problem is not None
    assert (sim.stage.problem.reason, sim.stage.problem.hint) == ("source", "put some there")

    sim.happen(Heard("birds", Figures("main", 5, 5, 5, 0, 0, {}, {}, OLD)))
    assert sim.stage.problem is None


def test_the_updaters_own_problem_comes_before_that_of_the_source(sim: AgentSim) -> None:
    sim.happen(CONNECTED, Heard("birds", SourceTrouble("no pictures")))
    sim.happen(Changed(STAGE, Status(Record(), problem=Problem(Reason.DISK_FULL, "full"))))

    assert sim.stage.problem is not None
    assert sim.stage.problem.reason == "disk_full"


# --- questions -------------------------------------------------------------------------------------------------


def asked(sim: AgentSim, request: Mapping[str, object]) -> Asked:
    question = Asked(request, Future())
    sim.happen(question)
    return question


def answer_of(sim: AgentSim, request: Mapping[str, object]) -> Mapping[str, Any]:
    return asked(sim, request).answer.result(timeout=0)


def test_status_is_what_is_reported(sim: AgentSim) -> None:
    sim.happen(TRYING)
    stage = answer_of(sim, {"ask": "status"})["pipelines"]["birds"]["main"]

    assert (stage["phase"], stage["candidate"]) == ("trial", {"digest": NEW, "version": "2.0"})


def test_a_roll_back_is_answered_when_the_updater_has_done_it(sim: AgentSim) -> None:
    sim.happen(COMMITTED)
    question = asked(sim, ROLLBACK)
    assert not question.answer.done()

    record = Record(OLD, last=Outcome(NEW, "rolled_back", Reason.OPERATOR))
    sim.inbox.put(Changed(STAGE, Status(record, versions={OLD: "1.0"})))
    sim.updater.asked[0].set_result(record)
    assert not question.answer.done(), "answered on the updater's thread"
    sim.happen()
    assert question.answer.result(timeout=0)["stage"]["current"] == {"digest": OLD, "version": "1.0"}


def test_a_roll_back_that_cannot_be_is_answered_with_why(sim: AgentSim) -> None:
    sim.happen(RESTING)
    question = asked(sim, ROLLBACK)
    sim.updater.asked[0].set_exception(InputError("there is no earlier release"))
    sim.happen()

    assert isinstance(question.answer.exception(timeout=0), InputError)


@pytest.mark.parametrize(
    "request_", [{}, {"ask": "reboot"}, {**ROLLBACK, "pipeline": "x"}, {**ROLLBACK, "stage": ["main"]}, {"ask": []}]
)
def test_what_cannot_be_answered_is_refused_and_the_loop_goes_on(sim: AgentSim, request_: Mapping[str, object]) -> None:
    assert isinstance(asked(sim, request_).answer.exception(timeout=0), EdgeError)
    assert sim.updater.asked == []
    assert answer_of(sim, {"ask": "status"})["pipelines"] == {}


def test_whoever_waits_when_the_loop_ends_is_told_so() -> None:
    arrived = Event()
    questions = Questions(lambda _: arrived.set())
    errors: list[EdgeError] = []

    def person() -> None:
        try:
            questions.ask(ROLLBACK)
        except EdgeError as error:
            errors.append(error)

    thread = Thread(target=person)
    thread.start()
    assert arrived.wait(30)
    questions.end()
    thread.join(30)
    with pytest.raises(EdgeError, match="stopping"):
        questions.ask({"ask": "status"})
    assert [str(error) for error in errors] == ["the agent is stopping"]


def test_once_the_loop_has_ended_nobody_waits_for_it(sim: AgentSim) -> None:
    sim.happen(Quit())
    with pytest.raises(EdgeError, match="stopping"):
        sim.agent.questions.ask({"ask": "status"})


def test_a_loop_that_does_not_answer_is_an_error_of_ours() -> None:
    with pytest.raises(EdgeError, match=r"has not answered within 0\.01 s"):
        Questions(lambda _: None, patience_s=0.01).ask(ROLLBACK)


# --- how it ends, and systemd -----------------------------------------------------------------------------------


def test_what_a_thread_died_of_ends_the_agent(sim: AgentSim) -> None:
    with pytest.raises(MemoryError):
        sim.happen(Quit(MemoryError()), RESTING)
    assert sim.link.reported == []


def test_without_a_broker_it_ends_when_every_source_has_and_no_update_goes_on(tmp_path: Path) -> None:
    sim = AgentSim(tmp_path, without_broker=True)
    with sim.outbox:
        ended = Heard("birds", SourceEnded(7))
        sim.happen(Heard("birds", Serving("main", OLD)), TRYING, ended, Quit(), COMMITTED)
        assert not sim.inbox.empty(), "it is told to end, and has not ended by itself"
        sim.happen()
        sim.happen(Asked({"ask": "status"}, Future()))
        assert not sim.inbox.empty(), "it has ended: nobody takes anything out any more"


def test_with_a_broker_it_goes_on_when_every_source_has_ended(sim: AgentSim) -> None:
    sim.happen(RESTING, Heard("birds", SourceEnded(7)))

    assert answer_of(sim, {"ask": "status"})["device"] == "porch-pi"


def test_systemd_hears_the_update_machines_sentence(sim: AgentSim, systemd: socket.socket) -> None:
    sim.happen(RESTING)
    sim.happen(TRYING)
    assert said(systemd) == [
        "READY=1", "STATUS=starting", "STATUS=birds: finder 1.0", "STOPPING=1",
        "READY=1", "STATUS=starting", "STATUS=birds: finder 1.0, trial 2.0", "STOPPING=1",
    ]  # fmt: skip


def test_the_watchdog_is_fed_in_half_its_time_while_every_thread_lives_and_not_after(
    tmp_path: Path, systemd: socket.socket
) -> None:
    may_end = Event()
    updater = Thread(target=may_end.wait)
    updater.start()
    sim = AgentSim(tmp_path, threads=(updater,))
    with sim.outbox:
        sim.advance(0.0).advance(4.9)
        assert said(systemd).count("WATCHDOG=1") == 1
        sim.advance(0.1)
        assert said(systemd).count("WATCHDOG=1") == 1
        may_end.set()
        updater.join()
        sim.advance(5.0)
        assert said(systemd).count("WATCHDOG=1") == 0


def test_attempts_of_a_fetch_are_no_news(sim: AgentSim) -> None:
    first = Record(OLD, None, Fetching(NEW, 1))
    sim.happen(Changed(STAGE, Status(Record(OLD, None, Idle()))), Changed(STAGE, Status(first)))
    sim.happen(Changed(STAGE, Status(Record(OLD, None, Fetching(NEW, 2)))))

    assert [event["kind"] for event in sim.events] == ["fetching"]
