"""`edgectl push` and `refresh`: from an artifact on this disk to a signed release on the broker."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.broker import Broker
from converter.commands.address import JSON, channel_option, keys_option
from converter.commands.artifact import (
    ENCRYPT_TO,
    PATCH_FROM,
    describe_sent,
    read_artifact_file,
    seal_of,
    show_progress,
)
from converter.commands.broker import broker_options
from converter.commands.keys import pend
from converter.commands.ordering import tell_reach
from converter.commands.sources import Sources, source_options
from edge_agent import schema
from edge_agent.errors import InputError
from edge_agent.release.manifest import IDENTIFIER
from edge_agent.release.rollout import EVERYBODY, Rollout

if TYPE_CHECKING:
    from converter.publish.patches import PatchMade
    from converter.publish.push import Pushed


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@channel_option
@keys_option
@click.option("--percent", type=click.IntRange(0, 100), help="For so many of the devices first; default: for all.")
@click.option("--canary-device", multiple=True, metavar="ID", help="In the rollout at any percentage. May be repeated.")
@click.option("--canary-label", multiple=True, metavar="LABEL", help="Devices with this label, likewise.")
@ENCRYPT_TO
@click.option("--unencrypted", is_flag=True, help="Release it for all, where those before were encrypted.")
@source_options
@click.option("--replace-foreign", is_flag=True, help="Replace a document on this channel that other keys signed.")
@click.option("--no-patches", is_flag=True, help="Make no patches against the releases that the fleet has.")
@PATCH_FROM
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
    sources: Sources,
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
    if recipients is not None and unencrypted:
        raise click.UsageError("--encrypt-to and --unencrypted contradict each other")
    artifact = read_artifact_file(file)
    from converter.publish.keys import read_keys
    from converter.publish.orders import Publisher
    from converter.publish.parcel import wrap
    from converter.publish.push import PatchFrom
    from converter.publish.push import push as publish

    signers = read_keys(keys_dir)
    patch_from = PatchFrom(fleet=not no_patches, artifacts=tuple(map(read_artifact_file, patch_files)))
    seal = None if unencrypted else seal_of(artifact, keys_dir, recipients)
    if sources.urls:
        sources.check(artifact.digest, wrap(artifact, channel, datetime.now(UTC), seal=seal).chunks)
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
            sources=sources.urls,
            seal=seal,
            unencrypted=unencrypted,
            patch_from=patch_from,
        )
    for note in pushed.notes:
        click.echo(note, err=True)
    click.echo(json.dumps(schema.dump(pushed)) if as_json else _describe(pushed))
    if pushed.rollout.percent < EVERYBODY and pushed.pending is None:
        tell_reach(Publisher(pushed.model, channel, signers, connect))


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
            f"{describe_sent(pushed.sent)}"
        )
    if not pushed.published:
        return f"{name} was already published on {pushed.channel}{to}; {describe_sent(pushed.sent)}"
    return f"{name} is published on {pushed.channel}{to} (document {pushed.document}); {describe_sent(pushed.sent)}"
