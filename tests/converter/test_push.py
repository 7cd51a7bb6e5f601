"""Publishing against a real mosquitto: what travels, what does not, and every way it can go wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Event, Thread

import click
import pytest
from click.testing import CliRunner, Result

from converter.broker import Broker
from converter.commands.blobs import seed as seed_command
from converter.commands.release import push as push_command
from converter.publish import push as push_module
from converter.publish import sending
from converter.publish.catalog import Catalog, CollectionMark, change_catalog
from converter.publish.keys import Keys, make_keys, read_keys
from converter.publish.parcel import wrap
from converter.publish.push import Pushed, push
from converter.publish.repository import TIMESTAMP_DAYS, sign_document
from converter.publish.sending import Progress
from converter.publish.succession import PublishError
from edge_agent.errors import EdgeError, LinkError, Reason, TrustError
from edge_agent.link.topics import Topics
from edge_agent.release import trust, verify_child
from edge_agent.release.archive import Artifact, read_artifact
from edge_agent.release.chunks import CHUNK_BYTES, parse_index, unpack
from edge_agent.release.trust import verify
from tests.sim.artifact import make_members, pack
from tests.sim.broker import Mosquitto, free_port, password_file, run_amqtt, run_mosquitto

TOPICS = Topics()
MODEL = Random(1).randbytes(5 * CHUNK_BYTES + 17)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    make_keys(tmp_path / "keys")
    return read_keys(tmp_path / "keys")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long look for rivals, and documents are checked here instead of in the child (see tests/release)."""
    monkeypatch.setattr(sending, "RIVAL_S", 0.1)
    monkeypatch.setattr(trust, "_ask_child", lambda request: verify_child.answer(json.loads(json.dumps(request))))


@pytest.fixture
def only_3_1_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a broker that knows no MQTT 5 and so cannot say no to a PUBLISH."""
    monkeypatch.setattr("edge_agent.link.mqtt._PROTOCOLS", ("3.1.1",))


def artifact(directory: Path, version: str, model: bytes = MODEL) -> Artifact:
    return read_artifact(pack(make_members(model, name="birds", version=version), directory / f"birds-{version}.edge"))


def quiet(_done_bytes: int, _total_bytes: int) -> None:
    pass


def publish(
    broker: Mosquitto, what: Artifact, keys: Keys, *, progress: Progress = quiet, replace_foreign: bool = False,
    now: datetime | None = None,
) -> Pushed:  # fmt: skip
    return push(
        what, "stable", keys, lambda: Broker(broker.settings, TOPICS),
        progress=progress, replace_foreign=replace_foreign, now=now,
    )  # fmt: skip


def retained(broker: Mosquitto, topic: str) -> bytes | None:
    with Broker(broker.settings, TOPICS) as client:
        return client.retained([topic]).get(topic)


def document_on(broker: Mosquitto) -> bytes | None:
    return retained(broker, TOPICS.release("birds", "stable"))


def test_what_is_pushed_is_what_a_device_verifies_and_puts_together(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    steps: list[tuple[int, int]] = []
    what = artifact(tmp_path, "1")
    pushed = publish(mosquitto, what, keys, progress=lambda done, total: steps.append((done, total)))
    assert (pushed.model, pushed.version, pushed.published) == ("birds", "1", True)
    assert steps[-1] == (pushed.sent.bytes_sent, pushed.sent.bytes_sent)

    document = document_on(mosquitto)
    assert document is not None
    now_s = datetime.now(UTC).timestamp()
    target = verify(keys.root, None, document, model="birds", channel="stable", now_s=now_s, floor_s=0).target
    assert (target.digest, target.size_bytes) == (what.digest, what.size_bytes)

    def chunk(digest: str) -> bytes:
        payload = retained(mosquitto, TOPICS.blob(digest))
        assert payload is not None
        return unpack(payload, digest)

    index = parse_index(b"".join(map(chunk, target.index_chunks)))
    for name, (_, digests) in index.members.items():
        assert b"".join(map(chunk, digests)) == what.members[name]


def test_the_same_file_again_sends_nothing_and_keeps_the_document(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    what = artifact(tmp_path, "1")
    first = publish(mosquitto, what, keys)
    document = document_on(mosquitto)
    again = publish(mosquitto, what, keys)
    assert (again.published, again.document) == (False, first.document)
    assert (again.sent.bytes_sent, again.sent.bytes_reused) == (0, first.sent.bytes_sent)
    assert document_on(mosquitto) == document


def test_the_same_file_again_still_says_what_was_left_undone(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Catalog:
        raise LinkError("no access to the catalog")

    what = artifact(tmp_path, "1")
    publish(mosquitto, what, keys)
    monkeypatch.setattr(push_module, "change_catalog", refused)
    again = publish(mosquitto, what, keys)

    assert not again.published
    assert [note.partition(":")[0] for note in again.notes] == [
        "the release is not in the catalog, so 'edgectl gc' does not know of it"
    ]


def test_the_same_file_again_heals_what_a_collection_clears_meanwhile(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = artifact(tmp_path, "1")
    publish(mosquitto, what, keys)
    lost = min(wrap(what, "stable", datetime.now(UTC)).chunks)
    calls: list[Catalog] = []

    def cleared_before_the_second(connect: Callable[[], Broker], change: Callable[[Catalog], Catalog]) -> Catalog:
        if calls:
            with connect() as client:
                client.publish_retained(TOPICS.blob(lost), b"")
        calls.append(change_catalog(connect, change))
        return calls[-1] if len(calls) == 1 else replace(calls[-1], collection=CollectionMark("ab12", active=True))

    monkeypatch.setattr(push_module, "change_catalog", cleared_before_the_second)
    again = publish(mosquitto, what, keys)

    assert (again.published, again.healed) == (False, 1)
    assert retained(mosquitto, TOPICS.blob(lost)) is not None


def test_a_new_version_sends_only_the_chunks_that_changed_and_the_next_number(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    now = datetime.now(UTC)
    first = publish(mosquitto, artifact(tmp_path, "1"), keys, now=now)
    changed = MODEL[:-17] + b"another ending..."
    second = publish(mosquitto, artifact(tmp_path, "2", changed), keys, now=now)
    assert (first.document, second.document) == (int(now.timestamp()), first.document + 1)
    assert second.sent.chunks_sent == 3  # manifest, the last chunk of the model, index
    assert second.sent.bytes_reused > 4 * CHUNK_BYTES


def test_a_document_that_is_about_to_expire_is_signed_again(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    what = artifact(tmp_path, "1")
    first = publish(mosquitto, what, keys)
    later = datetime.now(UTC) + timedelta(days=TIMESTAMP_DAYS - 1)
    again = publish(mosquitto, what, keys, now=later)
    assert (again.published, again.document) == (False, int(later.timestamp()))
    assert again.document > first.document
    document = document_on(mosquitto)
    assert document is not None
    much_later_s = (later + timedelta(days=TIMESTAMP_DAYS / 2)).timestamp()
    verify(keys.root, None, document, model="birds", channel="stable", now_s=much_later_s, floor_s=0)


def test_after_the_broker_forgot_everything_the_next_document_is_no_replay(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    publish(mosquitto, artifact(tmp_path, "1"), keys)
    second = publish(mosquitto, artifact(tmp_path, "2", MODEL[:100]), keys)
    document = document_on(mosquitto)
    assert document is not None
    now_s = datetime.now(UTC).timestamp()
    trusted = verify(keys.root, None, document, model="birds", channel="stable", now_s=now_s, floor_s=0).trusted
    mosquitto.stop(kill=True)
    mosquitto.start()
    third = publish(mosquitto, artifact(tmp_path, "3", MODEL[:200]), keys, now=datetime.now(UTC) + timedelta(minutes=1))
    assert third.document > second.document
    document = document_on(mosquitto)
    assert document is not None
    found = verify(keys.root, trusted, document, model="birds", channel="stable", now_s=now_s, floor_s=0)
    assert found.target.version == "3"


def test_a_push_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    what = artifact(tmp_path, "1")

    def give_up(_done_bytes: int, _total_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(mosquitto, what, keys, progress=give_up)
    assert document_on(mosquitto) is None  # no device hears of half a release
    again = publish(mosquitto, what, keys)
    assert again.published
    assert again.sent.chunks_sent < again.sent.chunks


def test_a_document_by_other_keys_is_not_replaced_unless_asked(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    make_keys(tmp_path / "others")
    publish(mosquitto, artifact(tmp_path, "1"), read_keys(tmp_path / "others"))
    document = document_on(mosquitto)
    with pytest.raises(TrustError, match="these keys did not sign") as caught:
        publish(mosquitto, artifact(tmp_path, "2"), keys)
    assert caught.value.reason is Reason.SIGNATURE
    assert "--keys" in str(caught.value.hint)
    assert document_on(mosquitto) == document
    assert publish(mosquitto, artifact(tmp_path, "2"), keys, replace_foreign=True).published
    assert document_on(mosquitto) != document


def test_a_broker_that_refuses_chunks_is_told_with_the_topic(tmp_path: Path, keys: Keys) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic read #\ntopic write edge/v1/device/+/echo\ntopic write edge/v1/release/#\n")
    with run_mosquitto(tmp_path, f"acl_file {rules}") as broker:
        with pytest.raises(LinkError, match=r"refuses edge/v1/blob/\w+: not authorized"):
            publish(broker, artifact(tmp_path, "1"), keys)
        assert document_on(broker) is None


@pytest.mark.usefixtures("only_3_1_1")
def test_chunks_that_were_acknowledged_and_dropped_are_found_by_reading_back(tmp_path: Path, keys: Keys) -> None:
    with run_mosquitto(tmp_path, "message_size_limit 50000") as broker:
        with pytest.raises(
            PublishError, match=r"5 of 8 chunks did not come back .* although it acknowledged"
        ) as caught:
            publish(broker, artifact(tmp_path, "1"), keys)
        assert "message_size_limit" in str(caught.value.hint)
        assert document_on(broker) is None


@pytest.mark.usefixtures("only_3_1_1")
def test_a_document_that_was_acknowledged_and_dropped_is_found_by_waiting_for_it(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_RETURN_S", 1.0)
    rules = tmp_path / "rules"
    rules.write_text("topic read #\ntopic write edge/v1/device/+/echo\ntopic write edge/v1/blob/#\n")
    with (
        run_mosquitto(tmp_path, f"acl_file {rules}") as broker,
        pytest.raises(PublishError, match="document did not come back"),
    ):
        publish(broker, artifact(tmp_path, "1"), keys)


@pytest.mark.usefixtures("only_3_1_1")
def test_a_broker_that_gives_us_no_echo_is_told_with_the_topic(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converter.broker._ANSWER_S", 0.5)
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite edge/v1/blob/#\ntopic readwrite edge/v1/release/#\n")
    with (
        run_mosquitto(tmp_path, f"acl_file {rules}") as broker,
        pytest.raises(LinkError, match=r"did not answer on edge/v1/device/edgectl-\w+/echo"),
    ):
        publish(broker, artifact(tmp_path, "1"), keys)


def test_limits_the_broker_names_on_connecting_are_told_before_anything_is_sent(tmp_path: Path, keys: Keys) -> None:
    for number, (line, words) in enumerate(
        (("retain_available false", "no retained"), ("max_packet_size 50000", "50000"))
    ):
        directory = tmp_path / str(number)
        directory.mkdir()
        with run_mosquitto(directory, line) as broker, pytest.raises(LinkError, match=words):
            publish(broker, artifact(tmp_path, "1"), keys)


def test_a_limit_that_cuts_the_connection_is_hinted_at(tmp_path: Path, keys: Keys) -> None:
    with run_mosquitto(tmp_path, "message_size_limit 50000") as broker:
        with pytest.raises(LinkError, match="was lost") as caught:
            publish(broker, artifact(tmp_path, "1"), keys)
        assert "limit" in str(caught.value.hint)
        assert document_on(broker) is None


def test_two_publishers_at_the_same_time_notice_each_other(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "RIVAL_S", 30.0)
    topic = TOPICS.release("birds", "stable")
    parcel = wrap(artifact(tmp_path, "9", MODEL[:50]), "stable", datetime.now(UTC))
    listening = Event()

    def rival() -> None:
        with Broker(mosquitto.settings, TOPICS) as client:
            client.listen([topic])
            listening.set()
            assert client.next_event(30.0) is not None
            client.publish_retained(topic, sign_document(keys, parcel.target, 5, datetime.now(UTC)))

    thread = Thread(target=rival)
    thread.start()
    assert listening.wait(30)
    with pytest.raises(PublishError, match="somebody else published"):
        publish(mosquitto, artifact(tmp_path, "1"), keys)
    thread.join(30)


def test_who_publishes_while_our_chunks_travel_is_followed_by_the_next_number(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    other = artifact(tmp_path, "0", MODEL[:50])
    now = datetime.now(UTC)
    done: list[int] = []

    def another_push(_done_bytes: int, _total_bytes: int) -> None:
        if not done:
            done.append(publish(mosquitto, other, keys, now=now).document)

    ours = publish(mosquitto, artifact(tmp_path, "1"), keys, progress=another_push, now=now)
    assert ours.document == done[0] + 1


def test_a_broker_that_was_set_back_does_not_get_a_number_that_devices_have_seen(
    tmp_path: Path, mosquitto: Mosquitto, keys: Keys
) -> None:
    now = datetime.now(UTC)
    publish(mosquitto, artifact(tmp_path, "1"), keys, now=now)
    old = document_on(mosquitto)
    assert old is not None
    lost = publish(mosquitto, artifact(tmp_path, "2"), keys, now=now + timedelta(seconds=5))
    with Broker(mosquitto.settings, TOPICS) as client:
        client.publish_retained(TOPICS.release("birds", "stable"), old)
    third = publish(mosquitto, artifact(tmp_path, "3"), keys, now=now + timedelta(seconds=9))
    assert third.document > lost.document


def test_a_3_1_1_broker_takes_a_release_too(tmp_path: Path, keys: Keys) -> None:
    with run_amqtt(tmp_path) as port:
        broker = Mosquitto(tmp_path, port=port)
        assert publish(broker, artifact(tmp_path, "1"), keys).published
        assert not publish(broker, artifact(tmp_path, "1"), keys).published


# --- the commands -----------------------------------------------------------------------------------------------


def run(command: click.Command, broker: str, *arguments: object) -> Result:
    return CliRunner().invoke(command, ["--broker", broker, *map(str, arguments)])


def test_the_push_command_tells_what_it_did(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    assert keys
    file = artifact(tmp_path, "1").path
    first = run(push_command, mosquitto.url, file, "--keys", tmp_path / "keys")
    assert first.exit_code == 0, first.output
    assert "birds 1 is published on stable" in first.stdout
    assert "sending birds-1.edge" in first.stderr
    again = run(push_command, mosquitto.url, file, "--keys", tmp_path / "keys", "--json")
    assert again.stderr == ""
    assert json.loads(again.stdout)["sent"]["chunks_sent"] == 0


def test_seed_sends_what_the_broker_has_lost_without_any_keys(tmp_path: Path, mosquitto: Mosquitto, keys: Keys) -> None:
    what = artifact(tmp_path, "1")
    publish(mosquitto, what, keys)
    with Broker(mosquitto.settings, TOPICS) as client:
        digest = next(iter(wrap(what, "stable", datetime.now(UTC)).chunks))
        client.publish_retained(TOPICS.blob(digest), b"")
    result = run(seed_command, mosquitto.url, what.path, "--json")
    assert json.loads(result.stdout)["chunks_sent"] == 1
    assert retained(mosquitto, TOPICS.blob(digest)) is not None


def test_commands_log_in_with_user_and_password(tmp_path: Path, keys: Keys) -> None:
    assert keys
    users = password_file(tmp_path, {"publisher": "secret"})
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "wrong").write_text("guess\n")
    file = artifact(tmp_path, "1").path
    with run_mosquitto(tmp_path, "allow_anonymous false", f"password_file {users}") as broker:
        common = (file, "--keys", tmp_path / "keys", "--user", "publisher", "--password-file")
        good = run(push_command, broker.url, *common, tmp_path / "secret")
        assert good.exit_code == 0, good.output
        bad = run(push_command, broker.url, *common, tmp_path / "wrong")
        assert isinstance(bad.exception, LinkError)
        assert "refused user 'publisher'" in str(bad.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{dir}/birds-1.edge", "--keys", "{dir}/none"], "root.json"),
        (["{dir}/missing.edge"], "missing.edge"),
        (["{dir}/model.tflite"], "is a model, not an artifact"),
        (["{dir}/page.edge"], "not a whole .edge artifact"),
        (["{dir}/birds-1.edge", "--user", "u", "--prefix", "a b", "--keys", "{dir}/keys"], "prefix"),
        (["{dir}/birds-1.edge", "--keys", "{dir}/keys"], "cannot reach the broker"),
    ],
)
def test_what_cannot_be_pushed_is_an_error_of_ours(
    tmp_path: Path, keys: Keys, arguments: list[str], words: str
) -> None:
    assert keys
    artifact(tmp_path, "1")
    (tmp_path / "page.edge").write_text("<html>")
    result = run(push_command, f"mqtt://127.0.0.1:{free_port()}", *(text.format(dir=tmp_path) for text in arguments))
    assert isinstance(result.exception, EdgeError), result.output
    assert words in str(result.exception)


def test_a_channel_or_a_url_that_cannot_be_is_refused() -> None:
    assert run(push_command, "mqtt://x", "birds.edge", "--channel", "No Channel").exit_code == 2
    wrong = run(seed_command, "http://x", "birds.edge")
    assert isinstance(wrong.exception, EdgeError)
    assert "mqtt://HOST" in str(wrong.exception)
