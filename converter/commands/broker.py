"""The options that say where the broker is, shared by every command that talks to one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from converter.broker import Broker
from converter.commands.options import Command, with_options
from edge_agent.config.agent import MqttConfig
from edge_agent.errors import ConfigError
from edge_agent.link.broker import read_settings
from edge_agent.link.topics import Topics

_FILE = click.Path(path_type=Path, dir_okay=False)


def broker_options(command: Command) -> Command:
    """Adds the options; the command gets `connect`, which makes a `Broker` to enter."""
    return _with_options(command, _OPTIONS)


def optional_broker_options(command: Command) -> Command:
    """The same; where nobody says which broker, `connect` is None."""
    return _with_options(command, [_BROKER_IF_NEEDED, *_OPTIONS[1:]])


def _with_options(command: Command, options: list[Callable[[Any], Any]]) -> Command:
    def with_broker(  # noqa: PLR0917  # one argument an option
        broker: str | None,
        user: str | None,
        password_file: Path | None,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        prefix: str,
        **others: Any,
    ) -> Any:
        if broker is None:
            return command(connect=None, **others)
        config = _config(broker, user, password_file, ca, cert, key, prefix)
        settings, topics = read_settings(config), Topics(config.prefix)
        return command(connect=lambda: Broker(settings, topics), **others)

    return with_options(command, with_broker, options)


def _config(  # noqa: PLR0917  # one argument an option
    broker: str,
    user: str | None,
    password_file: Path | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    prefix: str,
) -> MqttConfig:
    try:
        return MqttConfig(
            url=broker,
            username=user,
            password_file=password_file,
            ca_file=ca,
            cert_file=cert,
            key_file=key,
            prefix=prefix,
        )
    except ValueError as error:
        raise ConfigError(
            f"the broker options do not fit: {error}", hint="see --help, and the variables EDGECTL_*"
        ) from (error)


def _broker(*, required: bool) -> Callable[[Any], Any]:
    return click.option(
        "--broker",
        envvar="EDGECTL_BROKER",
        required=required,
        metavar="URL",
        show_envvar=True,
        help="mqtt://HOST[:1883], or mqtts://HOST[:8883] for TLS.",
    )


_BROKER_IF_NEEDED = _broker(required=False)
_OPTIONS: list[Callable[[Any], Any]] = [
    _broker(required=True),
    click.option("--user", envvar="EDGECTL_USER", show_envvar=True, help="User name at the broker."),
    click.option(
        "--password-file", envvar="EDGECTL_PASSWORD_FILE", type=_FILE, show_envvar=True, help="File with its password."
    ),
    click.option(
        "--ca", envvar="EDGECTL_CA", type=_FILE, show_envvar=True, help="Certificate authority, if not the system's."
    ),
    click.option("--cert", envvar="EDGECTL_CERT", type=_FILE, show_envvar=True, help="Client certificate, with --key."),
    click.option("--key", envvar="EDGECTL_KEY", type=_FILE, show_envvar=True, help="Client key, with --cert."),
    click.option(
        "--prefix", envvar="EDGECTL_PREFIX", default="edge/v1", show_default=True, help="Where all topics begin."
    ),
]
