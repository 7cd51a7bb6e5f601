"""`edge-agent keys`: the key by which this device reads encrypted releases."""

from pathlib import Path

import click

from edge_agent.commands.options import config_option
from edge_agent.config.agent import Config, read_config
from edge_agent.disk import open_private
from edge_agent.release.device_key import key_path, make_device_key, read_device_key
from edge_agent.release.sealing import format_public, public_of


@click.group()
def keys() -> None:
    """Make and show the key by which this device reads encrypted releases."""


@keys.command()
@config_option
def init(config_path: Path) -> None:
    """Make this device's key and print its public half, a line for 'edgectl push --encrypt-to'. Never overwrites one.

    As the agent's user, who must be able to read it: sudo -u edge-agent edge-agent keys init
    """
    from edge_agent.service.local import check_owner

    config = read_config(config_path)
    path = _path_of(config)
    disk = open_private(path.parent)
    check_owner(path.parent, "keys init")
    public = make_device_key(disk, path.name)
    click.echo(f"{public} {config.device_id}")
    click.echo(f"made {path}; keep it on this device only", err=True)


@keys.command()
@config_option
def show(config_path: Path) -> None:
    """Print the public half of this device's key."""
    config = read_config(config_path)
    click.echo(f"{format_public(public_of(read_device_key(_path_of(config))))} {config.device_id}")


def _path_of(config: Config) -> Path:
    from edge_agent.service.local import state_directory

    return key_path(config.trust.key_file if config.trust is not None else None, state_directory(config))
