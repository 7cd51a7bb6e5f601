"""`edgectl convert` and `edgectl inspect`: options to an `Order`, results to stdout, talk to stderr."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from converter.broker import Broker
from converter.commands.address import keys_option
from converter.commands.auto import auto_options, bench_on, end_progress, show_progress, take_auto
from converter.commands.broker import optional_broker_options
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


def _input_shapes(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """`NAME=1x224x224x3`, or without a name for the only input; commas do as well."""
    shapes = {}
    for text in texts:
        name, _equals, sizes = text.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.replace(",", "x").split("x"))
        except ValueError as error:
            raise click.BadParameter(f"expected NAME=1x224x224x3, found {text!r}") from error
        if min(shapes[name]) < 1:
            raise click.BadParameter(f"expected sizes of 1 and more, found {text!r}")
    return shapes


def _names(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


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


def recipe_options(command: Command) -> Command:
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
        click.option(
            "--metadata/--no-metadata", default=None, help="Write labels and normalization into the model too."
        ),
        click.option("--top-k", type=int, help="Predictions for each input at most."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _source_options(command: Command) -> Command:
    """What the source itself does not tell."""
    options = [
        click.option(
            "--input-shape",
            "input_shapes",
            multiple=True,
            callback=_input_shapes,
            help="NAME=1x224x224x3, the batch first, where the source leaves sizes open; may be repeated.",
        ),
        click.option(
            "--inputs",
            callback=_names,
            help="Where the model is cut: tensors or layers to begin with, with commas between.",
        ),
        click.option("--outputs", callback=_names, help="Tensors or layers to end with, with commas between."),
        click.option(
            "--allow-code",
            is_flag=True,
            help="Run Python that stands in the source (Lambda layers, pickles). Only of people you trust.",
        ),
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
@click.option("--evaluate", type=_PATH, help="Labeled data: both models are judged by it (docs/evaluation.md).")
@click.option("--train", type=_PATH, help="Training set of the recipe's [training], in any form of --evaluate.")
@click.option("--work", type=_PATH, help="Folder for what cut-off training goes on from. Default: beside the output.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out files of the data that cannot be read.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@click.option("--report", type=_PATH, help="Where report.html goes; else beside the output.")
@click.option("--no-report", is_flag=True, help="Write none.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@auto_options
@keys_option
@optional_broker_options
@_source_options
@recipe_options
def convert(  # noqa: PLR0917  # click hands options over by name
    source: Path,
    output: Path,
    recipe: Path | None,
    calibrate: Path | None,
    evaluate: Path | None,
    train: Path | None,
    work: Path | None,
    *,
    skip_unreadable: bool,
    force: bool,
    report: Path | None,
    no_report: bool,
    as_json: bool,
    input_shapes: dict[str, tuple[int, ...]],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    allow_code: bool,
    keys_dir: Path,
    connect: Callable[[], Broker] | None,
    **options: Any,
) -> None:
    """Convert SOURCE into an artifact.

    SOURCE is a float32 .tflite, or a model of Keras (.keras, .h5), TensorFlow (a SavedModel directory, a frozen .pb),
    ONNX, PyTorch (.pt2, TorchScript) or scikit-learn; docs/frontends.md says which extra each needs.

    Float and converted model are run through the device's own code and compared; where a limit of the recipe is
    missed, no artifact is written and the exit code is 3. A report in HTML is written beside the output either way.
    """
    from converter.convert import convert as convert_source
    from converter.errors import QualityGateError
    from converter.evaluation.text import format_evaluation
    from converter.fidelity import format_table
    from converter.frontends.contract import Wanted
    from converter.job import Order

    wanted = Wanted(input_shapes=input_shapes, inputs=inputs, outputs=outputs, allow_code=allow_code)
    auto = take_auto(options)
    asks = auto is not None and auto.target is None and auto.where != "here"
    tell = show_progress if auto else functools.partial(click.echo, err=True)
    try:
        tree = recipe_tree(options) | ({"training": {"data": str(train)}} if train else {})
        order = Order(
            source,
            output,
            recipe=recipe,
            options=tree,
            calibrate=calibrate,
            skip_unreadable=skip_unreadable,
            force=force,
            evaluate=evaluate,
            work=work,
            auto=auto,
            bench=bench_on(auto.where, keys_dir, connect) if auto and asks else None,
            tell=tell,
            wanted=wanted,
            with_report=not no_report,
            report=report,
        )
        done = convert_source(order)
    except QualityGateError as error:
        tell_notes(error.notes)
        _tell_report(error.report)
        told = {"fidelity": error.figures, "notes": error.notes, "report": str(error.report) if error.report else None}
        click.echo(json.dumps(told) if as_json else error.table)
        raise
    finally:
        end_progress()
    tell_notes(done.notes)
    _tell_report(done.report)
    if as_json:
        click.echo(json.dumps(done.to_json()))
    else:
        if done.curve:
            click.echo(done.curve + "\n")
        click.echo(format_table(done.fidelity))
        if done.evaluation is not None:
            click.echo(format_evaluation(done.evaluation))
        click.echo(f"{done.path}: {done.size_bytes:,} bytes, sha256 {done.digest}")


@click.command()
@click.argument("file", type=_PATH)
@click.option("--graph", type=_PATH, help="Draw the graph into this .svg or .html.")
@click.option("--force", is_flag=True, help="Replace the picture if it exists.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def inspect(file: Path, graph: Path | None, *, force: bool, as_json: bool) -> None:
    """Show tensors, layers, operators, metadata, labels and sizes of FILE, a .tflite or an .edge."""
    from converter.inspect import draw_model, format_inspection, inspect_file

    tree = inspect_file(file)
    if graph is not None:
        draw_model(file, graph, force=force)
    click.echo(json.dumps(tree) if as_json else format_inspection(tree))


def tell_notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _tell_report(path: Path | None) -> None:
    if path is not None:
        click.echo(f"report: {path}", err=True)


def recipe_tree(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as a recipe has them."""
    given = {name: value for name, value in options.items() if value is not None}
    tree: dict[str, Any] = {name: given[name] for name in ("scheme", "task", "signature", "metadata") if name in given}
    if "labels" in given:
        tree["labels"] = str(given["labels"])
    if "channels" in given:
        given["channels"] = [column.strip() for column in str(given["channels"]).split(",")]
    inputs = {key: given[name] for name, key in _INPUT_OPTIONS.items() if name in given}
    outputs = {key: given[name] for name, key in _OUTPUT_OPTIONS.items() if name in given}
    return {**tree, **({"input": inputs} if inputs else {}), **({"output": outputs} if outputs else {})}
