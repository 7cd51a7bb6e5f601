"""Encrypted releases from the laptop: for whom, what a broker sees of them, and what never goes out in the clear."""

import json
import stat
from pathlib import Path

import pytest

from converter.broker import Broker
from converter.commands.blobs import seed as seed_command
from converter.commands.release import push as push_command
from converter.publish.keys import Keys
from converter.publish.recipients import read_recipients
from converter.publish.seals import kept_seal, seal_for
from converter.publish.succession import PublishError
from edge_agent.disk import open_disk
from edge_agent.errors import FetchError, InputError, Reason
from edge_agent.link.topics import Topics
from edge_agent.release.archive import Artifact
from edge_agent.release.chunks import CHUNK_BYTES, digest_of_chunk, unpack
from edge_agent.release.sealing import format_public, make_key, open_keyring, public_of
from edge_agent.update.fetch import fetch_release
from edge_agent.update.store import ReleaseStore
from tests.converter.test_export import target_on
from tests.converter.test_push import _quick, artifact, keys, run  # noqa: F401  # fixtures
from tests.link.test_device import Device
from tests.sim.broker import Mosquitto

TOPICS = Topics()
PORCH, GATE = make_key(), make_key()


@pytest.fixture
def recipients(tmp_path: Path) -> Path:
    path = tmp_path / "recipients.txt"
    path.write_text(f"# the fleet\n{line(PORCH, 'porch')}\n\n{line(GATE, 'gate')}  # by the road\n")
    return path


@pytest.fixture
def released(tmp_path: Path, mosquitto: Mosquitto, keys: Keys, recipients: Path) -> Artifact:  # noqa: F811
    """It is out, encrypted for the recipients."""
    assert keys
    what = artifact(tmp_path, "1")
    pushed(mosquitto, tmp_path, what, "--encrypt-to", recipients)
    return what


def line(secret: bytes, name: str) -> str:
    return f"{format_public(public_of(secret))} {name}"


def pushed(broker: Mosquitto, tmp_path: Path, what: Artifact, *arguments: object) -> dict[str, object]:
    result = run(push_command, broker.url, what.path, "--keys", tmp_path / "keys", "--json", *arguments)
    if result.exception is not None:
        raise result.exception
    said = json.loads(result.stdout)
    assert isinstance(said, dict)
    return said


def fetched_by(secret: bytes, broker: Mosquitto, signers: Keys, directory: Path) -> ReleaseStore:
    """What a device with this key makes of the channel, over the real broker."""
    store = ReleaseStore(open_disk(directory), directory)
    device = Device(broker.settings)
    with device.link:
        fetch_release(
            target_on(broker, signers),
            store,
            device.link,
            cancelled=lambda: False,
            trouble=lambda reason, detail: None,
            secret=lambda: secret,
        )
    return store


def blobs_on(broker: Mosquitto) -> dict[str, bytes]:
    """All that its owner can see: every blob there is, inflated."""
    with Broker(broker.settings, TOPICS) as client:
        found = client.retained([TOPICS.blob("+")], grace_s=2.0)
    payloads = {topic.rpartition("/")[2]: payload for topic, payload in found.items()}
    return {digest: unpack(payload, digest) for digest, payload in payloads.items()}


def test_each_recipient_gets_it_over_a_real_broker_and_a_stranger_does_not(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    released: Artifact,
) -> None:
    for name, secret in (("porch", PORCH), ("gate", GATE)):
        assert fetched_by(secret, mosquitto, keys, tmp_path / name).is_sound(released.digest)
    with pytest.raises(FetchError) as caught:
        fetched_by(make_key(), mosquitto, keys, tmp_path / "stranger")
    assert caught.value.reason is Reason.NO_KEY


def test_the_owner_of_the_broker_can_read_neither_model_nor_labels_nor_index(
    tmp_path: Path,
    mosquitto: Mosquitto,
    released: Artifact,
) -> None:
    blobs = blobs_on(mosquitto)
    seen = b"".join(blobs.values())

    assert len(blobs) > 7
    assert b"chunk_bytes" not in seen
    assert b"model.tflite" not in seen
    assert released.members["model.tflite"][:32] not in seen
    assert released.members["manifest.json"][:32] not in seen


def test_the_same_again_sends_nothing_and_a_device_that_is_added_costs_a_keyring(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    recipients: Path,
    released: Artifact,
) -> None:
    again = pushed(mosquitto, tmp_path, released, "--encrypt-to", recipients)
    assert (again["published"], again["sent"]["chunks_sent"]) == (False, 0)  # type: ignore[index]  # JSON

    late = make_key()
    with recipients.open("a") as file:
        file.write(line(late, "late") + "\n")
    added = pushed(mosquitto, tmp_path, released, "--encrypt-to", recipients)
    assert (added["published"], added["sent"]["chunks_sent"]) == (True, 1)  # type: ignore[index]  # JSON
    assert fetched_by(late, mosquitto, keys, tmp_path / "late").is_sound(released.digest)


def test_each_release_has_a_key_of_its_own(tmp_path: Path, recipients: Path) -> None:
    known = read_recipients(recipients)
    first, second = (seal_for(tmp_path / "keys", digest * 64, known) for digest in "ab")

    assert first.content_key != second.content_key
    assert open_keyring(first.keyring, "a" * 64, PORCH) == first.content_key
    assert kept_seal(tmp_path / "keys", "a" * 64) == first
    kept = list((tmp_path / "keys" / "content").iterdir())
    assert len(kept) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_an_encrypted_release_is_seeded_encrypted(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    released: Artifact,
) -> None:
    lost = list(blobs_on(mosquitto))[:3]
    with Broker(mosquitto.settings, TOPICS) as client:
        for digest in lost:
            client.publish_retained(TOPICS.blob(digest), b"")
    sent = run(seed_command, mosquitto.url, released.path, "--keys", tmp_path / "keys", "--json")

    assert json.loads(sent.stdout)["chunks_sent"] == 3
    assert fetched_by(PORCH, mosquitto, keys, tmp_path / "porch").is_sound(released.digest)


def test_a_channel_that_was_encrypted_takes_nothing_in_the_clear_unless_told(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    recipients: Path,
) -> None:
    pushed(mosquitto, tmp_path, artifact(tmp_path, "1"), "--encrypt-to", recipients)
    before, second = target_on(mosquitto, keys), artifact(tmp_path, "2")
    with pytest.raises(PublishError, match="this one would not be") as caught:
        pushed(mosquitto, tmp_path, second)
    assert caught.value.hint
    assert target_on(mosquitto, keys) == before
    with Broker(mosquitto.settings, TOPICS) as client:
        plain = TOPICS.blob(digest_of_chunk(second.members["model.tflite"][:CHUNK_BYTES]))
        assert client.retained([plain]) == {}

    pushed(mosquitto, tmp_path, second, "--unencrypted")
    assert target_on(mosquitto, keys).keyring == ()


def test_what_was_encrypted_before_stays_so_without_saying_it_again(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
    released: Artifact,
) -> None:
    again = pushed(mosquitto, tmp_path, released, "--unchecked-source", "--source", "https://x/blobs")

    assert again["sent"]["chunks_sent"] == 0  # type: ignore[index]  # JSON
    assert target_on(mosquitto, keys).keyring != ()


# --- recipients -------------------------------------------------------------------------------------------------------


def test_recipients_of_a_directory_are_those_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "porch.pub").write_text(line(PORCH, "porch") + "\n")
    (tmp_path / "gate.txt").write_text(line(GATE, "gate"))
    (tmp_path / "notes.md").write_text("no key")

    assert read_recipients(tmp_path) == {"gate": public_of(GATE), "porch": public_of(PORCH)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no recipient"),
        ("# nobody\n", "there is no recipient"),
        ("ssh-ed25519 AAAA porch", "recipients.txt:1: no key"),
        (line(PORCH, "porch") + "\n" + line(GATE, "porch"), "recipients.txt:2: porch has another key"),
        (format_public(public_of(PORCH)), "recipients.txt:1: a key and one name"),
        (line(PORCH, "porch pi"), "found 3 words"),
        ("edge-x25519-secret:" + "A" * 43 + " porch", "no key"),
    ],
    ids=["empty", "comment", "ssh", "twice", "nameless", "words", "secret"],
)
def test_recipients_that_are_none_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipients.txt"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_recipients(path)
    assert words in str(caught.value)
    assert caught.value.hint


def test_every_wrong_line_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "recipients.txt"
    path.write_text(f"x\n{line(PORCH, 'porch')}\ny\n")
    with pytest.raises(InputError, match=r"(?s):1: .*:3: "):
        read_recipients(path)


def test_a_key_of_small_order_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="small order"):
        seal_for(tmp_path / "keys", "a" * 64, {"porch": bytes(32)})
    assert kept_seal(tmp_path / "keys", "a" * 64) is None


@pytest.mark.parametrize("content", ["", "{}", '{"content_key": "", "keyring": "", "recipients": []}', "[]"])
def test_a_kept_key_that_is_damaged_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / f"{'a' * 64}.json").write_text(content)
    with pytest.raises(InputError, match="damaged"):
        kept_seal(tmp_path, "a" * 64)


def test_to_encrypt_and_not_to_is_a_contradiction(tmp_path: Path, recipients: Path) -> None:
    result = run(push_command, "mqtt://x", tmp_path / "x.edge", "--encrypt-to", recipients, "--unencrypted")
    assert result.exit_code == 2
