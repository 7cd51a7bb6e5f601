"""Options that several commands of the device have."""

from pathlib import Path

import click

DEFAULT_CONFIG = Path("/etc/edge-agent/agent.toml")

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="EDGE_AGENT_CONFIG",
    help="The agent's configuration.",
)
