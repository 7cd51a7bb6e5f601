"""Rollouts of which every order needs two signatures: they wait, go on by themselves, and never say what is not so."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from converter.commands.keys import pend_order, waiting_orders
from converter.errors import RolloutStoppedError
from converter.fleet.plan import parse_rule
from converter.publish import changes, succession
from converter.publish.keys import KeyDirectory, make_signer, read_keys, read_public
from converter.publish.pending import PendingRelease, parse_pending, sign_release
from converter.publish.refresh import publish_pending
from edge_agent.release.rollout import Rollout
from tests.converter.test_rollout import HOUR, IDS, NEW, OLD, PLAN, Bench, Killed, _quick, edgectl  # noqa: F401  # fixture
from tests.sim.broker import Mosquitto


class Two(Bench):
    """Anna, who drives the rollout in her folder, and Ben, who must sign too."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        super().__init__(broker, folder)
        self.push(OLD)
        self.turn()
        self.push(NEW, Rollout(percent=0, canary_devices=("pi-3",)))
        self.turn()
        anna, self.ben = KeyDirectory.at(folder / "keys"), KeyDirectory.at(folder / "ben")
        changes.add(anna, "targets", read_public(make_signer(folder / "ben", "targets")[1]), self.now)
        changes.set_threshold(anna, "targets", 2, self.now)
        changes.follow(self.ben, anna.chain())
        self.publisher = replace(
            self.publisher, keys=read_keys(folder / "keys"), pend=pend_order, waiting=waiting_orders
        )
        self.asked: list[str] = []

    def pending(self) -> list[Path]:
        """Oldest first: the last word of a name is the number of the document."""
        return sorted(
            Path().glob("*.pending.json"), key=lambda path: int(path.name.split(".pending")[0].split("-")[-1])
        )

    def sign_and_publish(self, path: Path) -> None:
        """By Ben, and back to Anna for what is signed online."""
        pending = parse_pending(path.read_bytes())
        assert isinstance(pending, PendingRelease)
        for directory in (self.ben, KeyDirectory.at(self.folder / "keys")):
            pending = sign_release(pending, directory.keys(), self.now)
        publish_pending(pending, self.publisher.keys, self.publisher.connect, self.now)


@pytest.fixture
def two(mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    monkeypatch.chdir(tmp_path)
    return Two(mosquitto, tmp_path)


def test_where_two_must_sign_each_stage_waits_for_that_and_goes_on_by_itself(two: Two) -> None:
    signed: list[tuple[float, int]] = []

    def turn() -> None:
        two.turn()
        files = two.pending()
        if len(files) > len(signed) and two.clock.waits % 3 == 0:  # Ben takes his time
            two.sign_and_publish(files[-1])
            signed.append((two.clock.now_s(), two.target.rollout.percent))

    two.clock.on_wait = turn
    two.drive()

    assert [percent for _, percent in signed] == [10, 50, 100]
    assert all(after - before >= HOUR.total_seconds() for (before, _), (after, _) in itertools.pairwise(signed))
    asked = [sentence for sentence in two.said if "edgectl sign" in sentence]
    assert [sentence.partition(",")[0] for sentence in asked] == [
        f"to widen it to {percent} %" for percent in (10, 50, 100)
    ]
    assert all(
        f"edgectl push --pending {file}" in sentence for file, sentence in zip(two.pending(), asked, strict=True)
    )
    assert two.with_version("1.1.0") == set(IDS)


def test_a_stage_begins_with_the_last_signature_and_not_with_the_first(two: Two) -> None:
    two.publisher.amend(lambda there, _: succession.widen(there.target, 50, two.now), two.now)
    two.clock.advance(86_400)
    two.sign_and_publish(two.pending()[0])
    two.turn()

    def kill() -> None:
        raise Killed

    two.clock.on_wait = kill
    with pytest.raises(Killed):
        two.drive()
    assert "it soaks until" in two.said[-1]
    assert len(two.pending()) == 1


def test_killed_while_it_waits_for_a_signature_it_asks_for_the_same_one_again(two: Two) -> None:
    def kill() -> None:
        raise Killed

    two.clock.on_wait = kill
    two.clock.advance(7200)
    for _ in range(3):
        with pytest.raises(Killed):
            two.drive()
        two.clock.advance(60)
    (file,) = two.pending()
    assert two.target.rollout.percent == 0
    assert sum(str(file) in sentence for sentence in two.said) == 3

    two.sign_and_publish(file)
    assert two.target.rollout.percent == 10


def test_what_waits_and_has_been_overtaken_is_asked_for_anew(two: Two) -> None:
    def kill() -> None:
        raise Killed

    two.clock.on_wait = kill
    two.clock.advance(7200)
    with pytest.raises(Killed):
        two.drive()
    (overtaken,) = two.pending()
    two.clock.advance(60)
    retried = two.publisher.amend(lambda there, number: succession.retry(there.target, number, two.now), two.now)
    assert retried.pending is not None
    two.sign_and_publish(Path(retried.pending))
    with pytest.raises(Killed):
        two.drive()

    assert len(two.pending()) == 3
    assert str(overtaken) not in two.said[-1]


def test_a_halt_that_lacks_signatures_ends_the_program_and_says_that_it_is_none_yet(two: Two) -> None:
    halt_at_once = replace(PLAN, halt_on=(parse_rule("offline>=0"),))
    for _ in range(2):
        with pytest.raises(RolloutStoppedError, match="has to be halted at 0 %, and is not yet") as caught:
            two.drive(halt_at_once)
        two.clock.advance(60)
    (file,) = two.pending()
    assert f"edgectl sign {file}" in str(caught.value.hint)
    assert two.target.rollout.state == "active"

    two.sign_and_publish(file)
    with pytest.raises(RolloutStoppedError, match="is halted at 0 %"):
        two.drive(halt_at_once)


def test_the_same_order_again_is_the_same_pending_file(two: Two) -> None:
    for _ in range(2):
        said = edgectl(two, "rollout", "widen", "50", "birds").stdout
        (file,) = two.pending()
        assert (
            f"is not ordered yet: others must sign it (edgectl sign {file}), then: edgectl push --pending {file}"
            in said
        )
    assert "is not ordered yet" in edgectl(two, "rollout", "pause", "birds").stdout
    assert len(two.pending()) == 2
    assert (two.target.rollout.percent, two.target.rollout.state) == (0, "active")
