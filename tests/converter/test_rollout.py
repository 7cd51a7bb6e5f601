"""Rollouts and orders over a real mosquitto, with ten real updaters on simulated disks, and a clock that we turn."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import click
import pytest
from click.testing import CliRunner, Result

from converter.broker import Broker
from converter.cli import cli
from converter.errors import RolloutStoppedError
from converter.fleet.drive import drive
from converter.fleet.plan import Plan, parse_rule
from converter.publish import push as push_module
from converter.publish import sending, succession
from converter.publish.keys import make_keys, read_keys
from converter.publish.orders import Publisher
from converter.publish.push import push
from converter.publish.succession import MAX_PREVIOUS, PublishError
from edge_agent.errors import ConfigError, EdgeError, InputError, LinkError
from edge_agent.link.topics import Topics
from edge_agent.release import trust, verify_child
from edge_agent.release.archive import read_artifact
from edge_agent.release.document import Lifts, Target
from edge_agent.release.rollout import Rollout, place_of
from tests.sim.broker import Mosquitto, free_port
from tests.sim.clock import FakeClock
from tests.sim.fleet import SimFleet
from tests.sim.releases import SimRelease, make_release

TOPICS = Topics()
OLD, NEW, NEXT = (make_release(version) for version in ("1.0.0", "1.1.0", "1.2.0"))
IDS = tuple(f"pi-{number}" for number in range(10))
HOUR = timedelta(hours=1)
PLAN = Plan((10, 50, 100), HOUR, (parse_rule("failed>2%"),))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long look for rivals, and documents are checked here instead of in the child (see tests/release)."""
    monkeypatch.setattr(sending, "RIVAL_S", 0.05)
    monkeypatch.setattr("converter.fleet.devices._GRACE_S", 0.05)
    monkeypatch.setattr(trust, "_ask_child", lambda request: verify_child.answer(json.loads(json.dumps(request))))


class Bench:
    """A publisher, ten devices that all serve OLD, and the clock of the laptop."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        make_keys(folder / "keys")
        self.broker = broker
        self.folder = folder
        self.publisher = Publisher(
            "birds", "stable", read_keys(folder / "keys"), lambda: Broker(broker.settings, TOPICS)
        )
        self.clock = TurnedClock()
        self.fleet = SimFleet(IDS, OLD, NEW, NEXT)
        self.said: list[str] = []
        self.clock.on_wait = self.turn

    def push(self, release: SimRelease, rollout: Rollout | None = None) -> Target:
        artifact = read_artifact(release.write(self.folder / f"birds-{release.target.version}.edge"))
        connect, keys = self.publisher.connect, self.publisher.keys
        push(artifact, "stable", keys, connect, progress=lambda *_: None, rollout=rollout, now=self.now)
        return self.target

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now_s(), UTC)

    @property
    def target(self) -> Target:
        with self.publisher.connect() as broker:
            return self.publisher.read(broker).target

    def turn(self) -> None:
        """The devices hear what is published, do it, and report."""
        self.fleet.hear(self.target)
        with self.publisher.connect() as broker:
            self.fleet.report(broker)

    def drive(self, plan: Plan = PLAN) -> None:
        drive(self.publisher, plan, self.clock, self.said.append)

    def with_version(self, version: str) -> set[str]:
        return {name for name, serving in self.fleet.serving().items() if serving == version}


class TurnedClock(FakeClock):
    """Each wait gives the devices their turn, and the test a chance to cut in."""

    def __init__(self) -> None:
        super().__init__()
        self.on_wait: Callable[[], None] = lambda: None
        self.waits = 0

    def wait(self, event: Event, timeout_s: float) -> bool:
        self.waits += 1
        self.on_wait()
        return super().wait(event, timeout_s + 1200)  # a simulated day is not looked at every 10 s


@pytest.fixture
def bench(mosquitto: Mosquitto, tmp_path: Path) -> Bench:
    made = Bench(mosquitto, tmp_path)
    made.push(OLD)
    made.turn()
    assert made.with_version("1.0.0") == set(IDS)
    return made


def members(digest: str, percent: int) -> set[str]:
    return {name for name in IDS if place_of(name, digest) < percent}


# --- in stages ---------------------------------------------------------------------------------------------------


def test_a_release_goes_through_its_stages_to_all_devices(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=0, canary_devices=("pi-3",)))
    began_s = bench.clock.now_s()
    seen: dict[int, set[str]] = {}

    def turn() -> None:
        bench.turn()
        seen[bench.target.rollout.percent] = bench.with_version("1.1.0")

    bench.clock.on_wait = turn
    bench.drive()

    assert seen == {percent: members(NEW.digest, percent) | {"pi-3"} for percent in (0, 10, 50, 100)}
    assert bench.clock.now_s() - began_s >= 4 * 3600
    assert bench.said[-1] == "1.1.0 for everybody: 10 devices: 10 committed"


def test_too_many_failures_halt_it_and_devices_that_have_not_begun_keep_what_they_have(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=0, canary_devices=("pi-3",)))
    bad = next(name for name in IDS if name in members(NEW.digest, 50) and name != "pi-3")
    bench.fleet.devices[bad].server.erring.add(NEW.digest)
    bench.fleet.devices[bad].sick["erring"] = {NEW.digest}

    with pytest.raises(
        RolloutStoppedError, match=rf"failed>2%: 1 of \d devices .* failed: {bad} \(trial_errors"
    ) as caught:
        bench.drive()

    assert "edgectl rollout revert birds" in str(caught.value.hint)
    assert (bench.target.rollout.percent, bench.target.rollout.state) == (50, "halted")
    had = bench.with_version("1.1.0")
    assert had == (members(NEW.digest, 50) | {"pi-3"}) - {bad}
    bench.turn()
    assert bench.with_version("1.1.0") == had, "whoever has it keeps it"
    with pytest.raises(RolloutStoppedError, match="halted at 50 %"):
        bench.drive()


class Killed(BaseException):
    """What SIGKILL would do here."""


def test_killed_at_any_point_and_started_again_it_goes_on_and_soaks_no_longer(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=0, canary_devices=("pi-3",)))
    began_s = bench.clock.now_s()
    widened: list[str] = []
    kills = 0

    def turn() -> None:
        nonlocal kills
        bench.turn()
        rollout = bench.target.rollout
        if not widened or widened[-1] != f"{rollout.percent} {rollout.since}":
            widened.append(f"{rollout.percent} {rollout.since}")
        if bench.clock.waits % 2:
            kills += 1
            bench.clock.advance(60)
            raise Killed

    bench.clock.on_wait = turn
    while True:
        try:
            bench.drive()
        except Killed:
            continue
        break

    assert kills > 4
    assert [entry.split()[0] for entry in widened] == ["0", "10", "50", "100"], "no stage was signed twice"
    assert bench.with_version("1.1.0") == set(IDS)
    longest_s = 4 * (3600 + 1210 + 60)  # each stage, and the look that comes too late for it
    assert bench.clock.now_s() - began_s < longest_s + kills * 60


def test_killed_between_signing_and_the_next_look_it_does_not_sign_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.push(NEW, Rollout(percent=0, canary_devices=("pi-3",)))
    bench.turn()
    bench.clock.advance(3600)
    announce = push_module.announce

    def killed_after(*arguments: object) -> None:
        announce(*arguments)  # type: ignore[arg-type]  # as they came
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("converter.publish.orders.announce", killed_after)
        with pytest.raises(Killed):
            bench.drive()
    assert bench.target.rollout.percent == 10
    since = bench.target.rollout.since
    bench.clock.advance(600)

    def kill() -> None:
        raise Killed

    bench.clock.on_wait = kill
    with pytest.raises(Killed):
        bench.drive()
    assert (bench.target.rollout.percent, bench.target.rollout.since) == (10, since)


def test_a_broker_that_goes_away_is_waited_for(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=0, canary_devices=("pi-3",)))
    connect, lost = bench.publisher.connect, [True]

    def turn() -> None:
        bench.turn()
        if lost[0]:
            refusals.append(LinkError("it is away"))
            lost[0] = False

    refusals: list[LinkError] = []

    def flaky() -> Broker:
        if refusals:
            raise refusals.pop()
        return connect()

    bench.clock.on_wait = turn
    drive(replace(bench.publisher, connect=flaky), PLAN, bench.clock, bench.said.append)

    assert "it is away; trying again" in bench.said
    assert bench.with_version("1.1.0") == set(IDS)


def test_what_somebody_else_publishes_between_a_look_and_the_next_stage_is_not_overwritten(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=0))

    def say(text: str) -> None:
        if not bench.said:
            bench.push(NEXT, Rollout(percent=20))
        bench.said.append(text)

    drive(bench.publisher, PLAN, bench.clock, say)

    assert bench.said[0].startswith("1.1.0 0 %: no known device")
    assert bench.said[1].startswith("1.2.0 20 %: ")
    assert bench.with_version("1.2.0") == set(IDS)


def test_other_orders_do_not_make_a_stage_soak_longer(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=0))
    bench.publisher.amend(lambda there, _: succession.widen(there.target, 50, bench.now), bench.now)
    signed = succession.moment(bench.now)
    bench.clock.advance(3000)
    bench.publisher.amend(lambda there, number: succession.retry(there.target, number, bench.now), bench.now)
    bench.publisher.amend(lambda there, _: succession.turn(there.target, "paused", bench.now), bench.now)

    assert bench.target.rollout.since == signed
    assert bench.target.created == succession.moment(bench.now)
    bench.publisher.amend(lambda there, _: succession.widen(there.target, 50, bench.now), bench.now)
    assert bench.target.rollout.since == succession.moment(bench.now), "after a pause it begins again"


def test_a_pause_ends_the_program_and_widening_goes_on(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=50))
    bench.publisher.amend(lambda there, _: succession.turn(there.target, "paused", bench.now), bench.now)
    bench.turn()
    assert bench.with_version("1.1.0") == members(NEW.digest, 50), "devices take no notice of a pause"
    with pytest.raises(RolloutStoppedError, match="paused at 50 %"):
        bench.drive()
    bench.publisher.amend(lambda there, _: succession.widen(there.target, 50, bench.now), bench.now)
    bench.drive()
    assert bench.with_version("1.1.0") == set(IDS)


# --- orders ------------------------------------------------------------------------------------------------------


def test_a_revert_takes_the_release_back_everywhere_with_nothing_but_the_document(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=50))
    bench.turn()
    assert bench.with_version("1.1.0")
    ordered = bench.publisher.revert(bench.now)
    bench.turn()

    assert (ordered.target.version, ordered.target.downgrade) == ("1.0.0", True)
    assert ordered.target.digest == OLD.digest
    assert bench.with_version("1.0.0") == set(IDS)
    assert [(each.version, each.rollout.state) for each in ordered.target.previous] == [("1.1.0", "halted")]

    bench.push(NEXT, Rollout(percent=0))
    bench.turn()
    assert bench.with_version("1.0.0") == set(IDS)
    late = SimFleet(["late"], OLD, NEW, NEXT)
    late.hear(bench.target)
    assert late.serving() == {"late": "1.0.0"}, "what was reverted is for nobody"


def test_without_a_word_it_goes_back_by_one_and_by_name_to_any_that_is_known(bench: Bench) -> None:
    bench.push(NEW)
    bench.push(NEXT)

    assert bench.publisher.revert(bench.now).target.version == "1.1.0"
    with pytest.raises(PublishError, match=r"1\.1\.0 is what stable gives already"):
        bench.publisher.revert(bench.now, artifact=read_artifact(bench.folder / "birds-1.1.0.edge"))
    assert bench.publisher.revert(bench.now, to=NEXT.digest[:12]).target.version == "1.2.0"
    assert bench.publisher.revert(bench.now, to="1.0.0").target.version == "1.0.0"
    bench.turn()
    assert bench.with_version("1.0.0") == set(IDS)


def test_where_no_earlier_release_is_known_it_says_what_is(bench: Bench) -> None:
    before = bench.target
    with pytest.raises(PublishError, match=r"before 1\.0\.0 is not known.*document knows: none. Devices have: 1\.0\.0"):
        bench.publisher.revert(bench.now)
    bench.push(NEW)
    with pytest.raises(PublishError, match=rf"release 0\.9 is not known.*1\.0\.0 \({OLD.digest[:12]}\)") as caught:
        bench.publisher.revert(bench.now, to="0.9")
    assert "--artifact" in str(caught.value.hint)
    assert bench.target.digest == NEW.digest
    assert before.digest == OLD.digest


def test_a_release_that_the_broker_has_lost_is_reverted_to_by_its_file(bench: Bench) -> None:
    bench.push(NEW)
    chunk = next(iter(OLD.chunk_digests - NEW.chunk_digests))
    with bench.publisher.connect() as broker:
        broker.publish_retained(TOPICS.blob(chunk), b"")
    with pytest.raises(PublishError, match=r"1 chunks of birds 1\.0\.0 are no longer on the broker") as caught:
        bench.publisher.revert(bench.now)
    assert "--artifact" in str(caught.value.hint)
    assert bench.target.digest == NEW.digest, "nothing was ordered"

    artifact = read_artifact(bench.folder / "birds-1.0.0.edge")
    with pytest.raises(InputError, match=r"is birds 1\.0\.0, not birds 0\.9"):
        bench.publisher.revert(bench.now, to="0.9", artifact=artifact)
    assert bench.publisher.revert(bench.now, artifact=artifact).target.digest == OLD.digest
    with bench.publisher.connect() as broker:
        assert broker.retained([TOPICS.blob(chunk)])


def test_a_file_that_the_document_does_not_know_can_be_gone_back_to(bench: Bench) -> None:
    older = make_release("0.5.0")
    bench.fleet.transport.add(older)
    ordered = bench.publisher.revert(bench.now, artifact=read_artifact(older.write(bench.folder / "older.edge")))
    bench.turn()

    assert ordered.target.downgrade
    assert bench.with_version("0.5.0") == set(IDS)


def test_a_retry_has_devices_try_once_more_and_no_more(bench: Bench) -> None:
    sick = bench.fleet.devices["pi-4"]
    sick.unproven.add(NEW.digest)
    bench.push(NEW)
    bench.turn()
    assert bench.with_version("1.0.0") == {"pi-4"}
    probes = sick.probes

    def again() -> None:
        bench.publisher.amend(lambda there, number: succession.retry(there.target, number, bench.now), bench.now)
        bench.turn()
        bench.turn()

    again()
    bench.publisher.amend(lambda there, _: succession.turn(there.target, "paused", bench.now), bench.now)
    bench.turn()
    assert sick.probes == probes + 1, "a document that repeats the order is no new one"
    assert bench.with_version("1.0.0") == {"pi-4"}
    sick.unproven.clear()
    again()
    assert bench.with_version("1.1.0") == set(IDS)


# --- what follows what -------------------------------------------------------------------------------------------


def test_a_push_keeps_what_the_channel_gave_before(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=5))
    target = bench.push(NEXT)

    assert [(each.version, each.rollout.percent) for each in target.previous] == [("1.1.0", 5), ("1.0.0", 100)]
    assert all(each.previous == () and each.lifts == Lifts() for each in target.previous)
    for number in range(5):
        target = bench.push(make_release(f"2.{number}"))
    assert [each.version for each in target.previous] == ["2.3", "2.2", "2.1"]
    assert len(target.previous) == MAX_PREVIOUS


def test_an_older_version_is_not_pushed_and_the_error_says_how_to_go_back(bench: Bench) -> None:
    bench.push(NEW)
    with pytest.raises(PublishError, match=r"1\.0\.0 is older than 1\.1\.0, which stable gives") as caught:
        bench.push(OLD)
    assert "edgectl release revert birds --channel stable" in str(caught.value.hint)
    assert bench.target.digest == NEW.digest


def test_the_same_release_again_keeps_its_rollout_and_another_one_has_to_be_asked_for(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=5, canary_labels=("lab",)))
    bench.publisher.amend(lambda there, _: succession.turn(there.target, "halted", bench.now), bench.now)
    before = bench.target

    assert bench.push(NEW) == before
    assert bench.push(NEW, Rollout(percent=5, canary_labels=("lab",))) == before
    with pytest.raises(PublishError, match=r"another rollout \(5 %, canaries label lab, halted\)") as caught:
        bench.push(NEW, Rollout(percent=50))
    assert "rollout widen" in str(caught.value.hint)
    bench.clock.advance(60 * 24 * 3600)
    assert bench.push(NEW) == replace(before, created=succession.moment(bench.now)), "signed anew, and halted as before"


def test_a_rollout_is_not_made_narrower_nor_a_halted_one_paused(bench: Bench) -> None:
    bench.push(NEW, Rollout(percent=50))
    with pytest.raises(PublishError, match="cannot be made narrower"):
        bench.publisher.amend(lambda there, _: succession.widen(there.target, 10, bench.now), bench.now)
    bench.publisher.amend(lambda there, _: succession.turn(there.target, "halted", bench.now), bench.now)
    with pytest.raises(PublishError, match="halted, which is more than paused"):
        bench.publisher.amend(lambda there, _: succession.turn(there.target, "paused", bench.now), bench.now)
    again = bench.publisher.amend(lambda there, _: succession.turn(there.target, "halted", bench.now), bench.now)
    assert not again.published
    assert (bench.target.rollout.percent, bench.target.rollout.state) == (50, "halted")


# --- the commands ------------------------------------------------------------------------------------------------


def edgectl(bench: Bench, *arguments: str) -> Result:
    common = ("--broker", bench.broker.url, "--keys", str(bench.folder / "keys"))
    return CliRunner().invoke(cli, [*arguments, *common])


def test_the_commands_say_what_they_did_and_whom_it_reaches(bench: Bench) -> None:
    file = str(NEW.write(bench.folder / "new.edge"))
    least = min(place_of(name, NEW.digest) for name in IDS) + 1
    pushed = edgectl(bench, "push", file, "--percent", "0")
    assert pushed.exit_code == 0, pushed.output
    assert "birds 1.1.0 is published on stable, 0 % (document" in pushed.stdout
    assert f"0 of 10 known devices are in it; at {least} % the first one would be" in pushed.stderr

    widened = edgectl(bench, "rollout", "widen", "50", "birds")
    inside = len(members(NEW.digest, 50))
    assert "birds 1.1.0 on stable: 50 % (document" in widened.stdout
    assert f"{inside} of 10 known devices are in it" in widened.stderr
    bench.turn()
    table = edgectl(bench, "rollout", "status", "birds").stdout
    assert f"{inside} of 10 known devices are in it; {inside} devices: {inside} committed" in table
    assert sum("not_in_rollout: it is for 50 % of the devices" in line for line in table.splitlines()) == 10 - inside

    assert "50 %, paused" in edgectl(bench, "rollout", "pause", "birds").stdout
    halted = json.loads(edgectl(bench, "rollout", "halt", "birds", "--json").stdout)
    assert (halted["published"], halted["rollout"]["state"]) == (True, "halted")
    tree = json.loads(edgectl(bench, "rollout", "status", "birds", "--json").stdout)
    assert tree["shares"]["failed"] == {"devices": 0, "of": inside, "percent": 0.0}
    assert {each["device"] for each in tree["members"]} == members(NEW.digest, 50)
    assert {each["progress"] for each in tree["members"]} == {"committed"}

    stopped = edgectl(bench, "rollout", "run", "birds", "--stages", "50,100", "--soak", "0s")
    assert isinstance(stopped.exception, RolloutStoppedError)
    reverted = edgectl(bench, "rollout", "revert", "birds")
    assert "birds 1.0.0 on stable: for everybody (document" in reverted.stdout
    bench.turn()
    assert bench.with_version("1.0.0") == set(IDS)
    retried = edgectl(bench, "release", "retry", "birds")
    assert "birds 1.0.0 on stable: for everybody (document" in retried.stdout


def test_run_goes_through_the_stages_that_it_is_given(bench: Bench) -> None:
    bench.push(NEW)
    bench.turn()
    done = edgectl(
        bench, "rollout", "run", "birds", "--soak", "0s", "--halt-on", "failed>0", "--halt-on", "offline>50%"
    )

    assert done.exit_code == 0, done.output
    assert "birds 1.1.0 is through the last stage, 100 %" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rollout", "run", "birds", "--halt-on", "broken>1"], "WORD>NUMBER"),
        (["rollout", "run", "birds", "--stages", "10,1"], "each larger"),
        (["rollout", "run", "birds", "--soak", "soon"], "1h30m"),
    ],
)
def test_what_is_asked_wrongly_is_told_before_the_broker_is_asked(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    make_keys(tmp_path / "keys")
    common = ("--broker", f"mqtt://127.0.0.1:{free_port()}", "--keys", str(tmp_path / "keys"))
    result = CliRunner().invoke(cli, [*arguments, *common])

    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)


def test_a_channel_that_gives_nothing_is_an_error_of_ours(mosquitto: Mosquitto, tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    for command in (["rollout", "widen", "5"], ["rollout", "status"], ["release", "revert"], ["release", "retry"]):
        common = ("birds", "--broker", mosquitto.url, "--keys", str(tmp_path / "keys"))
        result = CliRunner().invoke(cli, [*command, *common])
        assert isinstance(result.exception, EdgeError), result.output
        assert "nothing is published for birds on stable" in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ["push", "x.edge", "--percent", "101"],
        ["push", "x.edge", "--canary-device", "porch-pi"],
        ["push", "x.edge", "--percent", "5", "--canary-device", "No Id"],
        ["rollout", "widen", "birds"],
        ["rollout", "widen", "5", "No Model"],
        ["rollout", "halt", "birds", "--channel", "No Channel"],
    ],
)
def test_what_cannot_be_is_asked_wrongly(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, [*arguments, "--broker", "mqtt://127.0.0.1:1"])
    assert result.exit_code == click.UsageError.exit_code, result.output
