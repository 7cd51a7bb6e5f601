"""`edge-agent infer`: options to `opening.Options` and `shots.Reading`, results to stdout, talk to stderr."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from edge_agent.config.pipeline import Delegate, Threads
from edge_agent.release.inputs import Fit, Resample
from edge_agent.release.outputs import DetectionDecoder, PoseDecoder, TaskName

Command = TypeVar("Command", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)
_MOST_THREADS = 64


def _threads(_: click.Context, __: click.Parameter, text: str) -> Threads:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_THREADS:
        raise click.BadParameter(f"expected 1 to {_MOST_THREADS}, or auto; found {text!r}")
    return int(text)


def _region(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        sides = tuple(float(part) for part in text.split(","))
    except ValueError:
        sides = ()
    if len(sides) != 4:
        raise click.BadParameter(f"expected left,top,right,bottom as shares of the picture, found {text!r}")
    return sides


def _names(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise click.BadParameter(f"expected names with commas between, each once; found {text!r}")
    return names


def _pairs(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if any("=" not in text for text in texts):
        raise click.BadParameter(f"expected NAME=VALUE, found {', '.join(texts)}")
    return pairs


_OUTPUT_OPTIONS = [
    click.option("--labels", type=_PATH, help="Text file, one label a line."),
    click.option(
        "--task", type=click.Choice(get_args(TaskName)), help="What the outputs mean; default: told from the model."
    ),
    click.option(
        "--decoder",
        type=click.Choice([*get_args(DetectionDecoder), *get_args(PoseDecoder)]),
        help="How boxes or keypoints are read; default: told from the shapes.",
    ),
    click.option(
        "--activation", type=click.Choice(["none", "softmax", "sigmoid"]), help="Makes scores of the outputs."
    ),
    click.option("--background-class", type=click.IntRange(0), help="A class that stands for nothing and is not told."),
    click.option("--top-k", type=click.IntRange(1), help="Results for each input at most."),
    click.option("--threshold", type=click.FloatRange(0, 1), help="Least score that is shown."),
    click.option("--iou", type=click.FloatRange(0, 1), help="Overlap above which two boxes of a class are one object."),
]
_PICTURE_OPTIONS = [
    click.option("--color", type=click.Choice(["rgb", "bgr", "gray"]), help="Channels of the picture."),
    click.option("--fit", type=click.Choice(get_args(Fit)), help="How a picture becomes the input's shape."),
    click.option("--resample", type=click.Choice(get_args(Resample)), help="Pillow's filter for resizing."),
    click.option(
        "--decode",
        type=click.Choice(["full", "reduced"]),
        help="Whether JPEG may be decoded at a smaller size: faster, nearly the same. Default of a bare model: full.",
    ),
    click.option("--rotate", "rotate_deg", type=click.Choice([0, 90, 180, 270]), default=0, help="Degrees, clockwise."),
    click.option(
        "--roi", callback=_region, metavar="L,T,R,B", help="Region to look at, as shares 0 to 1 of the picture."
    ),
    click.option(
        "--every", type=click.IntRange(1), default=1, show_default=True, help="Use every n-th frame of a video."
    ),
    click.option(
        "--save", type=_PATH, metavar="DIR", help="Write pictures with what was found drawn in to this folder."
    ),
]
_INPUT_OPTIONS = [
    click.option(
        "--input-kind",
        type=click.Choice(["image", "signal", "audio", "tensor"]),
        help="What the model takes; default: told from the model.",
    ),
    click.option(
        "--mean", type=float, multiple=True, help="Of the normalization (value - mean) / std; once, or per channel."
    ),
    click.option("--std", type=float, multiple=True, help="See --mean."),
    click.option(
        "--columns",
        callback=_names,
        metavar="A,B,...",
        help="Of a CSV or of JSON objects, in the model's order; default: those it names, else all.",
    ),
    click.option("--time-column", metavar="NAME", help="Of a CSV: no value; where it goes back a window begins anew."),
    click.option("--window", type=click.IntRange(1), help="Rows of a signal window, or samples of sound."),
    click.option("--stride", type=click.IntRange(1), help="Rows or samples from one window to the next."),
    click.option("--sample-rate", type=click.IntRange(1), metavar="HZ", help="Of the sound that the model takes."),
    click.option(
        "--features",
        type=click.Choice(["waveform", "spectrogram", "log_mel", "mfcc", "micro_frontend"]),
        help="What of the sound the model takes.",
    ),
]
_RUNNING_OPTIONS = [
    click.option("--signature", metavar="NAME", help="Which one is run, of a model with several."),
    click.option(
        "--threads",
        callback=_threads,
        metavar="N|auto",
        default="1",
        show_default=True,
        help="Of the interpreter; auto: measured.",
    ),
    click.option("--delegate", metavar="LIB", help="Library of an external delegate, as libedgetpu.so.1."),
    click.option(
        "--delegate-option", "delegate_options", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="For it."
    ),
]


def _with(*groups: list[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


@click.command()
@click.argument("model", type=_PATH)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (the default when piped).")
@_with(_OUTPUT_OPTIONS, _INPUT_OPTIONS, _PICTURE_OPTIONS, _RUNNING_OPTIONS)
def infer(  # noqa: PLR0917
    model: Path,
    inputs: tuple[Path, ...],
    as_json: bool,  # noqa: FBT001
    every: int,
    rotate_deg: Any,
    roi: Any,
    save: Path | None,
    columns: tuple[str, ...],
    time_column: str | None,
    threads: Threads,
    delegate: str | None,
    delegate_options: dict[str, str],
    **chosen: Any,
) -> None:
    """Run MODEL (.tflite or .edge) once on every INPUT.

    INPUT: pictures, videos, WAV files, CSV, .npy or .npz (arrays by the inputs' names), folders of any of these, or -
    for JSON lines on standard input. What a bare .tflite takes and gives is guessed; the guess is told.
    """
    from edge_agent.inference.oneshot import infer_all
    from edge_agent.inference.opening import Options, Running, open_any
    from edge_agent.inference.saving import Saver
    from edge_agent.inference.shots import Reading

    if delegate_options and delegate is None:
        raise click.UsageError("--delegate-option is for a --delegate")
    options = Options(**{key: None if value == () else value for key, value in chosen.items()})
    running = Running(threads, Delegate(delegate, delegate_options) if delegate else None)
    opened, notes = open_any(model, options, running)
    with opened:
        for note in notes:
            _say(note)
        saver = Saver(save, opened) if save is not None else None
        reading = Reading(every, rotate_deg, roi, columns, time_column)
        for shot in infer_all(opened, inputs, reading, _say):
            click.echo(
                json.dumps(shot.to_json(), ensure_ascii=False) if as_json or not sys.stdout.isatty() else str(shot)
            )
            if saver is not None and (written := saver.save(shot)) is not None:
                _say(f"{shot.input} drawn to {written}")


def _say(note: str) -> None:
    click.echo(f"note: {note}", err=True)
