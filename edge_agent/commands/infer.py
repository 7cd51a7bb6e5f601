"""`edge-agent infer`: options to `oneshot.Options`, results to stdout, talk to stderr."""

import json
import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), help="Text file, one label a line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (the default when piped).")
@click.option(
    "--task",
    type=click.Choice(["classification", "detection", "signal_classification", "raw"]),
    help="What the outputs mean; default: told from the model.",
)
@click.option(
    "--mean", type=float, multiple=True, help="Of the normalization (pixel - mean) / std; once, or per channel."
)
@click.option("--std", type=float, multiple=True, help="See --mean.")
@click.option("--color", type=click.Choice(["rgb", "bgr", "gray"]), help="Channels of the picture.")
@click.option(
    "--fit", type=click.Choice(["stretch", "letterbox", "crop"]), help="How a picture becomes the input's shape."
)
@click.option(
    "--resample",
    type=click.Choice(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
    help="Pillow's filter for resizing.",
)
@click.option("--window", type=click.IntRange(1), help="Rows of a signal window.")
@click.option("--stride", type=click.IntRange(1), help="Rows from one window to the next.")
@click.option("--top-k", type=click.IntRange(1), help="Results for each input at most.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least score that is shown.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the interpreter.")
def infer(model: Path, inputs: tuple[Path, ...], as_json: bool, **chosen: Any) -> None:  # noqa: FBT001
    """Run MODEL (.tflite or .edge) once on every INPUT: pictures, or CSV files for signal models."""
    from edge_agent.inference.oneshot import Options, infer_all, open_any

    threads = chosen.pop("threads")
    options = Options(**{key: None if value == () else value for key, value in chosen.items()})
    opened, notes = open_any(model, options, threads=threads)
    with opened:
        for note in notes:
            click.echo(f"note: {note}", err=True)
        for shot in infer_all(opened, inputs):
            click.echo(
                json.dumps(shot.to_json(), ensure_ascii=False) if as_json or not sys.stdout.isatty() else str(shot)
            )
