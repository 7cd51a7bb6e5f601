"""Attacks on release documents, each with its reason; and that a refusal changes nothing that was trusted.

Most run the checks in this process; the child is tried at the end.
"""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from converter.publish.keys import Keys, make_keys, read_keys
from converter.publish.repository import sign_document
from edge_agent.errors import ConfigError, Reason, TrustError
from edge_agent.release import trust, verify_child
from edge_agent.release.document import Lifts, Target, format_document, parse_document
from edge_agent.release.rollout import Rollout
from edge_agent.release.trust import created_s, verify

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    make_keys(tmp_path / "keys", now=NOW)
    return read_keys(tmp_path / "keys")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's work in this process: a fifth of the time."""
    monkeypatch.setattr(trust, "_ask_child", lambda request: verify_child.answer(json.loads(json.dumps(request))))


def target(version: str = "1", *, model: str = "m", channel: str = "stable", **more: Any) -> Target:
    return Target(
        **{
            "model": model, "channel": channel, "version": version, "digest": version * 64, "size_bytes": 10,
            "index": "e" * 64, "index_chunks": ("f" * 64,), "created": "2026-11-21T00:00:00+00:00", **more
        }
    )  # fmt: skip


class Device:
    """What a device does with documents: it keeps what it was given, and hands it in the next time."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.trusted: bytes | None = None
        self.now = NOW
        self.floor_s = 0.0

    def hear(self, document: bytes, model: str = "m", channel: str = "stable") -> Target:
        found = verify(
            self.root, self.trusted, document, model=model, channel=channel,
            now_s=self.now.timestamp(), floor_s=self.floor_s,
        )  # fmt: skip
        self.trusted = found.trusted
        return found.target

    def refuses(self, document: bytes, model: str = "m", channel: str = "stable") -> Reason:
        before = self.trusted
        with pytest.raises(TrustError) as caught:
            self.hear(document, model, channel)
        assert self.trusted == before
        assert caught.value.hint
        return caught.value.reason


def _signed_with(keys: Keys, document: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A document that the holder of the keys has signed with another `custom`."""
    read = Metadata[Targets].from_bytes(parse_document(document)["1.targets.json"].encode()).signed
    (entry,) = read.targets.values()
    custom = copy.deepcopy(entry.unrecognized_fields["custom"])
    change(custom)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("converter.publish.repository.custom_of", lambda _: custom)
        return sign_document(keys, target("1"), 1, NOW)


def mixed(document: bytes, **files: str | None) -> bytes:
    """A document with files put in, or taken out (None)."""
    tree = {**parse_document(document), **files}
    return format_document({name: text for name, text in tree.items() if text is not None})


def part(document: bytes, name: str) -> str:
    return parse_document(document)[name]


@pytest.mark.usefixtures("here")
class TestAttacks:
    def test_good_documents_are_believed_in_their_order_and_the_same_one_again(self, keys: Keys) -> None:
        device = Device(keys.root)
        first, second = sign_document(keys, target("1"), 7, NOW), sign_document(keys, target("2"), 8, NOW)
        assert device.hear(first) == target("1")
        assert device.hear(second) == target("2")
        assert device.hear(second) == target("2")

    def test_a_signed_downgrade_is_an_order_like_any_other(self, keys: Keys) -> None:
        device = Device(keys.root)
        device.hear(sign_document(keys, target("2"), 1, NOW))
        assert device.hear(sign_document(keys, target("1"), 2, NOW)).version == "1"

    def test_rollout_and_orders_are_signed_and_read_back(self, keys: Keys) -> None:
        given = target(
            "2",
            rollout=Rollout(percent=5, canary_devices=("porch-pi",), canary_labels=("lab",), state="halted", since="x"),
            downgrade=True,
            lifts=Lifts(7, ("2" * 64,)),
            previous=(target("1", rollout=Rollout(percent=50)),),
        )
        assert Device(keys.root).hear(sign_document(keys, given, 1, NOW)) == given

    def test_what_was_given_before_must_be_of_the_same_model_and_channel(self, keys: Keys) -> None:
        """Else a release of `beta` could come to `stable` by this way."""
        with pytest.raises(ValueError, match="another model or channel"):
            target("2", previous=(target("1", channel="beta"),))
        document = sign_document(keys, target("2", previous=(target("1"),)), 1, NOW)
        forged = _signed_with(keys, document, lambda custom: custom["previous"][0].update(channel="beta"))
        assert Device(keys.root).refuses(forged) is Reason.INTEGRITY

    def test_a_document_of_before_there_were_rollouts_is_for_everybody(self, keys: Keys) -> None:
        document = sign_document(keys, target("1"), 1, NOW)

        def drop(custom: dict[str, Any]) -> None:
            for name in ("rollout", "downgrade", "lifts", "previous"):
                del custom[name]

        assert Device(keys.root).hear(_signed_with(keys, document, drop)) == target("1")

    def test_an_older_document_is_a_replay(self, keys: Keys) -> None:
        device = Device(keys.root)
        old = sign_document(keys, target("1"), 1, NOW)
        device.hear(sign_document(keys, target("2"), 2, NOW))
        assert device.refuses(old) is Reason.REPLAYED

    def test_another_document_with_the_same_number_is_a_replay_and_changes_nothing(self, keys: Keys) -> None:
        device = Device(keys.root)
        first = sign_document(keys, target("1"), 5, NOW)
        device.hear(first)
        assert device.refuses(sign_document(keys, target("2"), 5, NOW)) is Reason.REPLAYED
        assert device.hear(first) == target("1")

    def test_parts_of_different_documents_do_not_go_together(self, keys: Keys) -> None:
        device = Device(keys.root)
        old, new = sign_document(keys, target("1"), 1, NOW), sign_document(keys, target("2"), 2, NOW)
        device.hear(old)
        snapshot = mixed(new, **{"2.snapshot.json": part(old, "1.snapshot.json")})
        targets = mixed(new, **{"2.targets.json": part(old, "1.targets.json")})
        stamp = mixed(old, **{"timestamp.json": part(new, "timestamp.json")})
        assert device.refuses(snapshot) is Reason.INTEGRITY
        assert device.refuses(targets) is Reason.INTEGRITY
        assert device.refuses(stamp) is Reason.INTEGRITY
        assert device.hear(new) == target("2")  # the attempts have not harmed the real one

    @pytest.mark.parametrize("name", ["2.targets.json", "2.snapshot.json", "timestamp.json"])
    def test_a_document_that_lacks_a_part_is_refused_and_the_whole_one_believed(self, keys: Keys, name: str) -> None:
        device = Device(keys.root)
        device.hear(sign_document(keys, target("1"), 1, NOW))
        new = sign_document(keys, target("2"), 2, NOW)
        assert device.refuses(mixed(new, **{name: None})) is Reason.INTEGRITY
        assert device.hear(new) == target("2")

    def test_a_document_that_is_cut_off_is_refused(self, keys: Keys) -> None:
        document = sign_document(keys, target("1"), 1, NOW)
        device = Device(keys.root)
        for size in (0, 1, len(document) // 2, len(document) - 1):
            assert device.refuses(document[:size]) is Reason.INTEGRITY
        cut_inside = mixed(document, **{"1.targets.json": part(document, "1.targets.json")[:-30]})
        assert device.refuses(cut_inside) is Reason.INTEGRITY

    def test_an_expired_document_is_refused_and_a_fresh_one_believed(self, keys: Keys) -> None:
        device = Device(keys.root)
        document = sign_document(keys, target("1"), 1, NOW)
        device.hear(document)
        device.now = NOW + timedelta(days=91)
        assert device.refuses(document) is Reason.EXPIRED
        assert device.refuses(sign_document(keys, target("2"), 2, NOW)) is Reason.EXPIRED
        assert device.hear(sign_document(keys, target("2"), 3, device.now)) == target("2")

    def test_a_device_that_boots_in_1970_still_notices_expiry_by_the_newest_time_it_knew(self, keys: Keys) -> None:
        device = Device(keys.root)
        device.now = datetime.fromtimestamp(0, UTC)
        document = sign_document(keys, target("1"), 1, NOW)
        assert device.hear(document) == target("1")  # nothing known yet: expiry cannot be judged
        device.floor_s = (NOW + timedelta(days=91)).timestamp()
        assert device.refuses(document) is Reason.EXPIRED

    def test_the_time_of_signing_is_the_clock_floor(self) -> None:
        assert created_s(target("1")) == NOW.timestamp()
        assert created_s(target("1", created="the day before")) == 0.0

    def test_a_document_by_other_keys_is_signed_by_nobody_we_know(self, keys: Keys, tmp_path: Path) -> None:
        make_keys(tmp_path / "evil", now=NOW)
        evil = read_keys(tmp_path / "evil")
        device = Device(keys.root)
        assert device.refuses(sign_document(evil, target("1"), 1, NOW)) is Reason.SIGNATURE
        stolen_online = Keys(keys.root, evil.targets, keys.online)
        assert device.refuses(sign_document(stolen_online, target("1"), 1, NOW)) is Reason.SIGNATURE

    def test_a_document_that_was_altered_is_refused(self, keys: Keys) -> None:
        document = sign_document(keys, target("1"), 1, NOW)
        device = Device(keys.root)
        stamp = (
            part(document, "timestamp.json")
            .replace('"version":1', '"version":99')
            .replace('"version": 1', '"version": 99')
        )
        assert stamp != part(document, "timestamp.json")
        assert device.refuses(mixed(document, **{"timestamp.json": stamp})) is Reason.SIGNATURE
        changed = part(document, "1.targets.json").replace("1" * 64, "2" * 64)
        assert device.refuses(mixed(document, **{"1.targets.json": changed})) is Reason.INTEGRITY

    def test_a_document_of_another_channel_or_model_is_not_for_us(self, keys: Keys) -> None:
        beta = sign_document(keys, target("1", channel="beta"), 9, NOW)
        device = Device(keys.root)
        assert device.refuses(beta) is Reason.WRONG_TARGET
        assert device.refuses(sign_document(keys, target("1", model="other"), 9, NOW)) is Reason.WRONG_TARGET
        device.hear(sign_document(keys, target("1"), 3, NOW))
        assert device.refuses(beta) is Reason.WRONG_TARGET
        assert device.hear(sign_document(keys, target("2"), 4, NOW)) == target("2")  # beta's numbers left no trace

    def test_what_is_signed_under_a_name_must_say_the_same_name(self, keys: Keys, monkeypatch: Any) -> None:
        from converter.publish import repository

        monkeypatch.setattr(repository, "target_path", lambda _model, _channel: "m/stable")
        crossed = sign_document(keys, target("1", channel="beta"), 1, NOW)
        assert Device(keys.root).refuses(crossed) is Reason.WRONG_TARGET

    def test_a_signed_target_that_is_nonsense_is_refused(self, keys: Keys, monkeypatch: Any) -> None:
        from converter.publish import repository

        monkeypatch.setattr(repository, "custom_of", lambda _target: {"model": "m", "index": 5})
        assert Device(keys.root).refuses(sign_document(keys, target("1"), 1, NOW)) is Reason.INTEGRITY

    def test_rotten_trusted_metadata_is_as_if_never_seen(self, keys: Keys) -> None:
        document = sign_document(keys, target("1"), 1, NOW)
        device = Device(keys.root)
        for rotten in (b"", b"\xff\x00", b"[]", b'{"timestamp.json": "{", "../../etc/passwd": "x", "7.root.json": 7}'):
            device.trusted = rotten
            assert device.hear(document) == target("1")

    def test_a_root_that_is_none_is_for_the_operator(self, keys: Keys) -> None:
        document = sign_document(keys, target("1"), 1, NOW)
        for wrong in (b"", b"{}", b"<html>", keys.root[:-50]):
            with pytest.raises(ConfigError, match="trusted root is not usable"):
                Device(wrong).hear(document)

    def test_new_root_and_keys_are_taken_over_from_a_document_that_brings_them(
        self, keys: Keys, tmp_path: Path
    ) -> None:
        device, latecomer = Device(keys.root), Device(keys.root)
        device.hear(sign_document(keys, target("1"), 1, NOW))
        rotated, root_2 = rotate(keys, tmp_path / "keys" / "root.pem")
        new = sign_document(rotated, target("2"), 2, NOW)
        assert device.refuses(new) is Reason.SIGNATURE  # without the new root it is by nobody we know
        with_root = mixed(new, **{"2.root.json": root_2.decode()})
        assert device.hear(with_root) == target("2")
        assert latecomer.hear(with_root) == target("2")
        assert device.refuses(sign_document(keys, target("3"), 3, NOW)) is Reason.SIGNATURE  # the old key is out
        assert device.hear(sign_document(rotated, target("3"), 3, NOW)) == target("3")  # the root is remembered

    def test_a_root_that_the_old_one_did_not_sign_is_refused(self, keys: Keys, tmp_path: Path) -> None:
        make_keys(tmp_path / "evil", now=NOW)
        evil = read_keys(tmp_path / "evil")
        _, evil_root_2 = rotate(evil, tmp_path / "evil" / "root.pem")
        document = mixed(sign_document(evil, target("1"), 1, NOW), **{"2.root.json": evil_root_2.decode()})
        assert Device(keys.root).refuses(document) is Reason.SIGNATURE

    def test_a_document_larger_than_the_limit_is_not_even_read(self, keys: Keys) -> None:
        document = mixed(sign_document(keys, target("1"), 1, NOW), filler="x" * 60_000)
        assert Device(keys.root).refuses(document) is Reason.INTEGRITY


def rotate(keys: Keys, root_pem: Path) -> tuple[Keys, bytes]:
    """A second root, signed by the first one's key, that names another targets key."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    root = Metadata[Root].from_bytes(keys.root).signed
    fresh = CryptoSigner.generate_ed25519()
    root.revoke_key(keys.targets[0].public_key.keyid, "targets")
    root.add_key(fresh.public_key, "targets")
    root.version += 1
    metadata = Metadata(root)
    metadata.sign(CryptoSigner(load_pem_private_key(root_pem.read_bytes(), None)))
    return Keys(keys.root, (fresh,), keys.online), metadata.to_bytes()


def test_the_child_believes_and_refuses_as_the_checks_do(keys: Keys) -> None:
    device = Device(keys.root)
    device.hear(sign_document(keys, target("2"), 2, NOW))
    assert device.refuses(sign_document(keys, target("1"), 1, NOW)) is Reason.REPLAYED
    assert device.hear(sign_document(keys, target("3"), 3, NOW)) == target("3")
    assert isinstance(device.trusted, bytes)


def test_a_child_that_hangs_is_ended_and_the_document_refused(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_TIMEOUT_S", 0.01)
    assert Device(keys.root).refuses(sign_document(keys, target("1"), 1, NOW)) is Reason.INTEGRITY


def test_a_child_that_dies_is_a_refusal_that_names_its_end(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Callable[..., Any] = subprocess.run

    def crash(_command: list[str], **more: Any) -> Any:
        return run([sys.executable, "-c", "import os; os.abort()"], **more)

    monkeypatch.setattr(subprocess, "run", crash)
    with pytest.raises(TrustError, match="ended with -6"):
        Device(keys.root).hear(sign_document(keys, target("1"), 1, NOW))


def test_the_supervisor_does_not_load_tuf() -> None:
    code = "import sys, edge_agent.release.trust; sys.exit('tuf' in sys.modules or 'cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.binary() | JSON.map(lambda tree: json.dumps(tree).encode()) | st.text().map(lambda text: text.encode("utf-16"))
)
def test_only_a_trust_error_comes_out_of_any_document(payload: bytes) -> None:
    try:
        files = parse_document(payload)
    except TrustError as error:
        assert error.reason is Reason.INTEGRITY  # noqa: PT017  # nothing is expected to raise
    else:
        assert parse_document(format_document(files)) == files


@given(st.dictionaries(st.sampled_from(["timestamp.json", "1.snapshot.json", "2.root.json"]), JSON.map(json.dumps)))
def test_whatever_stands_in_the_files_the_checks_answer(files: dict[str, str]) -> None:
    request = {
        "root": ROOT, "trusted": files, "candidate": json.dumps(files), "model": "m", "channel": "stable",
        "now_s": NOW.timestamp(), "floor_s": 0.0,
    }  # fmt: skip
    found = verify_child.answer(request)
    assert found["ok"] is False
    assert found["reason"] in {"integrity", "signature"}


def _some_root() -> str:
    signer = CryptoSigner.generate_ed25519()
    root = Root(expires=NOW + timedelta(days=1))
    for role in ("root", "targets", "snapshot", "timestamp"):
        root.add_key(signer.public_key, role)
    metadata = Metadata(root)
    metadata.sign(signer)
    return metadata.to_bytes().decode()


ROOT = _some_root()


def test_a_check_that_cannot_be_started_refuses_the_document(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(keys.root)
    document = sign_document(keys, target("1"), 1, NOW)
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert device.refuses(document) is Reason.INTEGRITY
    monkeypatch.undo()
    assert device.hear(document) == target("1")
