"""`edgectl bench`: how an artifact does on a real device, without its ever serving there."""

import json
from collections.abc import Callable
from pathlib import Path

import click

from converter.broker import Broker
from converter.commands.address import JSON, keys_option
from converter.commands.broker import broker_options
from edge_agent import schema


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", required=True, metavar="ID", help="The device that measures; it must serve this model.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds.")
@keys_option
@JSON
@broker_options
def bench(
    file: Path, device: str, keys_dir: Path, connect: Callable[[], Broker], *, timeout_s: float, as_json: bool
) -> None:
    """Have a device measure FILE, an .edge: it fetches and proves it, says how fast it is, and forgets it."""
    from converter.errors import ConversionError
    from converter.fleet.bench import bench_on_device
    from converter.publish.keys import read_keys
    from edge_agent.release.archive import read_artifact

    report = bench_on_device(
        read_artifact(file), device, read_keys(keys_dir), connect, progress=lambda *_: None, timeout_s=timeout_s
    )
    if as_json:
        click.echo(json.dumps(schema.dump(report)))
    elif report.measured is not None:
        figures = report.measured
        board = report.hardware.model or report.hardware.machine or "unknown board"
        click.echo(f"{report.model} {report.version} on {device} ({board}), {figures.library}")
        click.echo(f"invoke p50 {figures.p50_ms:.2f} ms, p95 {figures.p95_ms:.2f} ms; load {figures.load_ms:.0f} ms")
        click.echo(f"memory {figures.memory_bytes / 1e6:.0f} MB{'' if figures.delegated else '; not on XNNPACK'}")
    if report.measured is None:
        raise ConversionError(f"{device} has {report.outcome}: {report.detail} ({report.reason})", hint=report.hint)
