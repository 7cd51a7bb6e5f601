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
from converter.commands.broker import broker_options
from edge_agent import schema
from edge_agent.errors import InputError
from edge_agent.release.archive import Artifact, read_artifact
from edge_agent.release.document import check_sources
from edge_agent.release.manifest import IDENTIFIER

if TYPE_CHECKING:
    from converter.publish.push import Pushed, Sent
    from converter.publish.seals import ReleaseSeal

_KEYS = Path("~/.config/edgectl/keys")
_ARTIFACT = click.argument("file", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


_KEYS_OPTION = click.option(
    "--keys",
    "keys_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_KEYS,
    show_default=True,
    envvar="EDGECTL_KEYS",
    show_envvar=True,
    help="What 'edgectl keys init' made; content keys of encrypted releases are kept there too.",
)
_ENCRYPT_TO = click.option(
    "--encrypt-to",
    "recipients",
    type=click.Path(path_type=Path),
    help="Only these devices can read it: a file with a line 'edge-x25519:… NAME' for each, or a directory of such.",
)


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
@_KEYS_OPTION
@_ENCRYPT_TO
@click.option("--unencrypted", is_flag=True, help="Release it for all, where those before were encrypted.")
@click.option("--replace-foreign", is_flag=True, help="Replace a document on this channel that other keys signed.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="URL",
    help="An https:// directory with what 'edgectl export' made, which devices ask before the broker.",
)
@_JSON
@broker_options
def push(  # noqa: PLR0917  # click hands options over by name
    file: Path,
    channel: str,
    keys_dir: Path,
    recipients: Path | None,
    unencrypted: bool,  # noqa: FBT001
    replace_foreign: bool,  # noqa: FBT001
    sources: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
    connect: Callable[[], Broker],
) -> None:
    """Sign FILE (an .edge artifact) and publish it on a channel. What the broker holds already is not sent again."""
    if recipients is not None and unencrypted:
        raise click.UsageError("--encrypt-to and --unencrypted contradict each other")
    if not IDENTIFIER.fullmatch(channel):
        raise click.BadParameter(f"{channel!r} must be 1 to 64 of a-z, 0-9, _ and -", param_hint="--channel")
    try:
        check_sources(sources)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--source") from error
    artifact = _read(file)
    from converter.publish.keys import read_keys
    from converter.publish.push import push as publish

    signers = read_keys(keys_dir.expanduser())
    seal = None if unencrypted else _seal(artifact, keys_dir, recipients)
    with _progress(file) as progress:
        pushed = publish(
            artifact,
            channel,
            signers,
            connect,
            progress=progress,
            replace_foreign=replace_foreign,
            sources=sources,
            seal=seal,
            unencrypted=unencrypted,
        )
    click.echo(json.dumps(schema.dump(pushed)) if as_json else _describe(pushed))


@click.command()
@_ARTIFACT
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@_KEYS_OPTION
@_ENCRYPT_TO
@_JSON
def export(file: Path, directory: Path, keys_dir: Path, recipients: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Write the chunks of FILE into DIRECTORY, for any static web server: push then names it with --source.

    Encrypt to the same recipients here and there.
    """
    artifact = _read(file)
    from converter.publish.export import export as lay_out
    from converter.publish.push import wrap

    made = lay_out(
        wrap(artifact, "export", datetime.now(UTC), seal=_seal(artifact, keys_dir, recipients)).chunks, directory
    )
    if as_json:
        click.echo(json.dumps(schema.dump(made)))
        return
    click.echo(f"wrote {made.files_written} of {made.files} blobs, {made.bytes_written:,} bytes, to {directory}")
    click.echo("copy them to a web server, then: edgectl push FILE --source https://HOST/PATH")


@click.command()
@_ARTIFACT
@_KEYS_OPTION
@_JSON
@broker_options
def seed(file: Path, keys_dir: Path, as_json: bool, connect: Callable[[], Broker]) -> None:  # noqa: FBT001  # by name
    """Send again whatever chunks of FILE the broker has lost. Signs nothing; of an encrypted release it needs --keys.

    FILE may also be a directory that 'edgectl export' made, which needs none.
    """
    from converter.publish.export import read_exported
    from converter.publish.push import send_chunks, wrap

    if file.is_dir():
        chunks = read_exported(file)
    else:
        artifact = _read(file)
        chunks = wrap(artifact, "seed", datetime.now(UTC), seal=_seal(artifact, keys_dir, None)).chunks
    with connect() as writer, connect() as reader, _progress(file) as progress:
        writer.check_can_publish()
        sent = send_chunks(chunks, writer, reader, progress)
    click.echo(json.dumps(schema.dump(sent)) if as_json else _describe_sent(sent))


def _read(file: Path) -> Artifact:
    if file.suffix in (".tflite", ".keras", ".onnx"):
        raise InputError(
            f"{file} is a model, not an artifact", hint=f"make one first: edgectl convert {file} -o NAME-VERSION.edge"
        )
    return read_artifact(file)


def _seal(artifact: Artifact, keys_dir: Path, recipients: Path | None) -> "ReleaseSeal | None":
    """For these recipients; or as it was before: what was encrypted once does not go out in the clear by mistake."""
    from converter.publish.recipients import read_recipients
    from converter.publish.seals import kept_seal, seal_for

    if recipients is None:
        return kept_seal(keys_dir.expanduser(), artifact.digest)
    return seal_for(keys_dir.expanduser(), artifact.digest, read_recipients(recipients))


def _describe(pushed: "Pushed") -> str:
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
def _progress(file: Path) -> Iterator[Callable[[int, int], None]]:
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
