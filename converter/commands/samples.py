"""`edgectl samples`: what devices have kept of their input, pulled back for calibration and evaluation."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from converter.broker import Broker
from converter.commands.broker import broker_options
from converter.errors import RecipeError
from edge_agent.errors import LinkError, counted

_NOT_ANSWERED = (
    "their configuration must say so: a sink of kind samples with publish = true (docs/sinks.md); "
    "and the broker must let them read `ask` and this user `sample`"
)


@click.command()
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder: FOLDER/DEVICE/PIPELINE is what `convert --calibrate` and `evaluate` read.",
)
@click.option("--device", "devices", multiple=True, metavar="ID", help="Only this one; may be repeated. [default: all]")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Only the newest N of each pipeline of each device.")
@click.option("--for", "duration", metavar="TIME", help="Go on for 10m, 1h, … with what is newly kept.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a folder, a line each.")
@broker_options
def samples(  # noqa: PLR0917  # click hands options over by name
    into: Path,
    devices: tuple[str, ...],
    count: int | None,
    duration: str | None,
    as_json: bool,  # noqa: FBT001
    connect: Callable[[], Broker],
) -> None:
    """Pull the samples that devices have kept and may publish; what is in FOLDER already is not sent again."""
    from converter.fleet.plan import parse_duration
    from converter.fleet.sample_files import SampleFiles
    from converter.fleet.samples import pull
    from edge_agent.release.manifest import IDENTIFIER

    if count is not None and duration is not None:
        raise RecipeError("--count and --for do not go together", hint="--for takes whatever comes in that time")
    for device in devices:
        if not IDENTIFIER.fullmatch(device):
            raise RecipeError(
                f"--device {device!r}: an id is 1 to 64 of a-z, 0-9, _ and -", hint="see 'edgectl devices'"
            )
    for_s = None if duration is None else parse_duration(duration, "--for").total_seconds()
    files = SampleFiles(into)
    with connect() as broker:
        silent = pull(broker, files, devices, partial(click.echo, err=True), most=count, for_s=for_s)
        asked = f"on {broker.settings.url}"
    for (device, pipeline), added in sorted(files.added.items()):
        path = files.path(device, pipeline)
        tree = {"device": device, "pipeline": pipeline, "folder": str(path), "added": added}
        click.echo(json.dumps(tree) if as_json else f"{path}: {counted(added, 'sample')} added")
    if silent and (devices or not files.added):
        raise LinkError(f"not answered {asked}: {', '.join(silent)}", hint=_NOT_ANSWERED)
    if silent:
        click.echo(f"not answered: {', '.join(silent)}", err=True)
    elif not files.added:
        click.echo("nothing that is not here already", err=True)
