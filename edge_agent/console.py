"""The rim of both command lines: our errors become `error:`, `hint:` and an exit code; a traceback is a bug.

The commands themselves stand in `cli` and in `converter/commands/`.
"""

import sys
from collections.abc import Mapping

import click

from edge_agent.errors import EdgeError

EXIT_FAILED = 1  # it did not work
EXIT_ASKED_WRONGLY = 2  # also click's own
EXIT_QUALITY_GATE = 3
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


def run(command: click.Command, exit_codes: Mapping[type[EdgeError], int]) -> None:
    """Run a command line; errors of a kind that `exit_codes` names end it with that code, others of ours with 1."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_EXIT_INTERRUPTED)
    except EdgeError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(next((code for kind, code in exit_codes.items() if isinstance(error, kind)), EXIT_FAILED))
