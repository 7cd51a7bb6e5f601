"""`edgectl keys`, `push`, `seed` and `gc`: from an artifact on this disk to a signed release on the broker."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from converter.broker import Broker
from converter.commands.broker import broker_options
from edge_agent import schema
from edge_agent.clock import SystemClock
from edge_agent.errors import InputError, LinkError
from edge_agent.release.archive import Artifact, read_artifact
from edge_agent.release.manifest import IDENTIFIER

if TYPE_CHECKING:
    from converter.publish.patches import PatchMade
    from converter.publish.push import Pushed, Sent

_KEYS = Path("~/.config/edgectl/keys")
_ARTIFACT = click.argument("file", type=click.Path(path_type=Path))
_RETRY_S = 2.0
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group()
def keys() -> None:
    """Make the keys that sign releases."""


@keys.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=_KEYS)
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
@click.option("--channel", default="stable", show_default=True, help="The line of releases that devices follow.")
@click.option(
    "--keys",
    "keys_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_KEYS,
    show_default=True,
    envvar="EDGECTL_KEYS",
    show_envvar=True,
    help="What 'edgectl keys init' made.",
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
@_JSON
@broker_options
def push(  # noqa: PLR0917  # click hands options over by name
    file: Path,
    channel: str,
    keys_dir: Path,
    replace_foreign: bool,  # noqa: FBT001
    no_patches: bool,  # noqa: FBT001
    patch_files: tuple[Path, ...],
    as_json: bool,  # noqa: FBT001
    connect: Callable[[], Broker],
) -> None:
    """Sign FILE (an .edge artifact) and publish it on a channel. What the broker holds already is not sent again.

    For what devices on this channel report to have, patches are published too where they are much smaller.
    """
    if not IDENTIFIER.fullmatch(channel):
        raise click.BadParameter(f"{channel!r} must be 1 to 64 of a-z, 0-9, _ and -", param_hint="--channel")
    artifact = _read(file)
    from converter.publish.keys import read_keys
    from converter.publish.push import PatchFrom
    from converter.publish.push import push as publish

    signers = read_keys(keys_dir.expanduser())
    patch_from = PatchFrom(fleet=not no_patches, artifacts=tuple(map(_read, patch_files)))
    with _progress(artifact) as progress:
        pushed = publish(
            artifact,
            channel,
            signers,
            connect,
            progress=progress,
            replace_foreign=replace_foreign,
            patch_from=patch_from,
        )
    for note in pushed.notes:
        click.echo(note, err=True)
    click.echo(json.dumps(schema.dump(pushed)) if as_json else _describe(pushed))


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Stay, and answer devices that miss chunks of these, until Ctrl-C.")
@_JSON
@broker_options
def seed(files: tuple[Path, ...], watch: bool, as_json: bool, connect: Callable[[], Broker]) -> None:  # noqa: FBT001
    """Send again whatever chunks of each FILE the broker has lost. Signs nothing, so it needs no keys."""
    artifacts = [_read(file) for file in files]
    from converter.publish.push import send_chunks, wrap

    chunks: dict[str, bytes] = {}
    with connect() as writer, connect() as reader:
        writer.check_can_publish()
        for artifact in artifacts:
            parcel = wrap(artifact, "seed", datetime.now(UTC))
            with _progress(artifact) as progress:
                sent = send_chunks(parcel.chunks, writer, reader, progress)
            chunks |= parcel.chunks
            click.echo(json.dumps(schema.dump(sent)) if as_json else _describe_sent(sent))
    if watch:
        _answer_for_ever(chunks, connect)


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
@_JSON
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


def _read(file: Path) -> Artifact:
    if file.suffix in (".tflite", ".keras", ".onnx"):
        raise InputError(
            f"{file} is a model, not an artifact", hint=f"make one first: edgectl convert {file} -o NAME-VERSION.edge"
        )
    return read_artifact(file)


def _describe(pushed: "Pushed") -> str:
    return "\n".join((_describe_release(pushed), *map(_describe_patch, pushed.patches)))


def _describe_patch(patch: "PatchMade") -> str:
    whom = f", which {patch.devices} devices have" if patch.devices else ""
    saving = f"a patch of {patch.bytes:,} bytes instead of {patch.instead_of_bytes:,}"
    return f"{saving}: {patch.member} from {patch.base}{whom}"


def _describe_release(pushed: "Pushed") -> str:
    name = f"{pushed.model} {pushed.version}"
    if not pushed.published:
        return f"{name} was already published on {pushed.channel}; {_describe_sent(pushed.sent)}"
    return f"{name} is published on {pushed.channel} (document {pushed.document}); {_describe_sent(pushed.sent)}"


def _describe_sent(sent: "Sent") -> str:
    return (
        f"sent {sent.bytes_sent:,} bytes in {sent.chunks_sent} of {sent.chunks} chunks, "
        f"re-used {sent.bytes_reused:,} bytes"
    )


@contextmanager
def _progress(artifact: Artifact) -> Iterator[Callable[[int, int], None]]:
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
