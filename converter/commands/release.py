"""`edgectl push`, `refresh` and `seed`: from an artifact on this disk to a signed release on the broker."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from converter.broker import Broker
from converter.commands.address import JSON, channel_option, keys_option
from converter.commands.broker import broker_options
from converter.commands.keys import pend
from converter.commands.ordering import tell_reach
from edge_agent import schema
from edge_agent.clock import SystemClock
from edge_agent.errors import InputError, LinkError
from edge_agent.release.archive import Artifact, read_artifact
from edge_agent.release.document import check_sources
from edge_agent.release.manifest import IDENTIFIER
from edge_agent.release.rollout import EVERYBODY, Rollout

if TYPE_CHECKING:
    from converter.publish.patches import PatchMade
    from converter.publish.push import Pushed, Sent
    from converter.publish.seals import ReleaseSeal

_RETRY_S = 2.0
_ARTIFACT = click.argument("file", type=click.Path(path_type=Path))
_ENCRYPT_TO = click.option(
    "--encrypt-to",
    "recipients",
    type=click.Path(path_type=Path),
    help="Only these devices can read it: a file with a line 'edge-x25519:… NAME' for each, or a directory of such.",
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@channel_option
@keys_option
@click.option("--percent", type=click.IntRange(0, 100), help="For so many of the devices first; default: for all.")
@click.option("--canary-device", multiple=True, metavar="ID", help="In the rollout at any percentage. May be repeated.")
@click.option("--canary-label", multiple=True, metavar="LABEL", help="Devices with this label, likewise.")
@_ENCRYPT_TO
@click.option("--unencrypted", is_flag=True, help="Release it for all, where those before were encrypted.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="URL",
    help="An https:// directory with what 'edgectl export' made, which devices ask before the broker.",
)
@click.option("--replace-foreign", is_flag=True, help="Replace a document on this channel that other keys signed.")
@click.option("--no-patches", is_flag=True, help="Make no patches against the releases that the fleet has.")
@click.option(
    "--patch-from",
    "patch_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Make patches against this artifact too; may be given several times.",
)
@click.option(
    "--device-class", default="", metavar="CLASS", help="Only devices of this class take it ([device] class)."
)
@click.option(
    "--pending",
    "pending_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Without FILE: publish this, which all have signed. With it: where to put what others must sign.",
)
@JSON
@broker_options
def push(  # noqa: PLR0917  # click hands options over by name
    file: Path | None,
    channel: str,
    keys_dir: Path,
    percent: int | None,
    canary_device: tuple[str, ...],
    canary_label: tuple[str, ...],
    recipients: Path | None,
    unencrypted: bool,  # noqa: FBT001
    sources: tuple[str, ...],
    replace_foreign: bool,  # noqa: FBT001
    no_patches: bool,  # noqa: FBT001
    patch_files: tuple[Path, ...],
    device_class: str,
    pending_path: Path | None,
    as_json: bool,  # noqa: FBT001
    connect: Callable[[], Broker],
) -> None:
    """Sign FILE (an .edge artifact) and publish it on a channel. What the broker holds already is not sent again.

    For what devices on this channel report to have, patches are published too where they are much smaller.
    """
    _check_identifiers({"--device-class": device_class or "any"})
    rollout = _rollout(percent, canary_device, canary_label)
    if file is None:
        _publish_pending(pending_path, keys_dir, connect, as_json=as_json)
        return
    _check_openness(recipients, sources, unencrypted=unencrypted)
    artifact = read_artifact_file(file)
    from converter.publish.keys import read_keys
    from converter.publish.orders import Publisher
    from converter.publish.push import PatchFrom
    from converter.publish.push import push as publish

    signers = read_keys(keys_dir)
    patch_from = PatchFrom(fleet=not no_patches, artifacts=tuple(map(read_artifact_file, patch_files)))
    seal = None if unencrypted else _seal(artifact, keys_dir, recipients)
    with show_progress(artifact.path) as progress:
        pushed = publish(
            artifact,
            channel,
            signers,
            connect,
            progress=progress,
            rollout=rollout,
            pend=lambda pending: pend(pending, pending_path),
            replace_foreign=replace_foreign,
            device_class=device_class,
            sources=sources,
            seal=seal,
            unencrypted=unencrypted,
            patch_from=patch_from,
        )
    for note in pushed.notes:
        click.echo(note, err=True)
    click.echo(json.dumps(schema.dump(pushed)) if as_json else _describe(pushed))
    if pushed.rollout.percent < EVERYBODY and pushed.pending is None:
        tell_reach(Publisher(pushed.model, channel, signers, connect))


def _check_openness(recipients: Path | None, sources: tuple[str, ...], *, unencrypted: bool) -> None:
    if recipients is not None and unencrypted:
        raise click.UsageError("--encrypt-to and --unencrypted contradict each other")
    try:
        check_sources(sources)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--source") from error


def _rollout(percent: int | None, devices: tuple[str, ...], labels: tuple[str, ...]) -> Rollout | None:
    """None: nobody has asked for one."""
    if percent is None and (devices or labels):
        raise click.UsageError("--canary-device and --canary-label need --percent: 0 gives it to the canaries alone")
    try:
        return None if percent is None else Rollout(percent=percent, canary_devices=devices, canary_labels=labels)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.command()
@click.option("--model", help="Only this model's channel. Default: all that the broker tells of.")
@click.option("--channel", default="stable", show_default=True, help="Of the model that --model names.")
@click.option(
    "--believe-revoked", is_flag=True, help="Sign again also what a revoked key has signed. Look at it first."
)
@keys_option
@JSON
@broker_options
def refresh(  # noqa: PLR0917  # click hands options over by name
    model: str | None,
    channel: str,
    believe_revoked: bool,  # noqa: FBT001
    keys_dir: Path,
    as_json: bool,  # noqa: FBT001
    connect: Callable[[], Broker],
) -> None:
    """Sign release documents again that are about to expire; after keys have changed, all: it brings the new root."""
    _check_identifiers({"--model": model or "any", "--channel": channel})
    from converter.publish.keys import read_keys
    from converter.publish.refresh import refresh as sign_again

    reports = sign_again(
        read_keys(keys_dir),
        connect,
        [(model, channel)] if model is not None else [],
        now=datetime.now(UTC),
        pend=lambda pending: pend(pending, None),
        believe_revoked=believe_revoked,
    )
    for report in reports:
        if as_json:
            click.echo(json.dumps(schema.dump(report)))
        else:
            name = f"{report.model}/{report.channel} {report.version or ''}".rstrip()
            click.echo(f"{name}: {report.state}, {report.detail}")
    if not reports:
        click.echo("no release documents are on the broker (or it serves none to wildcards: name them)", err=True)
    left = [report for report in reports if report.state in ("revoked", "refused")]
    if left:
        raise InputError(
            f"{len(left)} of {len(reports)} documents were not signed again",
            hint="what each needs stands above; a document by other keys is replaced by 'edgectl push'",
        )


@click.command()
@_ARTIFACT
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@keys_option
@_ENCRYPT_TO
@JSON
def export(file: Path, directory: Path, keys_dir: Path, recipients: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Write the chunks of FILE into DIRECTORY, for any static web server: push then names it with --source.

    Encrypt to the same recipients here and there.
    """
    artifact = read_artifact_file(file)
    from converter.publish.export import export as lay_out
    from converter.publish.push import wrap

    seal = _seal(artifact, keys_dir, recipients)
    made = lay_out(wrap(artifact, "export", datetime.now(UTC), seal=seal).chunks, directory)
    if as_json:
        click.echo(json.dumps(schema.dump(made)))
        return
    click.echo(f"wrote {made.files_written} of {made.files} blobs, {made.bytes_written:,} bytes, to {directory}")
    click.echo("copy them to a web server, then: edgectl push FILE --source https://HOST/PATH")


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Stay, and answer devices that miss chunks of these, until Ctrl-C.")
@keys_option
@JSON
@broker_options
def seed(
    files: tuple[Path, ...],
    watch: bool,  # noqa: FBT001
    keys_dir: Path,
    as_json: bool,  # noqa: FBT001
    connect: Callable[[], Broker],
) -> None:
    """Send again whatever chunks of each FILE the broker has lost. Signs nothing; of encrypted ones it needs --keys.

    A FILE may also be a directory that 'edgectl export' made, which needs none.
    """
    from converter.publish.push import send_chunks

    everything = {file: _chunks_of(file, keys_dir) for file in files}
    with connect() as writer, connect() as reader:
        writer.check_can_publish()
        for file, chunks in everything.items():
            with show_progress(file) as progress:
                sent = send_chunks(chunks, writer, reader, progress)
            click.echo(json.dumps(schema.dump(sent)) if as_json else _describe_sent(sent))
    if watch:
        _answer_for_ever({digest: load for chunks in everything.values() for digest, load in chunks.items()}, connect)


def _chunks_of(file: Path, keys_dir: Path) -> dict[str, bytes]:
    from converter.publish.export import read_exported
    from converter.publish.push import wrap

    if file.is_dir():
        return read_exported(file)
    artifact = read_artifact_file(file)
    return wrap(artifact, "seed", datetime.now(UTC), seal=_seal(artifact, keys_dir, None)).chunks


def _answer_for_ever(chunks: dict[str, bytes], connect: Callable[[], Broker]) -> None:
    from converter.publish.needs import Answers

    answers, never = Answers(chunks), Event()
    click.echo("waiting for devices that miss chunks (Ctrl-C ends it)", err=True)
    while True:
        try:
            with connect() as broker:
                answers.run(broker, never, lambda device, count: click.echo(f"sent {device} {count} chunks", err=True))
        except LinkError as error:
            click.echo(f"{error}; trying again", err=True)
            SystemClock().wait(never, _RETRY_S)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be cleared.")
@click.option(
    "--trust-catalog",
    is_flag=True,
    help="Where the broker shows no retained messages for wildcards: believe the catalog about the channels.",
)
@JSON
@broker_options
def gc(dry_run: bool, trust_catalog: bool, as_json: bool, connect: Callable[[], Broker]) -> None:  # noqa: FBT001
    """Clear the chunks that no release on the broker, and none before it on its channel, refers to any more."""
    from converter.publish.collect import collect

    collected = collect(connect, dry_run=dry_run, trust_catalog=trust_catalog)
    for note in collected.notes:
        click.echo(note, err=True)
    if as_json:
        click.echo(json.dumps(schema.dump(collected)))
        return
    for name in collected.kept:
        click.echo(f"kept {name}")
    would = "would clear" if dry_run else "cleared"
    for name in collected.cleared:
        click.echo(f"{would} {name}")
    click.echo(f"{would} {collected.chunks} chunks")


def _check_identifiers(options: Mapping[str, str]) -> None:
    for option, value in options.items():
        if not IDENTIFIER.fullmatch(value):
            raise click.BadParameter(f"{value!r} must be 1 to 64 of a-z, 0-9, _ and -", param_hint=option)


def _publish_pending(path: Path | None, keys_dir: Path, connect: Callable[[], Broker], *, as_json: bool) -> None:
    if path is None:
        raise click.UsageError("name an .edge file to publish, or with --pending a file that all have signed")
    from converter.publish.keys import read_bytes, read_keys
    from converter.publish.pending import PendingRelease, parse_pending
    from converter.publish.refresh import publish_pending

    pending = parse_pending(read_bytes(path, "it is made by 'edgectl push'"))
    if not isinstance(pending, PendingRelease):
        raise InputError(f"{path} is a root, not a release", hint="'edgectl refresh' brings a new root to the devices")
    number = publish_pending(pending, read_keys(keys_dir), connect, datetime.now(UTC))
    target = pending.target
    if as_json:
        click.echo(json.dumps({**schema.dump(target), "document": number}))
    else:
        click.echo(f"{target.model} {target.version} is published on {target.channel} (document {number})")


def read_artifact_file(file: Path) -> Artifact:
    if file.suffix in (".tflite", ".keras", ".h5", ".pb", ".onnx", ".pt2", ".pt", ".pth"):
        raise InputError(
            f"{file} is a model, not an artifact", hint=f"make one first: edgectl convert {file} -o NAME-VERSION.edge"
        )
    return read_artifact(file)


def _seal(artifact: Artifact, keys_dir: Path, recipients: Path | None) -> "ReleaseSeal | None":
    """For these recipients; or as it was before: what was encrypted once does not go out in the clear by mistake."""
    from converter.publish.recipients import read_recipients
    from converter.publish.seals import kept_seal, seal_for

    if recipients is None:
        return kept_seal(keys_dir, artifact.digest)
    return seal_for(keys_dir, artifact.digest, read_recipients(recipients))


def _describe(pushed: "Pushed") -> str:
    return "\n".join((_describe_release(pushed), *map(_describe_patch, pushed.patches)))


def _describe_patch(patch: "PatchMade") -> str:
    whom = f", which {patch.devices} devices have" if patch.devices else ""
    saving = f"a patch of {patch.bytes:,} bytes instead of {patch.instead_of_bytes:,}"
    return f"{saving}: {patch.member} from {patch.base}{whom}"


def _describe_release(pushed: "Pushed") -> str:
    from converter.publish.succession import describe as describe_rollout

    name = f"{pushed.model} {pushed.version}"
    to = "" if pushed.rollout == Rollout(since=pushed.rollout.since) else f", {describe_rollout(pushed.rollout)}"
    if pushed.pending is not None:
        return (
            f"{name} is not published yet: others must sign it (edgectl sign {pushed.pending}); "
            f"{_describe_sent(pushed.sent)}"
        )
    if not pushed.published:
        return f"{name} was already published on {pushed.channel}{to}; {_describe_sent(pushed.sent)}"
    return f"{name} is published on {pushed.channel}{to} (document {pushed.document}); {_describe_sent(pushed.sent)}"


def _describe_sent(sent: "Sent") -> str:
    return (
        f"sent {sent.bytes_sent:,} bytes in {sent.chunks_sent} of {sent.chunks} chunks, "
        f"re-used {sent.bytes_reused:,} bytes"
    )


@contextmanager
def show_progress(file: Path) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, from the first byte sent to the last; nothing where there is nothing to send."""
    bar: Any = None
    with ExitStack() as shown:

        def show(done_bytes: int, total_bytes: int) -> None:
            nonlocal bar
            if bar is None:
                label = f"sending {file.name}"
                bar = shown.enter_context(click.progressbar(length=total_bytes, label=label, file=sys.stderr))
            bar.update(done_bytes - bar.pos)

        yield show
