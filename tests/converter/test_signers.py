"""Keys that change and signers on several laptops: what counts, what goes round, what is refused."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tuf.api.metadata import Delegations, Metadata, Targets

from converter.cli import cli
from converter.publish import changes, roots
from converter.publish import keys as keys_module
from converter.publish.keys import KeyDirectory, Keys, make_keys, read_keys
from converter.publish.pending import (
    PendingRelease,
    document_of,
    format_pending,
    parse_pending,
    pend_document,
    sign_release,
)
from converter.publish.repository import NewerRootError, read_document, restamp_document, sign_document
from edge_agent.errors import EdgeError, InputError, Reason, TrustError
from edge_agent.release import trust
from edge_agent.release.document import parse_document
from tests.sim.trusting import NOW, Device, ask_here, document, mixed, target

SOON = NOW + timedelta(days=1)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_ask_child", ask_here)


@pytest.fixture
def anna(tmp_path: Path) -> KeyDirectory:
    make_keys(tmp_path / "anna", now=NOW)
    return KeyDirectory.at(tmp_path / "anna")


@pytest.fixture
def ben(tmp_path: Path, anna: KeyDirectory) -> KeyDirectory:
    """Has a targets key and a root key of his own, which count beside Anna's; two must sign targets."""
    made = [keys_module.make_signer(tmp_path / "ben", job)[1] for job in ("targets", "root")]
    changes.add(anna, "targets", keys_module.read_public(made[0]), NOW)
    changes.add(anna, "root", keys_module.read_public(made[1]), NOW)
    changes.set_threshold(anna, "targets", 2, NOW)
    ben = KeyDirectory.at(tmp_path / "ben")
    changes.follow(ben, anna.chain())
    return ben


def files(directory: KeyDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(directory.name).iterdir()}


def edgectl(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def failure(*arguments: object) -> EdgeError:
    error = edgectl(*arguments).exception
    assert isinstance(error, EdgeError), error
    assert error.hint
    return error


# --- one signer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["root", "targets", "online"])
def test_a_rotated_key_counts_and_the_old_one_is_kept_aside(anna: KeyDirectory, job: roots.Job) -> None:
    first = anna.keys()
    old = next(key for key in anna.private_keys() if key.job == job)
    change = changes.rotate(anna, job, NOW)
    assert (change.version, change.pending) == (2, None)
    aside = Path(anna.name) / f"old.{job}-{old.keyid[:8]}.pem"
    assert aside.read_bytes() == old.signer.private_bytes
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path(anna.name).glob("*.pem")} == {0o600}
    assert old.keyid not in {key.keyid for key in anna.private_keys()}
    device = Device(first.root)
    assert device.hear(document(anna.keys(), "1", 1)).version == "1"
    if job != "root":
        assert device.refuses(document(first, "2", 2)) is Reason.SIGNATURE


def test_every_root_since_the_first_is_kept_and_travels(anna: KeyDirectory) -> None:
    for _ in range(3):
        changes.rotate(anna, "online", NOW)
    kept = files(anna)
    assert [roots.version_of(kept[f"{version}.root.json"]) for version in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert kept["root.json"] == kept["4.root.json"]
    assert {name for name in parse_document(document(anna.keys(), "1", 1)) if "root" in name} == {
        "2.root.json", "3.root.json", "4.root.json",
    }  # fmt: skip


def test_keys_from_before_roots_were_kept_can_be_rotated(anna: KeyDirectory) -> None:
    (Path(anna.name) / "1.root.json").unlink()
    first = anna.keys()
    changes.rotate(anna, "root", NOW)
    assert len(anna.chain()) == 2
    assert Device(first.root).hear(document(anna.keys(), "1", 1)).version == "1"


def test_roots_that_do_not_fit_are_told_with_what_to_do(anna: KeyDirectory) -> None:
    first = anna.keys()
    many = 40
    for _ in range(many - 1):
        changes.rotate(anna, "online", NOW)
    with pytest.raises(InputError, match=r"release document would have \d+ bytes, \d+ of them for 39 roots") as caught:
        document(anna.keys(), "1", 1)
    assert "oldest N.root.json" in str(caught.value.hint)
    for version in range(1, many - 5):
        (Path(anna.name) / f"{version}.root.json").unlink()
    fewer = anna.keys()
    assert len(fewer.roots) == 6
    assert Device(fewer.roots[0]).hear(document(fewer, "1", 1)).version == "1"
    assert Device(first.root).refuses(document(fewer, "1", 1)) is Reason.SIGNATURE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["threshold", "targets", 2], "targets would need 2 signatures and have 1 keys"),
        (["revoke", "ffffffff"], "0 keys have an id that begins with 'ffffffff'"),
        (["revoke", "{targets}"], "targets would need 1 signatures and have 0 keys"),
        (["add", "targets", "--public", "{dir}/none.pub"], "none.pub"),
        (["add", "targets", "--public", "{dir}/anna/targets.pem"], "is a private key"),
        (["add", "targets", "--public", "{dir}/anna/root.json"], "is not a public key"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    tmp_path: Path, anna: KeyDirectory, arguments: list[object], words: str
) -> None:
    before = files(anna)
    places = {"dir": tmp_path, "targets": anna.keys().targets[0].public_key.keyid}
    filled = [str(argument).format(**places) for argument in arguments]
    assert words in str(failure("keys", *filled, "--keys", anna.name))
    assert files(anna) == before


def test_a_key_with_a_passphrase_and_a_foreign_root_are_named(tmp_path: Path, anna: KeyDirectory) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    good = files(anna)["online.pem"]
    (Path(anna.name) / "online.pem").write_bytes(locked)
    with pytest.raises(InputError, match=r"online.pem is encrypted with a passphrase"):
        anna.keys()
    (Path(anna.name) / "online.pem").write_bytes(good)
    changes.rotate(anna, "root", NOW)
    make_keys(tmp_path / "others", now=NOW)
    (Path(anna.name) / "1.root.json").write_bytes(read_keys(tmp_path / "others").root)
    with pytest.raises(InputError, match=r"1.root.json is damaged, or something else: root 2 lacks 1 signatures"):
        anna.keys()


def test_show_says_who_signs_what_and_which_keys_are_here(anna: KeyDirectory) -> None:
    keyid = anna.keys().targets[0].public_key.keyid
    changes.rotate(anna, "targets", NOW, stolen=True)
    said = json.loads(edgectl("keys", "show", "--keys", anna.name, "--json").stdout)
    assert (said["version"], said["revoked"], said["roles"]["online"]["threshold"]) == (2, [keyid], 1)
    (only,) = said["roles"]["targets"]["keys"]
    assert only == {"id": anna.keys().targets[0].public_key.keyid, "file": f"targets-{only['id'][:8]}.pem"}
    words = edgectl("keys", "show", "--keys", anna.name).stdout
    assert f"revoked: {keyid[:8]}" in words
    assert "targets: 1 of 1 must sign" in words


# --- several signers ------------------------------------------------------------------------------------------------


def test_a_document_that_two_must_sign_goes_round_and_is_believed_when_both_have(
    anna: KeyDirectory, ben: KeyDirectory
) -> None:
    first = anna.chain()[0]
    pending = pend_document(anna.keys(), document(anna.keys(), "1", 7), 7)
    assert pending is not None
    assert {name for name in pending.files if "root" not in name} == {"7.targets.json"}
    lacking = pending.lacking(ben.keys())
    assert lacking is not None
    assert (lacking.job, lacking.signatures) == ("targets", 1)
    with pytest.raises(InputError, match="no such key that has not signed"):
        sign_release(pending, anna.keys(), NOW)

    by_both = sign_release(pending, ben.keys(), NOW)  # he has no online key, so the stamp is still Anna's to give
    lacking = by_both.lacking(ben.keys())
    assert lacking is not None
    assert lacking.job == "online"
    done = sign_release(by_both, anna.keys(), NOW)
    assert done.lacking(anna.keys()) is None
    assert Device(first).hear(document_of(done, anna.keys(), NOW)) == target("1")


def test_what_one_has_signed_alone_is_believed_by_no_device(anna: KeyDirectory, ben: KeyDirectory) -> None:
    assert ben.keys().targets
    device = Device(anna.chain()[0])
    assert device.refuses(document(anna.keys(), "1", 1)) is Reason.SIGNATURE
    assert device.remembers() == {}


def test_the_commands_take_a_release_round(
    tmp_path: Path, anna: KeyDirectory, ben: KeyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pending = pend_document(anna.keys(), document(anna.keys(), "1", 7), 7)
    assert pending is not None
    file = tmp_path / "m.pending.json"
    keys_module.write_file(file, format_pending(pending))
    before = file.read_bytes()
    shown = edgectl("sign", file, "--keys", ben.name, "--dry-run").stdout
    assert "m 1 on stable" in shown
    assert f"digest {'1' * 64}" in shown
    assert file.read_bytes() == before
    assert "1 more signatures of online keys are needed" in edgectl("sign", file, "--keys", ben.name).stdout
    assert "publish it: edgectl push --pending" in edgectl("sign", file, "--keys", anna.name).stdout
    done = parse_pending(file.read_bytes())
    assert isinstance(done, PendingRelease)
    assert done.lacking(anna.keys()) is None


def test_a_root_that_two_must_sign_counts_only_when_both_have(
    tmp_path: Path, anna: KeyDirectory, ben: KeyDirectory
) -> None:
    both = changes.set_threshold(anna, "root", 2, NOW)  # which two must sign already
    assert both.pending is not None
    assert changes.sign(ben, both.pending).pending is None
    changes.follow(anna, ben.chain())
    before = anna.chain()
    file = tmp_path / "root.pending.json"
    said = edgectl("keys", "rotate", "root", "--keys", anna.name, "--pending", file)
    assert f"edgectl sign {file}" in said.stdout, said.output
    assert anna.chain() == before
    files_before = files(anna)
    assert "is there already" in str(failure("keys", "rotate", "root", "--keys", anna.name, "--pending", file))
    assert files(anna) == files_before

    shown = edgectl("sign", file, "--keys", ben.name, "--dry-run").stdout
    assert "no longer counts" in shown
    assert len(ben.chain()) == len(before)
    assert edgectl("sign", file, "--keys", ben.name).exit_code == 0
    assert len(ben.chain()) == len(before) + 1
    assert "has become root" in edgectl("keys", "follow", file, "--keys", anna.name).stdout
    assert anna.chain() == ben.chain()
    assert changes.rotate(anna, "online", NOW).pending is not None


def test_of_two_roots_with_the_same_number_only_one_is_signed_and_taken_over(
    tmp_path: Path, anna: KeyDirectory, ben: KeyDirectory
) -> None:
    both = changes.set_threshold(anna, "root", 2, NOW)
    assert both.pending is not None
    changes.sign(ben, both.pending)
    changes.follow(anna, ben.chain())
    by_anna, by_ben = changes.rotate(anna, "online", NOW), changes.set_threshold(ben, "targets", 1, NOW)
    assert by_anna.pending is not None
    assert by_ben.pending is not None
    assert by_anna.version == by_ben.version
    changes.sign(ben, by_anna.pending)
    after = files(ben)
    for pending, words in ((by_ben.pending, f"two different roots have the number {by_ben.version}"),
                           (by_anna.pending, f"root {by_anna.version} counts here already")):  # fmt: skip
        file = tmp_path / f"{len(words)}.pending.json"
        file.write_bytes(format_pending(pending))
        assert words in str(failure("sign", file, "--keys", ben.name))
        assert words in str(failure("sign", file, "--keys", ben.name, "--dry-run"))
    assert files(ben) == after

    changes.sign(anna, by_ben.pending)  # nobody has told her of the other one
    before = files(anna)
    assert "two different roots" in str(
        failure("keys", "follow", *Path(ben.name).glob("*.root.json"), "--keys", anna.name)
    )
    assert files(anna) == before
    nobody = tmp_path / "nobody"
    last = [Path(each.name) / f"{by_ben.version}.root.json" for each in (anna, ben)]
    assert "two different roots" in str(failure("keys", "follow", *last, "--keys", nobody))
    assert not nobody.is_dir() or not list(nobody.iterdir())


def test_a_root_that_follows_another_is_not_signed(tmp_path: Path, anna: KeyDirectory) -> None:
    make_keys(tmp_path / "others", now=NOW)
    others = KeyDirectory.at(tmp_path / "others")
    keys_module.make_signer(tmp_path / "more", "root")
    changes.add(others, "root", keys_module.read_public(next((tmp_path / "more").glob("*.pub"))), NOW)
    change = changes.set_threshold(others, "root", 2, NOW)
    assert change.pending is not None
    before = files(anna)
    with pytest.raises(InputError, match="do not follow"):
        changes.sign(anna, change.pending)
    assert files(anna) == before
    with pytest.raises(InputError, match="do not follow"):
        changes.follow(anna, others.chain())
    assert files(anna) == before


def test_a_public_key_is_added_and_its_owner_takes_over_the_root(tmp_path: Path, anna: KeyDirectory) -> None:
    made = edgectl("keys", "new", "targets", "--keys", tmp_path / "ben")
    (public,) = (tmp_path / "ben").glob("*.pub")
    assert str(public) in made.stdout
    with pytest.raises(InputError, match=r"root.json"):
        read_keys(tmp_path / "ben")
    assert "key" in edgectl("keys", "add", "targets", "--public", public, "--keys", anna.name).stdout
    for_ben = [Path(anna.name) / name for name in ("1.root.json", "2.root.json")]
    assert "root 2 is taken over" in edgectl("keys", "follow", *for_ben, "--keys", tmp_path / "ben").stdout
    assert "is here already" in edgectl("keys", "follow", *for_ben, "--keys", tmp_path / "ben").stdout
    assert len(read_keys(tmp_path / "ben").targets) == 1
    assert "is a key for targets already" in str(
        failure("keys", "add", "targets", "--public", public, "--keys", anna.name)
    )


def test_a_revoked_key_is_out_and_cannot_be_added_again(tmp_path: Path, anna: KeyDirectory, ben: KeyDirectory) -> None:
    stolen = ben.keys().targets[0].public_key
    changes.set_threshold(anna, "targets", 1, NOW)
    changes.revoke(anna, stolen.keyid[:8], NOW)
    assert roots.describe(anna.chain()[-1]).revoked == (stolen.keyid,)
    with pytest.raises(InputError, match="has been revoked"):
        changes.add(anna, "targets", stolen, NOW)
    changes.follow(ben, anna.chain())
    with pytest.raises(InputError, match="neither"):
        ben.keys()  # his key is set aside too


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"kind": "x"}', b'{"kind": "root", "roots": []}', b"[" * 99_999]
)
def test_what_is_no_pending_file_is_an_error_of_ours(tmp_path: Path, anna: KeyDirectory, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert "not a pending file" in str(failure("sign", tmp_path / "file", "--keys", anna.name))


@pytest.mark.parametrize(
    "tree",
    [
        {"kind": "release", "number": 1, "files": {}},
        {"kind": "release", "number": 1, "files": {"1.targets.json": "{}"}},
        {"kind": "root", "roots": ["{}"]},
        {"kind": "root", "roots": ["{}", "x"]},
    ],
)
def test_a_pending_file_that_says_nothing_is_an_error_of_ours(
    tmp_path: Path, anna: KeyDirectory, tree: dict[str, object]
) -> None:
    (tmp_path / "file").write_text(json.dumps(tree))
    before = files(anna)
    failure("sign", tmp_path / "file", "--keys", anna.name)
    assert files(anna) == before


def test_a_pending_release_that_lets_other_keys_sign_is_refused(anna: KeyDirectory, ben: KeyDirectory) -> None:
    pending = pend_document(anna.keys(), document(anna.keys(), "1", 7), 7)
    assert pending is not None
    targets = Metadata[Targets].from_bytes(pending.files["7.targets.json"].encode())
    targets.signed.delegations = Delegations({}, {})
    wider = PendingRelease(7, {"7.targets.json": targets.to_bytes().decode()})
    with pytest.raises(InputError, match="let other keys sign"):
        sign_release(wider, ben.keys(), NOW)


@pytest.mark.parametrize("chain", [["{}"], ["x", "{}"]])
def test_a_pending_root_that_is_none_is_an_error_of_ours_when_it_is_only_shown(
    tmp_path: Path, anna: KeyDirectory, chain: list[str]
) -> None:
    (tmp_path / "file").write_text(json.dumps({"kind": "root", "roots": chain}))
    failure("sign", tmp_path / "file", "--keys", anna.name, "--dry-run")


# --- reading what is published, and signing it again ------------------------------------------------------------------


def read(keys: Keys, payload: bytes) -> object:
    return read_document(keys, payload, model="m", channel="stable")


def test_a_document_of_before_a_rotation_is_ours_and_due(anna: KeyDirectory) -> None:
    before = document(anna.keys(), "1", 5)
    changes.rotate(anna, "targets", NOW)
    there = read_document(anna.keys(), before, model="m", channel="stable")
    assert (there.target, there.number, there.revoked) == (target("1"), 5, ())
    assert there.is_due(NOW)
    again = restamp_document(anna.keys(), before, there.target, 6, SOON)
    assert Device(anna.chain()[0]).hear(again).digest == target("1").digest
    assert not read_document(anna.keys(), again, model="m", channel="stable").is_due(NOW)


def test_only_the_online_key_is_needed_to_stamp_anew(anna: KeyDirectory) -> None:
    keys = anna.keys()
    before = document(keys, "1", 5)
    alone = Keys(keys.root, (), keys.online, keys.roots)
    again = restamp_document(alone, before, target("1"), 6, NOW + timedelta(days=60))
    device = Device(keys.root)
    device.hear(before)
    device.clock.advance(100 * 86_400)
    assert device.refuses(before) is Reason.EXPIRED
    assert device.hear(again) == target("1")


def test_what_a_revoked_key_has_signed_is_told(anna: KeyDirectory) -> None:
    keys = anna.keys()
    forged = document(keys, "6", 5)
    changes.rotate(anna, "targets", NOW, stolen=True)
    there = read_document(anna.keys(), forged, model="m", channel="stable")
    assert there.revoked == (keys.targets[0].public_key.keyid,)


def test_a_publisher_is_not_led_by_the_roots_in_a_document(tmp_path: Path, anna: KeyDirectory) -> None:
    """Who has the root key of before makes a second root of their own; we know which one followed."""
    thief = tmp_path / "thief"
    thief.mkdir()
    for name, content in files(anna).items():
        (thief / name).write_bytes(content)
    changes.rotate(anna, "root", NOW, stolen=True)
    changes.rotate(anna, "targets", NOW)
    changes.rotate(KeyDirectory.at(thief), "targets", NOW)
    forged = document(read_keys(thief), "6", 9)
    with pytest.raises(TrustError) as caught:
        read(anna.keys(), forged)
    assert caught.value.reason is Reason.SIGNATURE


def test_a_document_under_a_root_that_we_have_not_is_told(anna: KeyDirectory) -> None:
    before = anna.keys()
    changes.rotate(anna, "online", NOW)
    with pytest.raises(NewerRootError, match="signed under root 2, and this laptop has root 1") as caught:
        read(before, document(anna.keys(), "1", 5))
    assert "edgectl keys follow" in str(caught.value.hint)


def test_numbers_and_time_of_a_stolen_online_key_are_forgotten_with_it(anna: KeyDirectory) -> None:
    far = NOW + timedelta(days=900)
    poisoned = document(anna.keys(), "1", 2**40, far)
    there = read_document(anna.keys(), poisoned, model="m", channel="stable")
    assert (there.number, there.now(NOW)) == (2**40, far)
    changes.rotate(anna, "online", NOW, stolen=True)
    there = read_document(anna.keys(), poisoned, model="m", channel="stable")
    assert (there.number, there.now(NOW)) == (0, NOW)


def test_other_files_in_a_document_lead_nobody_astray(anna: KeyDirectory) -> None:
    crowded = mixed(document(anna.keys(), "1", 5), **{"6.targets.json": "{", "x": "y"})
    assert read_document(anna.keys(), crowded, model="m", channel="stable").number == 5


def test_a_laptop_whose_clock_is_beyond_the_root_signs_nothing(anna: KeyDirectory) -> None:
    with pytest.raises(InputError, match=r"root\.json expired on 2036-11-18, and this laptop's clock shows 2099-01-01"):
        sign_document(anna.keys(), target("1"), 1, datetime(2099, 1, 1, tzinfo=UTC))
