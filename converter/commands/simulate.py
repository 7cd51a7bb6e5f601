"""`edgectl simulate`: a fleet that is not there, on a broker that is."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.broker import Broker
from converter.commands.broker import broker_options
from edge_agent import schema
from edge_agent.errors import InputError
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.topics import Topics

if TYPE_CHECKING:
    from converter.fleet.simulate.fleet import Outcome, Plan

EXIT_NOT_SETTLED = 4


@click.command()
@click.argument("model")
@click.option("--channel", default="stable", show_default=True, help="The line of releases that they follow.")
@click.option("--devices", type=click.IntRange(1, 60_000), default=100, show_default=True, help="How many.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The root.json that 'edgectl keys init' made, as devices have it.",
)
@click.option("--name", default="sim", show_default=True, help="Their ids are NAME-00001, NAME-00002, ...")
@click.option("--version", help="Wait for this version; default: whatever is published.")
@click.option(
    "--connects-per-s", type=click.FloatRange(0.1), default=500.0, show_default=True, help="How fast they come."
)
@click.option("--trial-s", type=click.FloatRange(0), default=0.0, show_default=True, help="How long their trials last.")
@click.option(
    "--fail-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of devices whose trial of a release fails; chance, but the same in each run.",
)
@click.option("--timeout-s", type=click.FloatRange(1), default=300.0, show_default=True, help="Wait no longer.")
@click.option("--stay", is_flag=True, help="Stay connected when all have settled, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@broker_options
def simulate(  # noqa: PLR0917  # click hands options over by name
    model: str,
    channel: str,
    devices: int,
    root: Path,
    name: str,
    version: str | None,
    connects_per_s: float,
    trial_s: float,
    fail_share: float,
    timeout_s: float,
    stay: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    connect: Callable[[], Broker],
) -> None:
    """Simulate a fleet that follows MODEL, in this process, over the real protocol.

    Ends with exit code 0 once each device has taken or rejected what is published, with 4 when that takes too long.
    Nothing is installed anywhere; what the devices say of themselves stays on the broker, as that of real ones.
    """
    from converter.fleet.simulate.fleet import Plan
    from converter.fleet.simulate.world import Behavior

    try:
        trusted_root = root.expanduser().read_bytes()
    except OSError as error:
        raise InputError(
            f"{root} cannot be read: {error.strerror}", hint="name the root.json of 'edgectl keys init'"
        ) from error
    plan = Plan(
        model, channel, trusted_root, devices, name, connects_per_s, Behavior(trial_s=trial_s, fail_share=fail_share)
    )
    with connect() as broker:  # says in plain words what is wrong with the broker, once instead of for each device
        settings, topics = broker.settings, broker.topics
    outcome = asyncio.run(_run(plan, settings, topics, version, timeout_s, stay=stay, as_json=as_json))
    if outcome.settled < outcome.devices:
        raise SystemExit(EXIT_NOT_SETTLED)


async def _run(
    plan: "Plan",
    settings: BrokerSettings,
    topics: Topics,
    version: str | None,
    timeout_s: float,
    *,
    stay: bool,
    as_json: bool,
) -> "Outcome":
    from converter.fleet.simulate.fleet import Fleet

    async with Fleet(plan, settings, topics) as fleet:

        def progress(now: "Outcome") -> None:
            why = f" ({fleet.last_loss})" if now.online < now.devices and fleet.last_loss else ""
            click.echo(f"{now.online} of {now.devices} online, {now.settled} settled{why}", err=True)

        outcome = await fleet.settle(version=version, timeout_s=timeout_s, progress=progress)
        click.echo(json.dumps(schema.dump(outcome)) if as_json else describe(outcome))
        if stay:
            await asyncio.Event().wait()
        return outcome


def describe(outcome: "Outcome") -> str:
    versions = ", ".join(f"{version}: {count}" for version, count in sorted(outcome.versions.items()))
    rate = outcome.chunk_bytes / outcome.seconds / 1e6 if outcome.seconds else 0.0
    return (
        f"{outcome.settled} of {outcome.devices} devices settled in {outcome.seconds:.1f} s; they run {versions}\n"
        f"{outcome.rejected} rejected it, {outcome.holding} do not take it\n"
        f"{outcome.chunks:,} chunks, {outcome.chunk_bytes:,} bytes ({rate:.0f} MB/s), "
        f"{outcome.chunks_again} came twice, {outcome.spoilt} were spoilt; {outcome.connections} connections"
    )
