"""`edge-agent bench`: options to `bench.Wanted`, the table or JSON to stdout, talk to stderr."""

import json
from pathlib import Path
from typing import Any

import click

from edge_agent.config.pipeline import Delegate, Threads, check_threads


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "inputs",
    multiple=True,
    help="Pictures (give it several times), a folder, a video, a CSV or WAV file, or 'synthetic' (the default).",
)
@click.option("--threads", "threads_text", default="auto", show_default=True, help="Of the interpreter: 1,2,4 or auto.")
@click.option("--delegate", help="Library of an external delegate: libedgetpu.so.1, or a path.")
@click.option("--delegate-option", multiple=True, metavar="KEY=VALUE", help="Handed to the delegate.")
@click.option("--fallback", is_flag=True, help="Measure on the CPU where the delegate fails.")
@click.option("--frames", type=click.IntRange(1), help="Frames to measure for each number of threads.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    help="At most so long for each part of a measurement.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def bench(model: Path, as_json: bool, **chosen: Any) -> None:  # noqa: FBT001
    """Measure what this machine does with MODEL (.tflite, .edge or an unpacked release), as the agent would run it."""
    from edge_agent.bench.bench import Wanted, run_bench
    from edge_agent.bench.figures import format_table
    from edge_agent.bench.measure import Limits
    from edge_agent.schema import dump

    library, options = chosen["delegate"], _options(chosen["delegate_option"])
    wanted = Wanted(
        model=model,
        inputs=chosen["inputs"],
        threads=_threads(chosen["threads_text"]),
        delegate=Delegate(library, options, chosen["fallback"]) if library else None,
        limits=Limits(chosen["frames"], chosen["seconds"]),
    )
    found = run_bench(wanted, lambda text: click.echo(text, err=True))
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(json.dumps(dump(found), ensure_ascii=False) if as_json else format_table(found))


def _threads(text: str) -> tuple[Threads, ...]:
    found: list[Threads] = []
    for word in text.split(","):
        threads: Threads | None = "auto" if word.strip() == "auto" else _number(word)
        try:
            if threads is None:
                raise ValueError(f"{word.strip()!r} is no number of threads, and not 'auto'")  # noqa: TRY301 - one way out
            check_threads(threads)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--threads") from error
        found.append(threads)
    return tuple(found)


def _number(word: str) -> int | None:
    try:
        return int(word)
    except ValueError:
        return None


def _options(pairs: tuple[str, ...]) -> dict[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not KEY=VALUE", param_hint="--delegate-option")
    return dict(pair.split("=", 1) for pair in pairs)
