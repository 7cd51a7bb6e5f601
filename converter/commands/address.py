"""The options that say which channel, and whose keys: shared by every command that signs or reads a document."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_agent.release.manifest import IDENTIFIER

Command = TypeVar("Command", bound=Callable[..., Any])
KEYS = Path("~/.config/edgectl/keys")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


def _identifier(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not IDENTIFIER.fullmatch(value):
        raise click.BadParameter(f"{value!r} must be 1 to 64 of a-z, 0-9, _ and -")
    return value


channel_option = click.option(
    "--channel",
    default="stable",
    show_default=True,
    callback=_identifier,
    help="The line of releases that devices follow.",
)
keys_option = click.option(
    "--keys",
    "keys_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=KEYS,
    show_default=True,
    envvar="EDGECTL_KEYS",
    show_envvar=True,
    callback=lambda _context, _parameter, value: value.expanduser(),
    help="What 'edgectl keys init' made; content keys of encrypted releases are kept there too.",
)
model_argument = click.argument("model", callback=_identifier)
