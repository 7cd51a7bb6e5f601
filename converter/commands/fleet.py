"""`edgectl devices` and `watch`: what the fleet is, and what it does now."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

import click

from converter.broker import Broker
from converter.commands.broker import broker_options
from edge_agent.clock import SystemClock
from edge_agent.errors import LinkError

_RETRY_S = 2.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a device, a line each.")
@broker_options
def devices(as_json: bool, connect: Callable[[], Broker]) -> None:  # noqa: FBT001  # click hands options over by name
    """List the devices: who is online, what each runs, how its last update ended, how long a frame takes."""
    from converter.fleet.devices import device_to_json, format_table, look

    with connect() as broker:
        found = look(broker)
    if as_json:
        for device in found:
            click.echo(json.dumps(device_to_json(device), ensure_ascii=False))
    elif found:
        click.echo(format_table(found))
    else:
        click.echo("no device has said anything on this broker yet", err=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--device", metavar="ID", help="Only this one.")
@broker_options
def watch(as_json: bool, device: str | None, connect: Callable[[], Broker]) -> None:  # noqa: FBT001  # by name
    """Follow the fleet until Ctrl-C: who comes and goes, updates, rejections, latency."""
    from converter.fleet.watch import watch as follow

    connected = False
    while True:
        try:
            with connect() as broker:
                connected = True
                for line in follow(broker, device):
                    now = datetime.now(UTC)
                    click.echo(
                        line.to_json(now) if as_json else f"{now.astimezone():%H:%M:%S} {line.device} {line.text}"
                    )
        except LinkError as error:
            if not connected:
                raise
            click.echo(f"{error}; trying again", err=True)
            SystemClock().wait(Event(), _RETRY_S)
