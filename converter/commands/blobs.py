"""`edgectl seed`, `export` and `gc`: the blobs of releases, put back, laid out and cleared. They sign nothing."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import click

from converter.broker import Broker
from converter.commands.address import JSON, keys_option
from converter.commands.artifact import (
    ENCRYPT_TO,
    PATCH_FROM,
    describe_sent,
    read_artifact_file,
    seal_of,
    show_progress,
)
from converter.commands.broker import broker_options
from edge_agent import schema
from edge_agent.clock import SystemClock
from edge_agent.errors import LinkError
from edge_agent.release.pack_file import SUFFIX

_RETRY_S = 2.0
_ARTIFACT = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@_ARTIFACT
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@keys_option
@ENCRYPT_TO
@PATCH_FROM
@JSON
def export(  # noqa: PLR0917  # click hands options over by name
    file: Path,
    directory: Path,
    keys_dir: Path,
    recipients: Path | None,
    patch_files: tuple[Path, ...],
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write FILE as one file of chunks into DIRECTORY, for a web server that honors Range: push names it with --source.

    Encrypt to the same recipients here and there; name here with --patch-from what push will make patches from.
    """
    artifact = read_artifact_file(file)
    from converter.publish.export import export as lay_out
    from converter.publish.parcel import wrap
    from converter.publish.patches import bases_of, make_patches

    seal = seal_of(artifact, keys_dir, recipients)
    if seal is not None and patch_files:
        raise click.UsageError("it is encrypted, and what is encrypted has no patches: leave out --patch-from")
    patches = make_patches(artifact.members, bases_of(map(read_artifact_file, patch_files)))
    parcel = wrap(artifact, "export", datetime.now(UTC), seal=seal).with_patches(patches)
    made = lay_out(parcel, directory)
    for note in patches.skipped:
        click.echo(note, err=True)
    if as_json:
        click.echo(json.dumps(schema.dump(made)))
        return
    what = f"{made.chunks} chunks, {made.size_bytes:,} bytes"
    click.echo(f"{directory / made.file}: {what}{'' if made.written else ', as it was there'}")
    click.echo("copy it to a web server, then: edgectl push FILE --source https://HOST/PATH")


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

    A FILE may also be what 'edgectl export' made, or its directory, which need none.
    """
    from converter.publish.sending import send_chunks

    everything = {file: _chunks_of(file, keys_dir) for file in files}
    with connect() as writer, connect() as reader:
        writer.check_can_publish()
        for file, chunks in everything.items():
            with show_progress(file) as progress:
                sent = send_chunks(chunks, writer, reader, progress)
            click.echo(json.dumps(schema.dump(sent)) if as_json else describe_sent(sent))
    if watch:
        _answer_for_ever({digest: load for chunks in everything.values() for digest, load in chunks.items()}, connect)


def _chunks_of(file: Path, keys_dir: Path) -> dict[str, bytes]:
    from converter.publish.export import read_exported
    from converter.publish.parcel import wrap

    if file.is_dir() or file.suffix == SUFFIX:
        return read_exported(file)
    artifact = read_artifact_file(file)
    return wrap(artifact, "seed", datetime.now(UTC), seal=seal_of(artifact, keys_dir, None)).chunks


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
