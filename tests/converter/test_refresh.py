"""Signing again what is on a real mosquitto, and releases that several people must sign."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from converter.broker import Broker
from converter.cli import cli
from converter.publish import changes, sending
from converter.publish.keys import KeyDirectory, Keys, make_keys, make_signer, read_public
from converter.publish.parcel import wrap
from converter.publish.pending import PendingRelease
from converter.publish.push import Pushed, push
from converter.publish.refresh import Refreshed, refresh
from converter.publish.roots import Job
from converter.publish.succession import PublishError
from edge_agent.errors import InputError
from edge_agent.link.topics import Topics
from edge_agent.release import trust
from edge_agent.release.archive import Artifact, read_artifact
from tests.sim.artifact import make_members, pack
from tests.sim.broker import Mosquitto
from tests.sim.trusting import Device, ask_here

TOPICS = Topics()
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "RIVAL_S", 0.1)
    monkeypatch.setattr(trust, "_ask_child", ask_here)


@pytest.fixture
def anna(tmp_path: Path) -> KeyDirectory:
    make_keys(tmp_path / "anna")
    return KeyDirectory.at(tmp_path / "anna")


@pytest.fixture
def ben(tmp_path: Path, anna: KeyDirectory) -> KeyDirectory:
    """Two must sign targets: Anna and he."""
    _, public = make_signer(tmp_path / "ben", "targets")
    changes.add(anna, "targets", read_public(public), NOW)
    changes.set_threshold(anna, "targets", 2, NOW)
    ben = KeyDirectory.at(tmp_path / "ben")
    changes.follow(ben, anna.chain())
    return ben


def artifact(directory: Path, version: str, name: str = "m") -> Artifact:
    members = make_members(b"model " + version.encode(), name=name, version=version)
    return read_artifact(pack(members, directory / f"{name}-{version}.edge"))


def publish(broker: Mosquitto, what: Artifact, keys: Keys, channel: str = "stable", device_class: str = "") -> Pushed:
    return push(
        what, channel, keys, lambda: Broker(broker.settings, TOPICS),
        progress=lambda *_: None, device_class=device_class,
    )  # fmt: skip


def sign_again(
    broker: Mosquitto, keys: Keys, *, now: datetime = NOW, channels: Sequence[tuple[str, str]] = (),
    believe_revoked: bool = False,
) -> list[Refreshed]:  # fmt: skip
    return refresh(
        keys, lambda: Broker(broker.settings, TOPICS), channels, now=now, pend=lambda _: "pending",
        believe_revoked=believe_revoked,
    )  # fmt: skip


def states(reports: Sequence[Refreshed]) -> dict[tuple[str, str], str]:
    return {(report.model, report.channel): report.state for report in reports}


def on(broker: Mosquitto, channel: str = "stable", model: str = "m") -> bytes:
    with Broker(broker.settings, TOPICS) as client:
        topic = TOPICS.release(model, channel)
        return client.retained([topic])[topic]


def edgectl(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_what_is_due_is_signed_again_on_every_channel_and_the_rest_is_left(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory
) -> None:
    keys = anna.keys()
    for channel in ("stable", "beta"):
        publish(mosquitto, artifact(tmp_path, "1"), keys, channel)
    publish(mosquitto, artifact(tmp_path, "1", "other"), keys)
    before = on(mosquitto, "beta")
    assert set(states(sign_again(mosquitto, keys)).values()) == {"fresh"}
    assert on(mosquitto, "beta") == before
    later = NOW + timedelta(days=60)
    assert states(sign_again(mosquitto, keys, now=later)) == dict.fromkeys(
        [("m", "stable"), ("m", "beta"), ("other", "stable")], "signed"
    )
    device = Device(keys.root, now=NOW + timedelta(days=100))
    assert device.hear(on(mosquitto)).version == "1"
    assert set(states(sign_again(mosquitto, keys, now=later)).values()) == {"fresh"}


def test_a_channel_that_is_named_needs_no_wildcard(tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory) -> None:
    publish(mosquitto, artifact(tmp_path, "1"), anna.keys())
    publish(mosquitto, artifact(tmp_path, "1"), anna.keys(), "beta")
    changes.rotate(anna, "root", NOW)
    reports = sign_again(mosquitto, anna.keys(), channels=[("m", "beta"), ("m", "none")])
    assert states(reports) == {("m", "beta"): "signed", ("m", "none"): "refused"}


@pytest.mark.parametrize("job", ["root", "targets", "online"])
def test_after_a_rotation_all_channels_get_the_new_root_though_nothing_is_due(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory, job: Job
) -> None:
    first = anna.keys()
    pushed = [publish(mosquitto, artifact(tmp_path, "1"), first, channel) for channel in ("stable", "beta")]
    device = Device(first.root, now=NOW)
    device.hear(on(mosquitto))
    changes.rotate(anna, job, NOW)
    assert set(states(sign_again(mosquitto, anna.keys())).values()) == {"signed"}
    found = device.hear(on(mosquitto))
    assert (found.digest, "2.root.json" in device.remembers()["m.stable.json"].decode()) == (pushed[0].digest, True)


def test_what_a_stolen_key_may_have_signed_is_not_signed_again_unless_asked(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory
) -> None:
    publish(mosquitto, artifact(tmp_path, "1"), anna.keys())
    changes.rotate(anna, "targets", NOW, stolen=True)
    before = on(mosquitto)
    (report,) = sign_again(mosquitto, anna.keys())
    assert (report.state, report.version) == ("revoked", "1")
    assert "push what the channel is to have" in report.detail
    assert on(mosquitto) == before
    result = edgectl("refresh", "--broker", mosquitto.url, "--keys", anna.name)
    assert isinstance(result.exception, InputError)
    assert states(sign_again(mosquitto, anna.keys(), believe_revoked=True)) == {("m", "stable"): "signed"}
    assert sign_again(mosquitto, anna.keys())[0].state == "fresh"


def test_pushing_again_replaces_what_a_stolen_key_has_signed(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory
) -> None:
    first = anna.keys()
    publish(mosquitto, artifact(tmp_path, "6"), first)  # the thief's
    device = Device(first.root, now=NOW)
    device.hear(on(mosquitto))
    changes.rotate(anna, "targets", NOW, stolen=True)
    assert publish(mosquitto, artifact(tmp_path, "1"), anna.keys()).published
    assert device.hear(on(mosquitto)).version == "1"
    assert sign_again(mosquitto, anna.keys())[0].state == "fresh"


def test_documents_of_others_and_garbage_are_told_and_left(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory
) -> None:
    make_keys(tmp_path / "others")
    publish(mosquitto, artifact(tmp_path, "1"), KeyDirectory.at(tmp_path / "others").keys())
    publish(mosquitto, artifact(tmp_path, "1"), anna.keys(), "beta")
    with Broker(mosquitto.settings, TOPICS) as client:
        client.publish_retained(TOPICS.release("m", "garbage"), b"\xff")
    reports = sign_again(mosquitto, anna.keys(), now=NOW + timedelta(days=60))
    assert states(reports) == {("m", "stable"): "refused", ("m", "beta"): "signed", ("m", "garbage"): "refused"}
    assert on(mosquitto, "garbage") == b"\xff"


def test_a_channel_that_must_wait_for_others_to_sign_does_not_hold_up_the_rest(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory
) -> None:
    for channel in ("beta", "stable"):
        publish(mosquitto, artifact(tmp_path, "1"), anna.keys(), channel)
    _, public = make_signer(tmp_path / "ben", "targets")
    changes.add(anna, "targets", read_public(public), NOW)
    changes.rotate(anna, "targets", NOW)  # what was signed counts no more
    changes.set_threshold(anna, "targets", 2, NOW)

    def pend(pending: PendingRelease) -> str:
        if pending.target.channel == "beta":
            raise InputError("the file is there already", hint="remove it")
        return "file"

    reports = refresh(anna.keys(), lambda: Broker(mosquitto.settings, TOPICS), [], now=NOW, pend=pend)
    assert states(reports) == {("m", "beta"): "refused", ("m", "stable"): "pending"}
    assert "file" in reports[1].detail


def test_the_command_tells_each_channel(tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory) -> None:
    publish(mosquitto, artifact(tmp_path, "1"), anna.keys())
    common = ("refresh", "--broker", mosquitto.url, "--keys", anna.name)
    assert "m/stable 1: fresh, fresh until" in edgectl(*common).stdout
    assert json.loads(edgectl(*common, "--model", "m", "--json").stdout)["state"] == "fresh"
    assert edgectl(*common, "--model", "No Model").exit_code == 2


def test_a_release_for_another_class_is_another_document(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory
) -> None:
    publish(mosquitto, artifact(tmp_path, "1"), anna.keys())
    assert publish(mosquitto, artifact(tmp_path, "1"), anna.keys(), device_class="pi5").published
    assert not publish(mosquitto, artifact(tmp_path, "1"), anna.keys(), device_class="pi5").published
    assert Device(anna.chain()[0], now=NOW, device_class="pi5").hear(on(mosquitto)).device_class == "pi5"


def test_a_release_that_two_must_sign_is_published_by_the_last(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory, ben: KeyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, what = anna.chain()[0], artifact(tmp_path, "1")
    broker = ("--broker", mosquitto.url, "--keys", anna.name)
    said = edgectl("push", what.path, *broker)
    file = "m-1-stable.pending.json"
    assert f"edgectl sign {file}" in said.stdout, said.output
    with Broker(mosquitto.settings, TOPICS) as client:
        assert client.retained([TOPICS.release("m", "stable")]) == {}
    early = edgectl("push", "--pending", file, *broker).exception
    assert isinstance(early, PublishError)
    assert "1 more signatures of targets keys" in str(early)
    assert isinstance(edgectl("push", what.path, *broker).exception, InputError)  # the file is there already

    for directory in (ben, anna):
        assert edgectl("sign", file, "--keys", directory.name).exit_code == 0
    done = edgectl("push", "--pending", file, *broker)
    assert "m 1 is published on stable" in done.stdout, done.output
    assert Device(first, now=NOW).hear(on(mosquitto)).digest == what.digest
    assert "m 1 is published" in edgectl("push", "--pending", file, *broker).stdout  # once more does no harm


def test_a_pending_release_is_not_published_over_a_newer_one_or_without_its_chunks(
    tmp_path: Path, mosquitto: Mosquitto, anna: KeyDirectory, ben: KeyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    what = artifact(tmp_path, "1")
    broker = ("--broker", mosquitto.url, "--keys", anna.name)
    assert edgectl("push", what.path, *broker).exit_code == 0
    file = "m-1-stable.pending.json"
    for directory in (ben, anna):
        assert edgectl("sign", file, "--keys", directory.name).exit_code == 0
    for digest in wrap(what, "stable", NOW).chunks:  # whichever it is
        with Broker(mosquitto.settings, TOPICS) as client:
            client.publish_retained(TOPICS.blob(digest), b"")
        lost = edgectl("push", "--pending", file, *broker).exception
        assert isinstance(lost, PublishError)
        assert "the broker has lost 1 chunks of m 1" in str(lost)
        assert "edgectl seed" in str(lost.hint)
        assert edgectl("seed", what.path, "--broker", mosquitto.url).exit_code == 0
    changes.set_threshold(anna, "targets", 1, NOW)
    changes.follow(ben, anna.chain())
    publish(mosquitto, artifact(tmp_path, "2"), anna.keys())
    before = on(mosquitto)
    late = edgectl("push", "--pending", file, *broker).exception
    assert isinstance(late, PublishError)
    assert "somebody has published document" in str(late)
    assert on(mosquitto) == before


def test_push_wants_a_file_or_a_pending_one() -> None:
    assert edgectl("push", "--broker", "mqtt://x").exit_code == 2
