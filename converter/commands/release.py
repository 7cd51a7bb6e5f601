"""`edgectl keys`, `push` and `seed`: from an artifact on this disk to a signed release on the broker."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.broker import Broker
from converter.commands.address import KEYS, channel_option, keys_option
from converter.commands.broker import broker_options
from converter.commands.ordering import tell_reach
from edge_agent import schema
from edge_agent.errors import InputError
from edge_agent.release.archive import Artifact, read_artifact
from edge_agent.release.rollout import EVERYBODY, Rollout

if TYPE_CHECKING:
    from converter.publish.push import Pushed, Sent

_ARTIFACT = click.argument("file", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group()
def keys() -> None:
    """Make the keys that sign releases."""


@keys.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=KEYS)
@_JSON
def init(directory: Path, as_json: bool) -> None:  # noqa: FBT001  # click hands options over by name
    """Make new keys in DIRECTORY (default ~/.config/edgectl/keys). Never overwrites any."""
    from converter.publish.keys import make_keys

    made = make_keys(directory.expanduser())
    if as_json:
        click.echo(json.dumps({"root": str(made[-1]), "keys": [str(path) for path in made[:-1]]}))
        return
    click.echo(f"made {', '.join(path.name for path in made)} in {made[-1].parent}")
    click.echo(f"copy {made[-1]} to each device and name it under [trust] root; the .pem files stay here, secret.")
    click.echo("keep a copy of this directory where a lost laptop does not take it: devices believe no other keys.")


@click.command()
@_ARTIFACT
@channel_option
@keys_option
@click.option("--percent", type=click.IntRange(0, 100), help="For so many of the devices first; default: for all.")
@click.option("--canary-device", multiple=True, metavar="ID", help="In the rollout at any percentage. May be repeated.")
@click.option("--canary-label", multiple=True, metavar="LABEL", help="Devices with this label, likewise.")
@click.option("--replace-foreign", is_flag=True, help="Replace a document on this channel that other keys signed.")
@_JSON
@broker_options
def push(  # noqa: PLR0917  # click hands options over by name
    file: Path,
    channel: str,
    keys_dir: Path,
    percent: int | None,
    canary_device: tuple[str, ...],
    canary_label: tuple[str, ...],
    replace_foreign: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    connect: Callable[[], Broker],
) -> None:
    """Sign FILE (an .edge artifact) and publish it on a channel. What the broker holds already is not sent again."""
    rollout = _rollout(percent, canary_device, canary_label)
    artifact = read_artifact_file(file)
    from converter.publish.keys import read_keys
    from converter.publish.orders import Publisher
    from converter.publish.push import push as publish

    signers = read_keys(keys_dir.expanduser())
    with show_progress(artifact) as progress:
        pushed = publish(
            artifact, channel, signers, connect, progress=progress, rollout=rollout, replace_foreign=replace_foreign
        )
    click.echo(json.dumps(schema.dump(pushed)) if as_json else _describe(pushed))
    if pushed.rollout.percent < EVERYBODY:
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
@_ARTIFACT
@_JSON
@broker_options
def seed(file: Path, as_json: bool, connect: Callable[[], Broker]) -> None:  # noqa: FBT001  # by name
    """Send again whatever chunks of FILE the broker has lost. Signs nothing, so it needs no keys."""
    artifact = read_artifact_file(file)
    from converter.publish.push import send_chunks, wrap

    parcel = wrap(artifact, "seed", datetime.now(UTC))
    with connect() as writer, connect() as reader, show_progress(artifact) as progress:
        writer.check_can_publish()
        sent = send_chunks(parcel.chunks, writer, reader, progress)
    click.echo(json.dumps(schema.dump(sent)) if as_json else _describe_sent(sent))


def read_artifact_file(file: Path) -> Artifact:
    if file.suffix in (".tflite", ".keras", ".onnx"):
        raise InputError(
            f"{file} is a model, not an artifact", hint=f"make one first: edgectl convert {file} -o NAME-VERSION.edge"
        )
    return read_artifact(file)


def _describe(pushed: "Pushed") -> str:
    from converter.publish.succession import describe as describe_rollout

    name = f"{pushed.model} {pushed.version}"
    to = "" if pushed.rollout == Rollout(since=pushed.rollout.since) else f", {describe_rollout(pushed.rollout)}"
    if not pushed.published:
        return f"{name} was already published on {pushed.channel}{to}; {_describe_sent(pushed.sent)}"
    return f"{name} is published on {pushed.channel}{to} (document {pushed.document}); {_describe_sent(pushed.sent)}"


def _describe_sent(sent: "Sent") -> str:
    return (
        f"sent {sent.bytes_sent:,} bytes in {sent.chunks_sent} of {sent.chunks} chunks, "
        f"re-used {sent.bytes_reused:,} bytes"
    )


@contextmanager
def show_progress(artifact: Artifact) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, from the first byte sent to the last; nothing where there is nothing to send."""
    bar: Any = None
    with ExitStack() as shown:

        def show(done_bytes: int, total_bytes: int) -> None:
            nonlocal bar
            if bar is None:
                label = f"sending {artifact.path.name}"
                bar = shown.enter_context(click.progressbar(length=total_bytes, label=label, file=sys.stderr))
            bar.update(done_bytes - bar.pos)

        yield show
