"""`edge-agent doctor`: the findings to stdout; exit code 1 where one of them is a fault."""

import json
import sys
from pathlib import Path

import click

from edge_agent import console

_DEFAULT_CONFIG = Path("/etc/edge-agent/agent.toml")


@click.command()
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="EDGE_AGENT_CONFIG",
    help=f"The agent's configuration.  [default: {_DEFAULT_CONFIG}, where it is there]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(config_path: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Check whether this machine has what the agent needs, and say what to do where it has not."""
    from edge_agent.clock import SystemClock
    from edge_agent.doctor.check import this_machine
    from edge_agent.doctor.doctor import examine, format_checks, is_well
    from edge_agent.schema import dump

    if config_path is None and _DEFAULT_CONFIG.exists():
        config_path = _DEFAULT_CONFIG
    checks = examine(config_path, this_machine(), SystemClock())
    if as_json:
        click.echo(
            json.dumps({"well": is_well(checks), "checks": [dump(check) for check in checks]}, ensure_ascii=False)
        )
    else:
        click.echo(format_checks(checks))
    if not is_well(checks):
        sys.exit(console.EXIT_FAILED)
