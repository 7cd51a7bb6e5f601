"""`edgectl convert` and `edgectl inspect`: options to an `Order`, results to stdout, talk to stderr."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from converter.commands.auto import auto_options, end_progress, ignore_progress, show_progress, take_auto
from converter.recipe import SCHEMES
from edge_agent.release.inputs import AudioInput, ImageInput
from edge_agent.release.outputs import DetectionDecoder, OutputSpec, PoseDecoder, TaskName

Command = TypeVar("Command", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)


def _numbers(_: click.Context, __: click.Parameter, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"expected a number or several with commas between them, found {text!r}") from error


def _choices(kind: type, field: str) -> click.Choice[str]:
    return click.Choice(get_args(kind.__annotations__[field]))


# Option name → where its value stands in a recipe.
_INPUT_OPTIONS = {
    "color": "color", "fit": "fit", "resample": "resample", "mean": "mean", "std": "std", "window": "window",
    "stride": "stride", "channels": "channels", "features": "features", "sample_rate": "sample_rate_hz",
}  # fmt: skip
_OUTPUT_OPTIONS = {
    "activation": "activation", "threshold": "score_threshold", "top_k": "top_k", "decoder": "decoder",
}  # fmt: skip


def _recipe_options(command: Command) -> Command:
    """What lies above the recipe file."""
    options = [
        click.option("--scheme", type=click.Choice(SCHEMES), help="How weights and activations are stored."),
        click.option("--task", type=click.Choice(get_args(TaskName)), help="What the outputs mean."),
        click.option("--labels", type=_PATH, help="Text file, one label a line."),
        click.option("--color", type=_choices(ImageInput, "color"), help="Channels of the picture."),
        click.option("--fit", type=_choices(ImageInput, "fit"), help="How a picture becomes the input's shape."),
        click.option("--resample", type=_choices(ImageInput, "resample"), help="Pillow's filter for resizing."),
        click.option("--mean", callback=_numbers, help="(value - mean) / std; one number, or one per channel."),
        click.option("--std", callback=_numbers, help="See --mean."),
        click.option("--window", type=int, help="Rows of a sensor, or samples of sound, in one input."),
        click.option("--stride", type=int, help="Rows or samples from one window to the next."),
        click.option("--features", type=_choices(AudioInput, "features"), help="What of sound the model takes."),
        click.option("--sample-rate", type=int, help="Hz, of sound or a sensor."),
        click.option(
            "--decoder",
            type=click.Choice([*get_args(DetectionDecoder), *get_args(PoseDecoder)]),
            help="How boxes or keypoints are read.",
        ),
        click.option("--signature", help="Which one is run, of a model with several."),
        click.option("--channels", help="Columns of the sensor, with commas between them."),
        click.option("--activation", type=_choices(OutputSpec, "activation"), help="Makes scores of the outputs."),
        click.option("--threshold", type=float, help="Predictions below this score are left out."),
        click.option("--top-k", type=int, help="Predictions for each input at most."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="NAME-VERSION.edge")
@click.option("--recipe", type=_PATH, help="TOML or JSON file, or the name of one that ships; options lie above it.")
@click.option(
    "--calibrate", type=_PATH, help="Representative data: folder of pictures or WAV files, .csv of rows, .npz."
)
@click.option("--skip-unreadable", is_flag=True, help="Leave out calibration files that are not pictures.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@auto_options
@_recipe_options
def convert(
    source: Path,
    output: Path,
    recipe: Path | None,
    calibrate: Path | None,
    *,
    skip_unreadable: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert SOURCE, a float32 .tflite or a .keras model, into an artifact.

    Float and converted model are run through the device's own code and compared; where a limit of the recipe is
    missed, nothing is written and the exit code is 3.
    """
    from converter.convert import Order
    from converter.convert import convert as work
    from converter.errors import QualityGateError
    from converter.fidelity import format_table

    auto = take_auto(options)
    tell = show_progress if auto else ignore_progress
    try:
        done = work(Order(source, output, recipe, _tree(options), calibrate, skip_unreadable, force, auto, tell))
    except QualityGateError as error:
        _tell_notes(error.notes)
        click.echo(json.dumps({"fidelity": error.figures, "notes": error.notes}) if as_json else error.table)
        raise
    finally:
        end_progress()
    _tell_notes(done.notes)
    if as_json:
        click.echo(json.dumps(done.to_json()))
    else:
        if done.curve:
            click.echo(done.curve + "\n")
        click.echo(format_table(done.fidelity))
        click.echo(f"{done.path}: {done.size_bytes:,} bytes, sha256 {done.digest}")


@click.command()
@click.argument("file", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def inspect(file: Path, *, as_json: bool) -> None:
    """Show tensors, operators, metadata, labels and sizes of FILE, a .tflite or an .edge."""
    from converter.inspect import format_inspection, inspect_file

    tree = inspect_file(file)
    click.echo(json.dumps(tree) if as_json else format_inspection(tree))


def _tell_notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _tree(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as a recipe has them."""
    given = {name: value for name, value in options.items() if value is not None}
    tree: dict[str, Any] = {name: given[name] for name in ("scheme", "task", "signature") if name in given}
    if "labels" in given:
        tree["labels"] = str(given["labels"])
    if "channels" in given:
        given["channels"] = [column.strip() for column in str(given["channels"]).split(",")]
    inputs = {key: given[name] for name, key in _INPUT_OPTIONS.items() if name in given}
    outputs = {key: given[name] for name, key in _OUTPUT_OPTIONS.items() if name in given}
    return {**tree, **({"input": inputs} if inputs else {}), **({"output": outputs} if outputs else {})}
