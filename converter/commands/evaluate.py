"""`edgectl evaluate`: options to a `Question`, results to stdout, talk to stderr."""

import json
from pathlib import Path
from typing import Any

import click

from converter.commands.model import recipe_options, recipe_tree, tell_notes

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=_PATH)
@click.argument("data", type=_PATH)
@click.option("--against", type=_PATH, help="Another model, on the same samples: the float one, or the one before.")
@click.option("--recipe", type=_PATH, help="TOML file: its input of a bare model, and its limits.")
@click.option("--calibrated-with", type=_PATH, help="What the model was calibrated with, to be held beside DATA.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out samples that cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@recipe_options
def evaluate(
    model: Path,
    data: Path,
    against: Path | None,
    recipe: Path | None,
    calibrated_with: Path | None,
    *,
    skip_unreadable: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Judge MODEL, an .edge or a model, by labeled DATA, through the device's own code.

    DATA is a folder of pictures or WAV files with a subfolder for each class or a table of labels, a COCO .json, a
    folder with VOC or YOLO annotations or masks, a .csv of rows, or x and y in a .npz. Where a limit of the recipe is
    missed, the exit code is 3.
    """
    from converter.errors import QualityGateError
    from converter.evaluation.judge import Question, judge
    from converter.evaluation.text import format_evaluation

    question = Question(model, data, against, recipe, recipe_tree(options), calibrated_with, skip_unreadable)
    try:
        found = judge(question)
    except QualityGateError as error:
        tell_notes(error.notes)
        click.echo(json.dumps(error.figures) if as_json else error.table)
        raise
    tell_notes(found.notes)
    click.echo(json.dumps(found.to_json()) if as_json else format_evaluation(found))


evaluate.params = [option for option in evaluate.params if option.name != "scheme"]  # nothing is converted
