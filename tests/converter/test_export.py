"""Blobs for a web server: laid out by a command, named in the signed document, fetched by a device over HTTPS alone."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from converter.broker import Broker
from converter.commands.blobs import export as export_command
from converter.commands.blobs import seed as seed_command
from converter.commands.release import push as push_command
from converter.publish.keys import Keys
from converter.publish.parcel import wrap
from converter.publish.succession import PublishError
from edge_agent.clock import SystemClock
from edge_agent.disk import open_disk
from edge_agent.errors import EdgeError, InputError
from edge_agent.link.pace import Pace
from edge_agent.link.transports import Transports
from edge_agent.release.chunks import CHUNK_BYTES
from edge_agent.release.document import Target, check_sources
from edge_agent.release.pack_file import format_pack, parse_table
from edge_agent.release.sealing import format_public, make_key, public_of
from edge_agent.release.trust import verify
from edge_agent.update.fetch import fetch_release
from edge_agent.update.store import ReleaseStore
from tests.converter.test_patched_push import nudged
from tests.converter.test_push import TOPICS, _quick, artifact, document_on, keys, run  # noqa: F401  # fixtures
from tests.link.test_https import giving, serving
from tests.sim.broker import Mosquitto
from tests.sim.releases import SimTransport, noise, patch_here


def tell(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)])


def target_on(broker: Mosquitto, signers: Keys) -> Target:
    document = document_on(broker)
    assert document is not None
    now_s = datetime.now(UTC).timestamp()
    return verify(signers.root, None, document, model="birds", channel="stable", now_s=now_s, floor_s=0).target


def test_what_is_exported_and_named_is_what_a_device_fetches_without_the_broker(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
) -> None:
    what = artifact(tmp_path, "1")
    exported = tell(export_command, what.path, tmp_path / "web", "--json")
    assert exported.exit_code == 0, exported.output
    (tmp_path / "tls").mkdir()
    with serving(tmp_path / "tls") as server:
        server.hold_directory(tmp_path / "web")
        pushed = run(
            push_command,
            mosquitto.url,
            what.path,
            "--keys",
            tmp_path / "keys",
            "--source",
            server.base,
            "--source-ca",
            server.ca,
        )
        assert pushed.exit_code == 0, pushed.output
        target = target_on(mosquitto, keys)
        assert target.sources == (server.base,)

        store = ReleaseStore(open_disk(tmp_path / "state"), tmp_path / "state")
        clock = SystemClock()
        transports = Transports(SimTransport(), Pace(clock), clock, ca_file=server.ca)
        report = fetch_release(
            target, store, transports.of(target), cancelled=lambda: False, trouble=lambda reason, detail: None
        )
        (file,) = (tmp_path / "web").iterdir()
        assert tuple(parse_table(file.read_bytes()))[: len(target.index_chunks)] == target.index_chunks
    assert report is not None
    assert report.reused_bytes == 0
    assert store.is_sound(what.digest)


def test_a_device_patches_what_it_has_with_the_web_server_alone(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
) -> None:
    old_model = noise(10 * CHUNK_BYTES, "model")
    old, new = artifact(tmp_path, "1", old_model), artifact(tmp_path, "2", nudged(old_model))
    web, state = tmp_path / "web", tmp_path / "state"
    for what, more in ((old, ()), (new, ("--patch-from", old.path))):
        made = tell(export_command, what.path, web, *more)
        assert made.exit_code == 0, made.output
    (tmp_path / "tls").mkdir()
    with serving(tmp_path / "tls") as server:
        server.hold_directory(web)
        common = ("--keys", tmp_path / "keys", "--source", server.base, "--source-ca", server.ca)
        store, clock, broker = ReleaseStore(open_disk(state), state), SystemClock(), SimTransport()
        transports = Transports(broker, Pace(clock), clock, ca_file=server.ca)
        reports = []
        for what, more in ((old, ()), (new, ("--patch-from", old.path))):
            pushed = run(push_command, mosquitto.url, what.path, *common, *more)
            assert pushed.exit_code == 0, pushed.output
            target = target_on(mosquitto, keys)
            report = fetch_release(
                target, store, transports.of(target), patcher=patch_here,
                cancelled=lambda: False, trouble=lambda reason, detail: None,
            )  # fmt: skip
            reports.append(report)
    assert all(report is not None for report in reports)
    assert [report.patched_bytes for report in reports if report] == [0, len(old_model)]
    assert broker.carried == []


def test_what_is_encrypted_is_exported_without_patches(tmp_path: Path) -> None:
    recipients = tmp_path / "recipients.txt"
    recipients.write_text(f"{format_public(public_of(make_key()))} porch\n")
    what = artifact(tmp_path, "1")
    common = (what.path, tmp_path / "web", "--keys", tmp_path / "keys", "--encrypt-to", recipients)
    refused = tell(export_command, *common, "--patch-from", what.path)
    assert refused.exit_code == 2
    assert "--patch-from" in refused.output
    assert not (tmp_path / "web").exists()


def test_a_source_that_does_not_serve_the_release_is_refused_before_anything_is_sent(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
) -> None:
    what = artifact(tmp_path, "1")
    (tmp_path / "tls").mkdir()
    with serving(tmp_path / "tls") as server:
        common = (what.path, "--keys", tmp_path / "keys", "--source", server.base, "--source-ca", server.ca)
        nothing = run(push_command, mosquitto.url, *common)
        server.web.answers[f"/packs/{what.digest}.pack"] = giving(format_pack({}))
        half = run(push_command, mosquitto.url, *common)
        content = format_pack(wrap(what, "stable", datetime.now(UTC)).chunks)
        server.web.answers[f"/packs/{what.digest}.pack"] = giving(content[:-1])
        cut_off = run(push_command, mosquitto.url, *common)
    assert isinstance(nothing.exception, PublishError)
    assert "404" in str(nothing.exception)
    assert "lacks" in str(half.exception)
    assert isinstance(cut_off.exception, PublishError)
    assert cut_off.exception.hint == nothing.exception.hint
    assert document_on(mosquitto) is None


def test_exporting_again_writes_nothing_and_another_version_a_file_of_its_own(tmp_path: Path) -> None:
    first = json.loads(tell(export_command, artifact(tmp_path, "1").path, tmp_path / "web", "--json").stdout)
    again = json.loads(tell(export_command, artifact(tmp_path, "1").path, tmp_path / "web", "--json").stdout)
    second = json.loads(tell(export_command, artifact(tmp_path, "2").path, tmp_path / "web", "--json").stdout)

    assert (first["written"], again["written"], second["written"]) == (True, False, True)
    assert sorted(path.name for path in (tmp_path / "web").iterdir()) == sorted({first["file"], second["file"]})


def test_a_source_that_is_new_is_published_for_a_release_that_is_there(
    tmp_path: Path,
    mosquitto: Mosquitto,
    keys: Keys,  # noqa: F811
) -> None:
    common = (artifact(tmp_path, "1").path, "--keys", tmp_path / "keys", "--json", "--unchecked-source")
    run(push_command, mosquitto.url, *common)
    named = json.loads(run(push_command, mosquitto.url, *common, "--source", "https://x/blobs").stdout)
    again = json.loads(run(push_command, mosquitto.url, *common, "--source", "https://x/blobs").stdout)

    assert (named["published"], again["published"]) == (True, False)
    assert target_on(mosquitto, keys).sources == ("https://x/blobs",)


def test_a_broker_is_seeded_from_an_exported_directory(tmp_path: Path, mosquitto: Mosquitto) -> None:
    tell(export_command, artifact(tmp_path, "1").path, tmp_path / "web")
    sent = run(seed_command, mosquitto.url, tmp_path / "web", "--json")

    (file,) = (tmp_path / "web").iterdir()
    digests = list(parse_table(file.read_bytes()))
    assert json.loads(sent.stdout)["chunks_sent"] == len(digests) > 2
    with Broker(mosquitto.settings, TOPICS) as client:
        assert client.read_chunks(digests, grace_s=1.0) == []
    again = run(seed_command, mosquitto.url, file, "--json")
    assert json.loads(again.stdout)["chunks_sent"] == 0


def test_a_directory_with_spoilt_files_or_none_seeds_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    (tmp_path / "web").mkdir()
    empty = run(seed_command, mosquitto.url, tmp_path / "web")
    assert isinstance(empty.exception, InputError)
    (tmp_path / "web" / f"{'0' * 64}.pack").write_bytes(format_pack({"0" * 64: b"other"}))
    spoilt = run(seed_command, mosquitto.url, tmp_path / "web")
    assert isinstance(spoilt.exception, EdgeError)
    assert "0" * 64 in str(spoilt.exception)


@pytest.mark.parametrize(
    "url",
    [
        "http://x/y", "https:///y", "https://user:word@x/y", "https://x/y?z", "https://x/y#z", "https://x:0/y",
        "https://x:99999/", "https://x y", "https://x/\n", "ftp://x", "", "https://x/\u0430", "https://" + "x" * 600,
    ],
)  # fmt: skip
def test_a_source_that_is_no_https_directory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be https://HOST"):
        check_sources([url])
    assert run(push_command, "mqtt://x", "birds.edge", "--source", url).exit_code == 2


def test_too_many_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 8"):
        check_sources(["https://x/y"] * 9)
