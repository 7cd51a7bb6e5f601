"""`edgectl rollout`: who gets the release of a channel now, how far it has come, and driving it through its stages."""

import json
from typing import TYPE_CHECKING

import click

from converter.commands.ordering import describe_reach, give, publisher_options, tell_reach
from edge_agent import schema
from edge_agent.clock import SystemClock

if TYPE_CHECKING:
    from converter.fleet.census import Census, Member
    from converter.publish.orders import Publisher

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
_RULES = (
    "What halts it: failed, rejected, rolled_back, held or offline, > or >=, a number of devices or a share with %. "
)


@click.group()
def rollout() -> None:
    """Say which share of a channel's devices gets its release, see how far it is, stop it, take it back."""


@rollout.command()
@click.argument("percent", type=click.IntRange(0, 100))
@_JSON
@publisher_options
def widen(percent: int, as_json: bool, publisher: "Publisher") -> None:  # noqa: FBT001  # click hands over by name
    """Give the release of MODEL to PERCENT of the devices; what was paused or halted goes on.

    Devices that have it keep it, and those that had it first are still in it.
    """
    from converter.publish import succession

    give(publisher, lambda there, _, now: succession.widen(there.target, percent, now), as_json=as_json)
    tell_reach(publisher)


@rollout.command()
@_JSON
@publisher_options
def pause(as_json: bool, publisher: "Publisher") -> None:  # noqa: FBT001  # by name
    """Stay at the percentage of now: 'rollout run' ends. Devices that are in it go on."""
    from converter.publish import succession

    give(publisher, lambda there, _, now: succession.turn(there.target, "paused", now), as_json=as_json)


@rollout.command()
@_JSON
@publisher_options
def halt(as_json: bool, publisher: "Publisher") -> None:  # noqa: FBT001  # by name
    """Stop it: a device that has not begun its trial does not begin it.

    One that is on trial ends it in its own way, and one that has the release keeps it: 'revert' takes it back.
    """
    from converter.publish import succession

    give(publisher, lambda there, _, now: succession.turn(there.target, "halted", now), as_json=as_json)


@rollout.command()
@_JSON
@publisher_options
def status(as_json: bool, publisher: "Publisher") -> None:  # noqa: FBT001  # by name
    """How far the release of MODEL is: which devices are in it, what has come of it, why others do not take it."""
    from converter.fleet.drive import count

    with publisher.connect() as broker:
        counted = count(broker, publisher)
    click.echo(json.dumps(_to_json(counted), ensure_ascii=False) if as_json else _describe(counted))


@rollout.command()
@click.option("--stages", default="1,10,50,100", show_default=True, help="Percentages, one after the other.")
@click.option("--soak", default="1h", show_default=True, help="How long each lasts at least: 90s, 30m, 1h, 2d, 1h30m.")
@click.option(
    "--halt-on",
    multiple=True,
    metavar="RULE",
    default=("failed>2%",),
    show_default=True,
    help=_RULES + "May be repeated.",
)
@publisher_options
def run(stages: str, soak: str, halt_on: tuple[str, ...], publisher: "Publisher") -> None:
    """Widen the rollout of MODEL stage by stage, and halt it when too much goes wrong (then it exits with 3).

    It may be killed at any point, and started again here or on another machine: it goes on where the signed document
    and the devices are.
    """
    from converter.fleet.drive import drive
    from converter.fleet.plan import Plan, parse_duration, parse_rule, parse_stages

    plan = Plan(parse_stages(stages), parse_duration(soak), tuple(map(parse_rule, halt_on)))
    counted = drive(publisher, plan, SystemClock(), lambda text: click.echo(text, err=True))
    click.echo(
        f"{publisher.model} {counted.target.version} is through the last stage, {counted.target.rollout.percent} %"
    )


def _to_json(counted: "Census") -> dict[str, object]:
    from converter.fleet.plan import WORDS, share_of

    def members(found: "tuple[Member, ...]") -> list[dict[str, object]]:
        return [schema.dump(each) | {"progress": each.progress.name.lower()} for each in found]

    target, shares = counted.target, {word: share_of(counted, word) for word in WORDS}
    return {
        "model": target.model,
        "channel": target.channel,
        "version": target.version,
        "digest": target.digest,
        "rollout": schema.dump(target.rollout),
        "shares": {
            word: {"devices": len(share.hit), "of": len(share.among), "percent": round(share.percent, 2)}
            for word, share in shares.items()
        },
        "members": members(counted.members),
        "others": members(counted.others),
    }


def _describe(counted: "Census") -> str:
    from converter.fleet.devices import align
    from converter.fleet.plan import WORDS, share_of, sum_of
    from converter.publish.succession import describe

    target, reach = counted.target, describe_reach(counted)
    since = f", since {target.rollout.since}" if target.rollout.since else ""
    lines = [
        f"{target.model} {target.version} on {target.channel}: {describe(target.rollout)}{since}",
        f"{reach}; {sum_of(counted)}" if counted.members else reach,
        *(f"  {share}" for word in WORDS if (share := share_of(counted, word)).hit),
    ]
    rows: list[tuple[str, ...]] = [("DEVICE", "STATE", "IN IT", "PLACE", "PROGRESS", "DETAIL")]
    rows += [_row(each, inside="yes") for each in counted.members]
    rows += [_row(each, inside="no") for each in counted.others]
    return "\n".join([*lines, align(rows)] if len(rows) > 1 else lines)


def _row(member: "Member", *, inside: str) -> tuple[str, ...]:
    state = "online" if member.online else "offline"
    inside = "canary" if member.canary else inside
    return member.device, state, inside, str(member.place), member.progress.word, member.detail or "-"
