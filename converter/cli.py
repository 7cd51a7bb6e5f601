"""`edgectl`: the laptop's command line. Only assembles; each command stands in `converter/commands/`."""

import signal
import sys
from types import FrameType

import click

from converter.commands.bench import bench
from converter.commands.blobs import export, gc, seed
from converter.commands.diff import diff
from converter.commands.evaluate import evaluate
from converter.commands.fleet import devices, watch
from converter.commands.keys import keys, sign
from converter.commands.model import convert, inspect
from converter.commands.orders import release
from converter.commands.release import push, refresh
from converter.commands.rollout import rollout
from converter.commands.samples import samples
from converter.commands.simulate import simulate
from converter.errors import QualityGateError, RecipeError, RolloutStoppedError
from edge_agent import __version__
from edge_agent.console import EXIT_ASKED_WRONGLY, EXIT_QUALITY_GATE, run
from edge_agent.errors import ConfigError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgectl")
def cli() -> None:
    """Convert models, sign and push releases, watch the fleet.

    Where the broker is can also be said by the environment: EDGECTL_BROKER, EDGECTL_USER, ... (see `push --help`).
    """


for command in (
    convert, evaluate, inspect, diff, keys, sign, push, export, refresh, seed, gc, release, rollout, devices, watch,
    bench, samples, simulate,
):  # fmt: skip
    cli.add_command(command)


_EXIT_TERMINATED = 143  # 128 + SIGTERM, as a shell says it


def main() -> None:
    signal.signal(signal.SIGTERM, _end)
    exits = {ConfigError: EXIT_ASKED_WRONGLY, RecipeError: EXIT_ASKED_WRONGLY}
    run(cli, {**exits, QualityGateError: EXIT_QUALITY_GATE, RolloutStoppedError: EXIT_QUALITY_GATE})


def _end(_number: int, _frame: FrameType | None) -> None:
    """As Ctrl-C does: what was made for a while, children too, is removed on the way out."""
    sys.exit(_EXIT_TERMINATED)


if __name__ == "__main__":
    main()
