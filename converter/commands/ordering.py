"""What all commands that give a fleet an order have in common: whose, on which channel, and what was done."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from converter.broker import Broker
from converter.commands.address import channel_option, keys_option, model_argument
from converter.commands.broker import broker_options
from converter.commands.keys import pend_order, waiting_orders
from edge_agent import schema

if TYPE_CHECKING:
    from converter.fleet.census import Census
    from converter.publish.orders import Ordered, Publisher
    from converter.publish.repository import Published
    from edge_agent.release.document import Target

Command = TypeVar("Command", bound=Callable[..., Any])


def publisher_options(command: Command) -> Command:
    """Adds MODEL, its channel, keys and broker; the command gets `publisher`."""

    def with_publisher(model: str, channel: str, keys_dir: Path, connect: Callable[[], Broker], **others: Any) -> Any:
        from converter.publish.keys import read_keys
        from converter.publish.orders import Publisher
        from converter.publish.seals import kept_seal

        publisher = Publisher(
            model,
            channel,
            read_keys(keys_dir),
            connect,
            pend=pend_order,
            waiting=waiting_orders,
            seal_of=partial(kept_seal, keys_dir),
        )
        return command(publisher=publisher, **others)

    with_publisher.__name__, with_publisher.__doc__ = command.__name__, command.__doc__
    with_publisher.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # click's own
    wrapped: Any = broker_options(with_publisher)
    typed: Command = model_argument(channel_option(keys_option(wrapped)))
    return typed


def give(publisher: "Publisher", change: "Callable[[Published, int, datetime], Target]", *, as_json: bool) -> None:
    """Sign what `change` makes of the document (with its number and the time), publish it, and say so."""
    now = datetime.now(UTC)
    tell(publisher.amend(lambda there, number: change(there, number, now), now), as_json=as_json)


def tell(ordered: "Ordered", *, as_json: bool) -> None:
    """One line, or one JSON object, on stdout."""
    from converter.publish.succession import describe

    target = ordered.target
    if as_json:
        tree = {"model": target.model, "channel": target.channel, "version": target.version, "digest": target.digest}
        more = {"document": ordered.document, "published": ordered.published, "rollout": schema.dump(target.rollout)}
        click.echo(json.dumps(tree | more | ({"pending": ordered.pending} if ordered.pending else {})))
        return
    if ordered.pending is not None:
        click.echo(f"{target.model} {target.version} on {target.channel} is not ordered yet: {ordered.what_to_do}")
        return
    said = f"{target.model} {target.version} on {target.channel}: {describe(target.rollout)}"
    click.echo(said + (f" (document {ordered.document})" if ordered.published else ", as before"))


def tell_reach(publisher: "Publisher") -> None:
    """Say on stderr how many of the known devices a rollout reaches: with few devices, a percentage may hit none."""
    from converter.fleet.drive import count

    with publisher.connect() as broker:
        click.echo(describe_reach(count(broker, publisher)), err=True)


def describe_reach(counted: "Census") -> str:
    """`3 of 40 known devices are in it`."""
    known, inside = len(counted.members) + len(counted.others), len(counted.members)
    words = f"{inside} of {known} known devices {'is' if inside == 1 else 'are'} in it"
    if known and not inside:
        words += f"; at {counted.least_percent} % the first one would be"
    return words
