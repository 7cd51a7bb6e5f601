"""`edgectl`: the laptop's command line. Only assembles; each command stands in `converter/commands/`."""

import sys

import click

from converter.commands.fleet import devices, watch
from converter.commands.model import convert, inspect
from converter.commands.release import keys, push, seed
from converter.errors import QualityGateError
from edge_agent import __version__
from edge_agent.errors import EdgeError

EXIT_FAILED = 1
EXIT_QUALITY_GATE = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgectl")
def cli() -> None:
    """Convert models, sign and push releases, watch the fleet.

    Where the broker is can also be said by the environment: EDGECTL_BROKER, EDGECTL_USER, ... (see `push --help`).
    """


for command in (convert, inspect, keys, push, seed, devices, watch):
    cli.add_command(command)


def main() -> None:
    """Run, and turn our errors into `error:` and `hint:` with the exit code they stand for."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except EdgeError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(EXIT_QUALITY_GATE if isinstance(error, QualityGateError) else EXIT_FAILED)


if __name__ == "__main__":
    main()
